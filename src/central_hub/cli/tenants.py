"""`central-hub tenant …`: create, list, show, rename, change tier, suspend, resume."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("tenant", "name", "tier", "status", "created")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Limit = Annotated[int, typer.Option(help="Most rows to show.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Tenants: the customers behind the walls.")
    client_command(group, "create")(create)
    client_command(group, "list")(list_tenants)
    client_command(group, "show")(show)
    client_command(group, "rename")(rename)
    client_command(group, "set-tier")(set_tier)
    client_command(group, "suspend")(suspend)
    client_command(group, "resume")(resume)
    app.add_typer(group, name="tenant")


def create(
    session: Session,
    tenant_id: Tenant,
    tier: Annotated[str, typer.Option(help="free, pro, enterprise, or another tier of this hub.")] = "free",
    name: Annotated[str, typer.Option(help="Display name; the id when left out.")] = "",
) -> None:
    """Create a tenant."""
    answer = session.hub.post("/tenants", {"id": tenant_id, "name": name or tenant_id, "tier": tier})
    session.show(answer, lambda out: _tell(out, answer))
    session.out.talk(f"Next: central-hub key create {tenant_id}")


def list_tenants(session: Session, limit: Limit = 100) -> None:
    """List tenants."""
    answer = session.hub.get("/tenants", limit=limit)

    def in_words(out: Output) -> None:
        rows = [tuple(_fields(each).values()) for each in answer["tenants"]]
        out.table(COLUMNS, rows, empty="No tenants yet. Try: central-hub tenant create acme --tier pro")

    session.show(answer, in_words)


def show(session: Session, tenant_id: Tenant) -> None:
    """Show one tenant."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}")
    session.show(answer, lambda out: _tell(out, answer))


def rename(
    session: Session, tenant_id: Tenant, name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")]
) -> None:
    """Change a tenant's display name; its id stays."""
    answer = session.hub.request("PATCH", f"/tenants/{segment(tenant_id)}", body={"name": name}).body
    session.show(answer, lambda out: _tell(out, answer))


def set_tier(
    session: Session, tenant_id: Tenant, tier: Annotated[str, typer.Argument(metavar="TIER", help="The new tier.")]
) -> None:
    """Change a tenant's tier; it holds at once."""
    answer = session.hub.request("PATCH", f"/tenants/{segment(tenant_id)}", body={"tier": tier}).body
    session.show(answer, lambda out: _tell(out, answer))


def suspend(session: Session, tenant_id: Tenant) -> None:
    """Suspend a tenant: its keys stop working at once."""
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/suspend")
    session.show(answer, lambda out: _tell(out, answer))


def resume(session: Session, tenant_id: Tenant) -> None:
    """Let a suspended tenant back in."""
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/resume")
    session.show(answer, lambda out: _tell(out, answer))


def _fields(tenant: Json) -> dict[str, object]:
    return {
        "tenant": tenant["id"],
        "name": tenant.get("name"),
        "tier": tenant["tier"],
        "status": tenant.get("status"),
        "created": tenant.get("created_at"),
    }


def _tell(out: Output, tenant: Json) -> None:
    out.fields(_fields(tenant))
