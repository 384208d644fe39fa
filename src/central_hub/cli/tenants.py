"""`central-hub tenant …`: a tenant from its creation to the end of its data, and as a document."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.plans import seconds_of
from central_hub.cli.session import Session, client_command

FIRST_KEY: Final = "first"
COLUMNS: Final = ("tenant", "name", "tier", "status", "created")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the tenant's trail.")]
WithKey = Annotated[bool, typer.Option("--with-key", help="Make its first key; the secret goes to stdout.")]
Limit = Annotated[int, typer.Option(help="Most rows to show.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Tenants: the customers behind the walls.")
    client_command(group, "create")(create)
    client_command(group, "list")(list_tenants)
    client_command(group, "show")(show)
    client_command(group, "rename")(rename)
    client_command(group, "set-tier")(set_tier)
    client_command(group, "extend-trial")(extend_trial)
    client_command(group, "suspend")(suspend)
    client_command(group, "resume")(resume)
    client_command(group, "activate")(activate)
    client_command(group, "past-due")(past_due)
    client_command(group, "delete")(delete)
    client_command(group, "restore")(restore)
    client_command(group, "shred")(shred)
    client_command(group, "export")(export)
    client_command(group, "import")(import_tenant)
    app.add_typer(group, name="tenant")


def create(
    session: Session,
    tenant_id: Tenant,
    tier: Annotated[str, typer.Option(help="free, pro, enterprise, or another plan of this hub.")] = "free",
    name: Annotated[str, typer.Option(help="Display name; the id when left out.")] = "",
    trial: Annotated[bool, typer.Option("--trial", help="Begin on trial.")] = False,
    trial_for: Annotated[
        str, typer.Option(help="Begin on a trial that ends by itself after this time, for example 14d: past due then.")
    ] = "",
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Make its first key; the secret goes to stdout.")
    ] = False,
) -> None:
    """Create a tenant; the same again changes nothing."""
    body: dict[str, object] = {"id": tenant_id, "name": name or tenant_id, "tier": tier, "trial": trial}
    if trial_for:
        body["trial_ends_at_ms"] = _from_now_ms(trial_for)
    if with_key:
        body["first_key"] = {"name": FIRST_KEY}
    answer = session.hub.post("/tenants", body)
    _show_created(session, answer, wanted_key=with_key)


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


def extend_trial(
    session: Session,
    tenant_id: Tenant,
    lasts: Annotated[str, typer.Argument(metavar="TIME", help="From now on, for example 14d.")],
) -> None:
    """Let a trial end so much from now instead."""
    body = {"trial_ends_at_ms": _from_now_ms(lasts)}
    answer = session.hub.request("PATCH", f"/tenants/{segment(tenant_id)}", body=body).body
    session.show(answer, lambda out: _tell(out, answer))


def activate(session: Session, tenant_id: Tenant) -> None:
    """Make a tenant active: its trial or its debt is over."""
    _move(session, tenant_id, "activate")


def past_due(session: Session, tenant_id: Tenant, reason: Reason = "") -> None:
    """Mark a tenant that owes; everything still works."""
    _move(session, tenant_id, "past-due", reason)


def suspend(session: Session, tenant_id: Tenant, reason: Reason = "") -> None:
    """Suspend a tenant: from now on its callers only read, and find nothing."""
    _move(session, tenant_id, "suspend", reason)


def resume(session: Session, tenant_id: Tenant) -> None:
    """Let a suspended tenant back in."""
    _move(session, tenant_id, "resume")


def delete(session: Session, tenant_id: Tenant, reason: Reason = "") -> None:
    """Delete a tenant: for its callers it is not there any more; it can be restored until it is shredded."""
    answer = session.hub.request("DELETE", f"/tenants/{segment(tenant_id)}", body={"reason": reason}).body
    session.show(answer, lambda out: _tell(out, answer))
    session.out.talk(
        f"Next: central-hub tenant restore {tenant_id}   (or for good: central-hub tenant shred {tenant_id})"
    )


def restore(session: Session, tenant_id: Tenant) -> None:
    """Bring a deleted tenant back, suspended."""
    _move(session, tenant_id, "restore")
    session.out.talk(f"Next: central-hub tenant resume {tenant_id}")


def shred(
    session: Session,
    tenant_id: Tenant,
    confirm: Annotated[str, typer.Option(help="The tenant's id once more: what is shredded does not come back.")] = "",
) -> None:
    """Destroy the key of a deleted tenant's data: nothing of it can be read again, here or in a backup."""
    if confirm != tenant_id:
        raise usage(
            "What is shredded does not come back.", f"central-hub tenant shred {tenant_id} --confirm {tenant_id}"
        )
    session.hub.post(f"/tenants/{segment(tenant_id)}/shred", {"confirm": confirm})
    session.show({"shredded": tenant_id}, lambda out: out.talk(f"The data of {tenant_id} is gone for good."))


def export(session: Session, tenant_id: Tenant) -> None:
    """Print a tenant as a JSON document: its record, entitlements, configuration and flags."""
    session.out.data(session.hub.get(f"/tenants/{segment(tenant_id)}/export"))


def import_tenant(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `tenant export` printed.")],
    as_id: Annotated[str, typer.Option("--as", help="Under another id.")] = "",
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Make its first key; the secret goes to stdout.")
    ] = False,
) -> None:
    """Make a tenant from such a document; the same again goes on after a failure."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise usage(f"{file} cannot be read: {reason}.", f"central-hub tenant export TENANT > {file}") from None
    body: dict[str, object] = {"document": document}
    if as_id:
        body["id"] = as_id
    if with_key:
        body["first_key"] = {"name": FIRST_KEY}
    answer = session.hub.post("/tenants/import", body)
    _show_created(session, answer, wanted_key=with_key)


def _move(session: Session, tenant_id: str, move: str, reason: str = "") -> None:
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/{move}", {"reason": reason})
    session.show(answer, lambda out: _tell(out, answer))


def _show_created(session: Session, answer: Json, *, wanted_key: bool) -> None:
    secret = answer["key"]["api_key"] if answer["key"] else ""

    def in_words(out: Output) -> None:
        if secret:
            out.talk(f"The tenant {answer['id']} is {answer['status']}. This is the only time its key is shown:")
            out.text(secret)
        else:
            _tell(out, answer)

    session.show(answer, in_words)
    if wanted_key and not secret:
        session.out.talk("The tenant was there already, and so no key was made.")
    if not secret:
        session.out.talk(f"Next: central-hub key create {answer['id']}")


def _fields(tenant: Json) -> dict[str, object]:
    return {
        "tenant": tenant["id"],
        "name": tenant.get("name"),
        "tier": tenant["tier"],
        "status": tenant.get("status"),
        "created": tenant.get("created_at"),
    }


def _tell(out: Output, tenant: Json) -> None:
    fields = _fields(tenant)
    if tenant.get("trial_ends_at"):
        fields["trial ends"] = tenant["trial_ends_at"]
    out.fields(fields | {"reason": tenant["reason"]} if tenant.get("reason") else fields)


def _from_now_ms(lasts: str) -> int:
    return int(time.time() * 1_000) + seconds_of(lasts) * 1_000
