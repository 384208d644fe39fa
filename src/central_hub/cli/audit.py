"""`central-hub audit …`: the trail of who did what, and whether its chain still holds."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("seq", "time", "what", "who", "from", "about")
PAGE: Final = 500
PLATFORM: Final = "platform"

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose trail; 'platform' for the operator's own.")]


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
    entries = _latest(session, tenant_id, limit)

    def in_words(out: Output) -> None:
        out.table(COLUMNS, [_row(each) for each in entries], empty="Nothing has been written yet.")

    session.show({"entries": entries}, in_words)


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


def _latest(session: Session, tenant_id: str, limit: int) -> list[Json]:
    """Return the latest entries, oldest first, reading from the end only as much of the trail as is shown."""
    entries: list[Json] = session.hub.get(_path(tenant_id), limit=min(limit, PAGE), latest="true")["entries"]
    while entries and len(entries) < limit and entries[0]["seq"] > 1:
        before = entries[0]["seq"] - 1
        size = min(limit - len(entries), PAGE, before)
        older = session.hub.get(_path(tenant_id), limit=size, cursor=str(before - size))["entries"]
        if not older or older[-1]["seq"] > before:
            break  # what is older is no longer kept
        entries = older + entries
    return entries


def _row(entry: Json) -> tuple[object, ...]:
    return (entry["seq"], entry["at"], entry["type"], entry["actor"], entry["origin"], entry["data"])


def _path(tenant_id: str) -> str:
    return "/audit" if tenant_id == PLATFORM else f"/tenants/{segment(tenant_id)}/audit"
