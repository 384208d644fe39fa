"""`central-hub quota …`: what a tenant may have and has, and leases of capacity."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

LIMIT_COLUMNS: Final = ("limit", "granted", "used", "left", "resets", "source", "more with")
HUB_COLUMNS: Final = ("limit", "granted", "in use", "refused", "source", "more with")
LEASE_COLUMNS: Final = ("lease", "resource", "amount", "token", "ends", "holder")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Lease = Annotated[str, typer.Argument(metavar="LEASE", help="Id of the lease.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Quotas: limits, their use, and what is held.")
    client_command(group, "show")(show)
    client_command(group, "hub")(show_hub)
    client_command(group, "leases")(list_leases)
    client_command(group, "allocate")(allocate)
    client_command(group, "renew")(renew)
    client_command(group, "spend")(spend)
    client_command(group, "release")(release)
    app.add_typer(group, name="quota")


def show(session: Session, tenant_id: Tenant) -> None:
    """Show every limit of a tenant with what is used of it."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/usage")

    def in_words(out: Output) -> None:
        rows = [
            (
                each["name"],
                "no limit" if each["limit"] is None else each["limit"],
                each["used"],
                each["remaining"],
                each["resets_at"],
                each["source"],
                each["upgrade_to"],
            )
            for each in answer["limits"]
        ]
        out.table(LIMIT_COLUMNS, rows, empty="The plan grants nothing that is limited.")

    session.show(answer, in_words)


def show_hub(session: Session, tenant_id: Tenant) -> None:
    """Show how much of the hub itself a tenant may use, what is in use, and what was refused."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/hub-limits")

    def in_words(out: Output) -> None:
        rows = [
            tuple(each[name] for name in ("name", "limit", "used", "refused", "source", "upgrade_to"))
            for each in answer["limits"]
        ]
        out.table(HUB_COLUMNS, rows, empty="The hub limits nothing.")
        out.fields({"weight of writes": answer["write_weight"], "connections held": answer["held_connections"]})

    session.show(answer, in_words)


def list_leases(
    session: Session,
    tenant_id: Tenant,
    resource: Annotated[str, typer.Option(help="Of one resource only.")] = "",
    limit: Annotated[int, typer.Option(help="Most rows to show.")] = 100,
) -> None:
    """List what a tenant holds, oldest first."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/allocations", limit=limit, resource=resource or None)

    def in_words(out: Output) -> None:
        rows = [
            tuple(each[name] for name in ("lease_id", "resource", "amount", "fencing_token", "expires_at", "holder"))
            for each in answer["leases"]
        ]
        out.table(LEASE_COLUMNS, rows, empty="Nothing is held.")

    session.show(answer, in_words)


def allocate(
    session: Session,
    tenant_id: Tenant,
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="X for the limit max_X.")],
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="How much of it.")] = 1,
    ttl: Annotated[float, typer.Option(help="Seconds until it is free again unless it is renewed.")] = 60.0,
) -> None:
    """Hold an amount of a resource, if there is room."""
    body = {"resource": resource, "amount": amount, "ttl_s": ttl}
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/allocations", body)
    session.show(answer, lambda out: _tell(out, answer))
    session.out.talk(f"Next: central-hub quota release {tenant_id} {answer['lease_id']}")


def spend(
    session: Session,
    tenant_id: Tenant,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="One that is counted over a period.")],
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="How much of it.")] = 1,
) -> None:
    """Spend so much of a limit that is counted over a period, or nothing."""
    body = {"limit": limit, "amount": amount, "at_least": amount}
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/slices", body)

    def in_words(out: Output) -> None:
        granted = "no limit" if answer["limit"] is None else answer["limit"]
        out.fields(
            {
                "limit": answer["limit_name"],
                "spent": answer["granted"],
                "used": f"{answer['used']} of {granted}",
                "resets": answer["resets_at"],
            }
        )

    session.show(answer, in_words)


def renew(session: Session, tenant_id: Tenant, lease_id: Lease) -> None:
    """Give a lease its whole time again."""
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/allocations/{segment(lease_id)}/renew")
    session.show(answer, lambda out: _tell(out, answer))


def release(session: Session, tenant_id: Tenant, lease_id: Lease) -> None:
    """End a lease; one that has ended already is fine."""
    session.hub.request("DELETE", f"/tenants/{segment(tenant_id)}/allocations/{segment(lease_id)}")
    released = {"lease_id": lease_id, "released": True}
    session.show(released, lambda out: out.fields({"lease": lease_id, "released": "yes"}))


def _tell(out: Output, lease: Json) -> None:
    out.fields(
        {
            "lease": lease["lease_id"],
            "resource": lease["resource"],
            "amount": lease["amount"],
            "token": lease["fencing_token"],
            "ends": lease["expires_at"],
            "used": f"{lease['used']} of {'no limit' if lease['limit'] is None else lease['limit']}",
        }
    )
