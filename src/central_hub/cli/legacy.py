"""`central-hub legacy …`: which callers of before tenants are served without a key, and until when."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.access import epoch_ms
from central_hub.cli.connection import Json
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("caller", "networks", "until", "calls")
PATH: Final = "/legacy"

Caller = Annotated[str, typer.Argument(metavar="CALLER", help="What the caller is called in counters and trails.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Callers of before tenants: who is served without a key.")
    client_command(group, "list")(list_callers)
    client_command(group, "allow")(allow)
    client_command(group, "end")(end)
    app.add_typer(group, name="legacy")


def list_callers(session: Session) -> None:
    """List who is served without a key, until when, and how often each called."""
    _show(session, session.hub.get(PATH))


def allow(
    session: Session,
    caller: Caller,
    network: Annotated[list[str], typer.Option(help="Network it calls from, in CIDR form; may be repeated.")],
    until: Annotated[str, typer.Option(help="When its migration ends, as 2030-01-31T00:00:00Z.")],
) -> None:
    """Serve a caller from these networks without a key until a date: shared services without requirements, to read."""
    example = f"central-hub legacy allow {caller} --network 10.1.0.0/16 --until 2030-01-31T00:00:00Z"
    wanted = {"caller": caller, "networks": network, "until_ms": epoch_ms(until, example)}
    _set(session, [*(one for one in _policy(session) if one["caller"] != caller), wanted])


def end(session: Session, caller: Caller) -> None:
    """Serve a caller no longer without a key, from now on."""
    before = _policy(session)
    after = [one for one in before if one["caller"] != caller]
    if len(after) == len(before):
        raise Failure(
            ExitCode.NOT_FOUND,
            f"No caller '{caller}' is served without a key.",
            next_command="central-hub legacy list",
            code="legacy_caller_not_found",
        )
    _set(session, after)


def _policy(session: Session) -> list[Json]:
    said = ("caller", "networks", "until_ms")
    return [{name: one[name] for name in said} for one in session.hub.get(PATH)["callers"]]


def _set(session: Session, callers: list[Json]) -> None:
    # One operator at a time: the policy is replaced whole.
    _show(session, session.hub.request("PUT", PATH, body={"callers": callers}).body)


def _show(session: Session, answer: Json) -> None:
    def in_words(out: Output) -> None:
        rows = [(one["caller"], ", ".join(one["networks"]), one["until"], one["calls"]) for one in answer["callers"]]
        out.table(COLUMNS, rows, empty="Nobody is served without a key.")

    session.show(answer, in_words)
