"""Commands about the hub itself: health, why a request was refused, and the version."""

from __future__ import annotations

from typing import Annotated

import typer

from central_hub.cli.connection import segment
from central_hub.cli.output import Format, Output
from central_hub.cli.session import OutputOption, Session, client_command


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    client_command(app, "health")(health)
    client_command(app, "explain")(explain)
    app.command("version")(version)


def health(session: Session) -> None:
    """Show the health of the services that you see."""
    answer = session.hub.get("/health/services")

    def in_words(out: Output) -> None:
        rows = [
            (name, each["status"], each.get("latency"), each.get("last_check"))
            for name, each in sorted(answer.items())
            if name != "truncated"
        ]
        out.table(("service", "status", "latency ms", "last check"), rows, empty="No services here yet.")

    session.show(answer, in_words)


def explain(
    session: Session,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION", help="decision_id of a refusal.")],
) -> None:
    """Say why a request was refused."""
    answer = session.hub.get(f"/decisions/{segment(decision_id)}")
    session.show(answer, lambda out: out.fields(answer))


def version(output: OutputOption = Format.TABLE) -> None:
    """Print the version."""
    out = Output(output)
    if out.json:
        out.data({"version": installed_version()})
    else:
        out.text(f"central-hub {installed_version()}")


def installed_version() -> str:
    """Return the installed distribution's version, `0+unknown` in a bare source tree."""
    import importlib.metadata  # slow to load, and only this needs it

    try:
        return importlib.metadata.version("central-hub")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
