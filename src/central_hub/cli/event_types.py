"""`central-hub event register | retire | policy | retention | purge`: what a tenant says of its own events."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.session import Session, client_command

Type = Annotated[str, typer.Argument(metavar="TYPE", help="One of the tenant's own, as com.example.placed.")]


class Compatibility(StrEnum):
    """What a new version owes those before it."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"
    NONE = "none"


class Unknown(StrEnum):
    """What becomes of events of types that are not described."""

    ALLOWED = "allowed"
    REFUSED = "refused"


def add_type_commands(group: typer.Typer) -> None:
    """Add the commands of this module to `event`."""
    client_command(group, "register")(register)
    client_command(group, "retire")(retire)
    client_command(group, "policy")(policy)
    client_command(group, "retention")(retention)
    client_command(group, "purge")(purge)


def register(
    session: Session,
    type: Type,  # noqa: A002  # as it is shown
    schema: Annotated[str, typer.Option(help="File with the JSON Schema of its data; - reads it from stdin.")],
    compatibility: Annotated[
        Compatibility, typer.Option(help="What it owes the versions before it.")
    ] = Compatibility.BACKWARD,
    description: Annotated[str, typer.Option(help="One sentence for its readers.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of it, change nothing.")] = False,
) -> None:
    """Describe a type, or give it a new version; saying the same again changes nothing."""
    body = {"json_schema": _read(schema), "compatibility": compatibility.value, "description": description}
    path = f"/events/types/{type}" + ("?dry_run=true" if dry_run else "")
    answer = session.hub.request("PUT", path, body=body).body
    session.show(answer, lambda out: out.fields(answer))


def retire(session: Session, type: Type) -> None:  # noqa: A002  # as it is shown
    """Take a type away; what was published of it stays."""
    session.hub.request("DELETE", f"/events/types/{type}")
    session.show({"retired": type}, lambda out: out.talk(f"{type} is described no more."))


def policy(
    session: Session,
    unknown: Annotated[Unknown | None, typer.Option(help="Types that are not described; shown without.")] = None,
) -> None:
    """Show, or say, what becomes of events of types that the tenant has not described."""
    path, body = "/events/policy", None if unknown is None else {"unknown_types": unknown.value}
    answer = session.hub.request("GET" if body is None else "PUT", path, body=body).body
    session.show(answer, lambda out: out.fields(answer))


def retention(session: Session) -> None:
    """Show how long events are kept, what they take, and where what can be read begins."""
    answer = session.hub.get("/events/retention")
    session.show(answer, lambda out: out.fields(answer))


def purge(
    session: Session,
    before: Annotated[str, typer.Option(help="Up to this position, before this RFC 3339 time, or 'now' for all.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; it cannot be undone.")] = False,
) -> None:
    """Take the tenant's events away, for good; the trail of what was done stays."""
    if not yes:
        session.out.talk(f"Nothing is gone yet. Next: central-hub event purge --before {before} --yes")
        return
    answer = session.hub.post("/events/purge", {"before": before})
    session.show(answer, lambda out: out.fields(answer))


def _read(place: str) -> Any:  # Any: a JSON document
    try:
        return json.loads(sys.stdin.read() if place == "-" else Path(place).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Failure(
            ExitCode.USAGE, f"The schema cannot be read: {error}.", next_command="central-hub event register --help",
            code="invalid_json",
        ) from None  # fmt: skip
