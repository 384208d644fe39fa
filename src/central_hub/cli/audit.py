"""`central-hub audit …`: the trail of who did what, and whether its chain still holds."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("time", "seq", "what", "who", "from", "about")
PLATFORM: Final = "platform"

Domain = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant; 'platform' for the operator's own trail.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="The audit trail: read it, verify its chain.")
    client_command(group, "tail")(tail)
    client_command(group, "verify")(verify)
    app.add_typer(group, name="audit")


def tail(
    session: Session, domain: Domain, limit: Annotated[int, typer.Option(help="How many records, newest last.")] = 20
) -> None:
    """Show the latest records of a trail."""
    answer = session.hub.get(_path(domain), limit=limit)

    def in_words(out: Output) -> None:
        out.table(COLUMNS, [_row(each) for each in answer["records"]], empty="Nothing has been written yet.")

    session.show(answer, in_words)


def verify(session: Session, domain: Domain) -> None:
    """Verify the hash chain of a trail: a changed, missing or added record is found."""
    answer = session.hub.get(f"{_path(domain)}/verify")
    session.show(answer, lambda out: out.fields(answer))
    if not answer.get("ok", answer.get("valid", False)):
        raise Failure(
            ExitCode.ERROR,
            f"The trail of '{domain}' does not verify.",
            next_command=f"central-hub audit verify {domain} -o json",
            code="audit_chain_broken",
        )


def _row(record: Json) -> tuple[object, ...]:
    return (
        record.get("time"),
        record.get("seq"),
        record.get("type"),
        record.get("actor"),
        record.get("origin"),
        record.get("data"),
    )


def _path(domain: str) -> str:
    return "/audit" if domain == PLATFORM else f"/tenants/{segment(domain)}/audit"
