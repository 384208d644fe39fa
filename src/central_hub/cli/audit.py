"""`central-hub audit …`: the trail of who did what, and whether its chain still holds."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("seq", "time", "what", "who", "from", "about")
PAGE: Final = 500

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose trail.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="The audit trail: read it, verify its chain.")
    client_command(group, "tail")(tail)
    client_command(group, "verify")(verify)
    app.add_typer(group, name="audit")


def tail(
    session: Session,
    tenant_id: Tenant,
    limit: Annotated[int, typer.Option(min=1, help="How many entries, newest last.")] = 20,
) -> None:
    """Show the latest entries of a tenant's trail."""
    latest: deque[Json] = deque(maxlen=limit)
    cursor: str | None = None
    while True:  # pages come oldest first; the hub caps their size
        page = session.hub.get(_path(tenant_id), limit=PAGE, cursor=cursor)
        latest.extend(page["entries"])
        cursor = page["next_cursor"]
        if cursor is None:
            break

    def in_words(out: Output) -> None:
        out.table(COLUMNS, [_row(each) for each in latest], empty="Nothing has been written yet.")

    session.show({"entries": list(latest)}, in_words)


def verify(session: Session, tenant_id: Tenant) -> None:
    """Verify the hash chain of a tenant's trail: a changed, missing or added entry is found."""
    answer = session.hub.get(f"{_path(tenant_id)}/verify")
    session.show(answer, lambda out: out.fields(answer))
    if answer["broken_at"] is not None:
        raise Failure(
            ExitCode.ERROR,
            f"The trail of '{tenant_id}' does not verify.",
            next_command=f"central-hub audit verify {tenant_id} -o json",
            code="audit_chain_broken",
        )


def _row(entry: Json) -> tuple[object, ...]:
    return (entry["seq"], entry["at"], entry["type"], entry["actor"], entry["origin"], entry["data"])


def _path(tenant_id: str) -> str:
    return f"/tenants/{segment(tenant_id)}/audit"
