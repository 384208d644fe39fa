"""`central-hub webhook …`: endpoints that are told what becomes true, and what became of it."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("webhook", "url", "status", "reason", "failures", "dead letters", "events")
ATTEMPT_COLUMNS: Final = ("position", "event", "attempt", "result", "status", "ms", "at")
LETTER_COLUMNS: Final = ("position", "event", "attempts", "result", "status", "at", "replaying")
TEST_TIMEOUT_S: Final = 20.0

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of the webhook.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Webhooks: endpoints that are told what becomes true.")
    client_command(group, "create")(create)
    client_command(group, "list")(list_webhooks)
    client_command(group, "show")(show)
    client_command(group, "rotate")(rotate)
    client_command(group, "test")(test)
    client_command(group, "deliveries")(deliveries)
    client_command(group, "replay")(replay)
    client_command(group, "disable")(disable)
    client_command(group, "enable")(enable)
    client_command(group, "delete")(delete)
    app.add_typer(group, name="webhook")


def create(
    session: Session,
    tenant_id: Tenant,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where it is told.")],
    event: Annotated[
        list[str],
        typer.Option(
            help="Type of event, in which '*' stands for anything; repeat it. What is about the tenant if none."
        ),
    ] = [],
    category: Annotated[list[str], typer.Option(help="Only of this category; repeat it.")] = [],
    source: Annotated[list[str], typer.Option(help="Only from here, such as '/services/*'; repeat it.")] = [],
    about: Annotated[list[str], typer.Option(help="Only about this service, or published by it; repeat it.")] = [],
    deliver: Annotated[str, typer.Option(help="Where to begin: new, all or last.")] = "new",
    service: Annotated[str, typer.Option(help="Service whose configuration it is told of.")] = "",
    environment: Annotated[str, typer.Option(help="Environment whose configuration and flags it is told of.")] = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Create a webhook; its signing secret is printed once and cannot be shown again."""
    body: dict[str, object] = {"url": url, "events": event, "description": description}
    if category or source or about:
        body["filter"] = {"categories": category, "sources": source, "services": about}
    if deliver != "new":
        body["deliver"] = {"policy": deliver}
    if service:
        body["service"] = service
    if environment:
        body["environment"] = environment
    _tell_secret(session, tenant_id, session.hub.post(_path(tenant_id), body))


def list_webhooks(session: Session, tenant_id: Tenant) -> None:
    """List a tenant's webhooks, oldest first."""
    answer = session.hub.get(_path(tenant_id))

    def in_words(out: Output) -> None:
        rows = [tuple(_fields(each).values()) for each in answer["webhooks"]]
        out.table(COLUMNS, rows, empty=f"No webhooks yet. Try: central-hub webhook create {tenant_id} URL")

    session.show(answer, in_words)


def show(session: Session, tenant_id: Tenant, webhook_id: Webhook) -> None:
    """Show a webhook and where it stands."""
    _show(session, session.hub.get(_path(tenant_id, webhook_id)))


def rotate(
    session: Session,
    tenant_id: Tenant,
    webhook_id: Webhook,
    grace: Annotated[
        int | None, typer.Option(min=0, help="Seconds the old secret still signs; a day when left out.")
    ] = None,
) -> None:
    """Give a webhook a new signing secret; the old one signs beside it until the grace ends."""
    body = {} if grace is None else {"grace_s": grace}
    _tell_secret(session, tenant_id, session.hub.post(_path(tenant_id, webhook_id, "rotate"), body))


def test(session: Session, tenant_id: Tenant, webhook_id: Webhook) -> None:
    """Send a webhook a test message now; fails when it is not taken."""
    path = _path(tenant_id, webhook_id, "test")
    answer = session.hub.request("POST", path, timeout_s=TEST_TIMEOUT_S).body
    if not answer["delivered"]:
        status = f" with status {answer['status']}" if answer["status"] else ""
        raise Failure(
            ExitCode.ERROR,
            f"The test message was not taken: {answer['result']}{status}.",
            next_command=f"central-hub webhook show {tenant_id} {webhook_id}",
            code=f"webhook_{answer['result']}",
        )
    session.show(answer, lambda out: out.talk(f"Taken with status {answer['status']} in {answer['latency_ms']} ms."))


def deliveries(
    session: Session,
    tenant_id: Tenant,
    webhook_id: Webhook,
    limit: Annotated[int, typer.Option(help="Most dead letters to show.")] = 100,
) -> None:
    """Show a webhook's latest attempts and its dead letters, oldest first."""
    answer = session.hub.get(_path(tenant_id, webhook_id, "deliveries"), limit=limit)

    def in_words(out: Output) -> None:
        attempts = [
            tuple(one[name] for name in ("seq", "event_type", "attempt", "result", "status", "latency_ms", "at"))
            for one in answer["attempts"]
        ]
        out.table(ATTEMPT_COLUMNS, attempts, empty="No attempts since the hub started.")
        letters = [
            tuple(one[name] for name in ("seq", "event_type", "attempts", "result", "status", "at", "replaying"))
            for one in answer["dead_letters"]
        ]
        out.talk("Dead letters:" if letters else "")
        out.table(LETTER_COLUMNS, letters, empty="No dead letters.")

    session.show(answer, in_words)


def replay(
    session: Session,
    tenant_id: Tenant,
    webhook_id: Webhook,
    seq: Annotated[list[int], typer.Option(help="Position of a dead letter; repeat it; all when left out.")] = [],
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most dead letters to send.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Send dead letters again, oldest first, under the ids they had."""
    body: dict[str, object] = {"limit": limit, "dry_run": dry_run}
    if seq:
        body["seqs"] = seq
    answer = session.hub.post(_path(tenant_id, webhook_id, "replay"), body)

    def in_words(out: Output) -> None:
        verb = "would be sent" if dry_run else "are being sent"
        out.talk(f"{len(answer['seqs'])} dead letters {verb}; {answer['remaining']} remain.")

    session.show(answer, in_words)


def disable(session: Session, tenant_id: Tenant, webhook_id: Webhook) -> None:
    """Tell a webhook nothing; what happens waits for it."""
    _show(session, session.hub.post(_path(tenant_id, webhook_id, "disable")))


def enable(session: Session, tenant_id: Tenant, webhook_id: Webhook) -> None:
    """Tell a webhook again, beginning with what waited."""
    _show(session, session.hub.post(_path(tenant_id, webhook_id, "enable")))


def delete(session: Session, tenant_id: Tenant, webhook_id: Webhook) -> None:
    """Delete a webhook with its dead letters."""
    session.hub.request("DELETE", _path(tenant_id, webhook_id))
    session.show({"webhook_id": webhook_id, "deleted": True}, lambda out: out.talk(f"{webhook_id} is deleted."))


def _path(tenant_id: str, webhook_id: str = "", action: str = "") -> str:
    path = f"/tenants/{segment(tenant_id)}/webhooks"
    return "/".join(filter(None, (path, segment(webhook_id) if webhook_id else "", action)))


def _show(session: Session, answer: Json) -> None:
    session.show(answer, lambda out: out.fields(_fields(answer)))


def _tell_secret(session: Session, tenant_id: str, answer: Json) -> None:
    webhook_id = answer["webhook"]["webhook_id"]

    def in_words(out: Output) -> None:
        if answer["secret"]:
            out.text(answer["secret"])
            out.talk(f"webhook {webhook_id}; this is the only time its secret is shown.")
        else:
            out.talk(f"webhook {webhook_id} was there already; rotate it for a secret.")
        out.talk(f"Next: central-hub webhook test {tenant_id} {webhook_id}")

    session.show(answer, in_words)


def _fields(webhook: Json) -> dict[str, object]:
    return {
        "webhook": webhook["webhook_id"],
        "url": webhook["url"],
        "status": webhook["status"],
        "reason": webhook["reason"],
        "failures": webhook["failures"],
        "dead letters": webhook["dead_letters"],
        "events": ", ".join(webhook["events"]) or "about the tenant",
    }
