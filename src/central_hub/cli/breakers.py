"""`central-hub breaker …`: what shared breakers say of services, for the tenant of the key."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("service", "state", "reason", "calls", "failures", "slow", "since", "until")
CLASS_COLUMNS: Final = ("route class", "state", "of", "reason", "calls", "failures", "slow", "since", "until")

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    breaker = typer.Typer(no_args_is_help=True, help="Breakers: which services are refused, and why.")
    client_command(breaker, "list")(list_circuits)
    client_command(breaker, "show")(show)
    app.add_typer(breaker, name="breaker")


def list_circuits(session: Session) -> None:
    """List the services that something is known of: calls were reported, or a verdict is in force."""

    answer = session.hub.get("/circuits")

    def in_words(out: Output) -> None:
        rows = [_row(one["service_name"], one) for one in answer["circuits"]]
        out.table(COLUMNS, rows, empty="Nobody has reported calls yet; services that use the SDK do so by themselves.")

    session.show(answer, in_words)


def show(session: Session, service: Service) -> None:
    """Show whether calls to a service go through, since when, why, and on which evidence; by route class."""

    answer = session.hub.get(f"/circuits/{segment(service)}")

    def in_words(out: Output) -> None:
        head = {name: answer[name] for name in ("service_name", "state", "reason", "since", "until")}
        out.fields({**head, **answer["evidence"]})
        if answer["route_classes"]:
            out.text("")
            out.table(CLASS_COLUMNS, [_class_row(one) for one in answer["route_classes"]], empty="")

    session.show(answer, in_words)


def _row(name: str, shown: Json) -> list[Any]:  # Any: JSON values
    seen = shown["evidence"]
    return [
        name, shown["state"], shown["reason"], seen["calls"], seen["failures"], seen["slow"], shown["since"],
        shown["until"],
    ]  # fmt: skip


def _class_row(shown: Json) -> list[Any]:  # Any: as above
    seen = shown["evidence"]
    return [
        shown["route_class"] or "(any other)", shown["state"], shown["of"], shown["reason"], seen["calls"],
        seen["failures"], seen["slow"], shown["since"], shown["until"],
    ]  # fmt: skip
