"""`central-hub relay …`: have events go to message brokers, and see where each relay stands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("relay", "kind", "destination", "state", "trouble", "events", "lag", "parked")
PARKED_COLUMNS: Final = ("tenant", "position", "event", "type", "trouble", "bytes", "at")

Relay = Annotated[str, typer.Argument(metavar="RELAY", help="Name of the relay.")]


class Kind(StrEnum):
    """Brokers that can be named."""

    NATS = "nats"
    REDIS = "redis"
    KAFKA = "kafka"


class Begin(StrEnum):
    """Where a relay can begin."""

    NOW = "now"
    START = "start"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Relays: events that go to message brokers.")
    client_command(group, "create")(create)
    client_command(group, "list")(list_relays)
    client_command(group, "show")(show)
    client_command(group, "pause")(pause)
    client_command(group, "resume")(resume)
    client_command(group, "parked")(parked)
    client_command(group, "delete")(delete)
    app.add_typer(group, name="relay")


def create(
    session: Session,
    name: Relay,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="Which broker.")],
    server: Annotated[
        list[str], typer.Argument(metavar="HOST:PORT...", help="Where it is; several are tried in turn.")
    ],
    destination: Annotated[str, typer.Option(help="The stream, key or topic; the kind's own when left out.")] = "",
    prefix: Annotated[str, typer.Option(help="What NATS subjects begin with.")] = "hub",
    secret: Annotated[str, typer.Option(help="Path of the platform's secret with user:password or a token.")] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and check the server's certificate.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="PEM certificates that vouch for the server.")] = None,
    only_tenant: Annotated[
        list[str], typer.Option(help="Tenant whose events go there; repeat it; all when left out.")
    ] = [],
    type_: Annotated[list[str], typer.Option("--type", help="Type of event, may end in '*'; repeat it.")] = [],
    category: Annotated[list[str], typer.Option(help="Category of events; repeat it.")] = [],
    into: Annotated[str, typer.Option(help="Take events from the broker instead: the tenant they become.")] = "",
    subject: Annotated[str, typer.Option(help="Which NATS subjects are taken; all when left out.")] = "",
    group: Annotated[str, typer.Option(help="Under which name the broker remembers what was taken.")] = "central-hub",
    start: Annotated[Begin, typer.Option(help="Begin now, or with what is kept.")] = Begin.NOW,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Create a relay: events go to a broker, at least once and in order; with --into they come from one."""
    body: dict[str, object] = {
        "name": name, "kind": kind.value, "servers": server, "destination": destination, "prefix": prefix,
        "secret": secret, "tls": tls, "ca": _read(ca_file), "tenants": only_tenant, "types": type_,
        "categories": category, "into": into or None, "subject": subject, "group": group, "start": start.value,
        "description": description,
    }  # fmt: skip
    answer = session.hub.post("/relays", body)

    def in_words(out: Output) -> None:
        out.fields(_fields(answer))
        out.talk(f"Next: central-hub relay show {name}")

    session.show(answer, in_words)


def list_relays(session: Session) -> None:
    """List the relays and where each stands."""
    answer = session.hub.get("/relays")

    def in_words(out: Output) -> None:
        rows = [tuple(_fields(each).values())[: len(COLUMNS)] for each in answer["relays"]]
        out.table(COLUMNS, rows, empty="No relays yet. Try: central-hub relay create out nats 127.0.0.1:4222")

    session.show(answer, in_words)


def show(session: Session, name: Relay) -> None:
    """Show a relay and where it stands."""
    _show(session, session.hub.get(_path(name)))


def pause(session: Session, name: Relay) -> None:
    """Have a relay hand nothing over; what happens waits for it."""
    _show(session, session.hub.post(_path(name, "pause")))


def resume(session: Session, name: Relay) -> None:
    """Have a relay go on with what waited."""
    _show(session, session.hub.post(_path(name, "resume")))


def parked(
    session: Session, name: Relay, limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most to show.")] = 100
) -> None:
    """Show the events that a relay's broker will never take."""
    answer = session.hub.get(_path(name, "parked"), limit=limit)

    def in_words(out: Output) -> None:
        names = ("tenant_id", "seq", "event_id", "event_type", "trouble", "bytes", "at")
        rows = [tuple(one[name] for name in names) for one in answer["parked"]]
        out.table(PARKED_COLUMNS, rows, empty="Nothing was set aside.")

    session.show(answer, in_words)


def delete(session: Session, name: Relay) -> None:
    """Delete a relay; what its broker has stays there."""
    session.hub.request("DELETE", _path(name))
    session.show({"name": name, "deleted": True}, lambda out: out.talk(f"{name} is deleted."))


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not PEM"
        raise usage(f"{file} cannot be read: {reason}.", "central-hub relay create --help") from None


def _path(name: str, action: str = "") -> str:
    return "/".join(filter(None, ("/relays", segment(name), action)))


def _show(session: Session, answer: Json) -> None:
    session.show(answer, lambda out: out.fields(_fields(answer)))


def _fields(relay: Json) -> dict[str, object]:
    return {
        "relay": relay["name"],
        "kind": relay["kind"],
        "destination": relay["destination"],
        "state": relay["state"],
        "trouble": relay["trouble"] or "",
        "events": relay["taken"] if relay["into"] else relay["sent"],
        "lag": f"{relay['lag_records']} records",
        "parked": relay["parked"],
        "into": relay["into"] or "",
        "servers": ", ".join(relay["servers"]),
        "detail": relay["detail"],
        "tenants": ", ".join(relay["tenants"]) or "all",
        "types": ", ".join(relay["types"]) or "all",
        "categories": ", ".join(relay["categories"]) or "all",
    }
