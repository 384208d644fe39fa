"""`central-hub subscription …`: who follows events, how far each has come, and what was given up."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("name", "status", "reason", "in flight", "behind", "dead letters", "done")
DELIVERY_COLUMNS: Final = ("delivery", "attempt", "type", "subject", "data")
LETTER_COLUMNS: Final = ("position", "cause", "attempts", "detail", "at", "replay at")
OWN: Final = "/subscriptions"
PLATFORM: Final = "/platform/subscriptions"
ANSWER_S: Final = 10.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the subscription.")]
Types = Annotated[list[str], typer.Option("--type", help="Type of event; '*' stands for anything; repeat it.")]
Categories = Annotated[list[str], typer.Option("--category", help="Only of this category; repeat it.")]
Services = Annotated[list[str], typer.Option("--service", help="Only about this service, or by it; repeat it.")]
Sources = Annotated[list[str], typer.Option("--source", help="Only from here; '*' stands for anything; repeat it.")]
AckWait = Annotated[float | None, typer.Option("--ack-wait", help="Seconds to acknowledge an event in.")]
Backoff = Annotated[str, typer.Option(help="Seconds before an event comes again, as 1,5,30.")]
Deliveries = Annotated[int | None, typer.Option("--max-deliveries", help="How often before it is given up.")]
InFlight = Annotated[int | None, typer.Option("--max-in-flight", help="Events not settled at once; 1 keeps order.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Policy = Annotated[str, typer.Option("--deliver", help="Where to begin: new, all or last.")]
After = Annotated[str, typer.Option(help="Begin after this position.")]
Since = Annotated[str, typer.Option(help="Begin at this time, RFC 3339.")]
OfPlatform = Annotated[bool, typer.Option("--platform", help="The platform's own.")]
Seqs = Annotated[list[int], typer.Option("--seq", help="Position of a dead letter; repeat it; all when left out.")]
Limit = Annotated[int, typer.Option(min=1, help="Most dead letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Subscriptions: durable places in the events.")
    client_command(group, "create")(create)
    client_command(group, "list")(list_subscriptions)
    client_command(group, "show")(show)
    client_command(group, "update")(update)
    client_command(group, "move")(move)
    client_command(group, "pull")(pull)
    client_command(group, "pause")(pause)
    client_command(group, "resume")(resume)
    client_command(group, "letters")(letters)
    client_command(group, "replay")(replay)
    client_command(group, "discard")(discard)
    client_command(group, "delete")(delete)
    app.add_typer(group, name="subscription")


def create(
    session: Session,
    name: Name,
    type: Types = [],  # noqa: A002  # the option is called so
    category: Categories = [],
    service: Services = [],
    source: Sources = [],
    deliver: Policy = "new",
    after: After = "",
    since: Since = "",
    ack_wait: AckWait = None,
    backoff: Backoff = "",
    max_deliveries: Deliveries = None,
    max_in_flight: InFlight = None,
    description: Description = None,
    platform: OfPlatform = False,
) -> None:
    """Create a subscription; what is told from where it begins waits for it."""
    body: Json = {"name": name, "filter": _filter(type, category, service, source)}
    body["terms"] = _terms(ack_wait, backoff, max_deliveries, max_in_flight)
    body["deliver"] = _deliver(deliver, after, since)
    if description:
        body["description"] = description
    _show(session, session.hub.post(_every(platform), body))


def list_subscriptions(session: Session, platform: OfPlatform = False) -> None:
    """List subscriptions, by name."""
    found: list[Json] = []
    cursor: str | None = None
    while True:
        page = session.hub.get(_every(platform), cursor=cursor, limit=500)
        found += page["subscriptions"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    rows = [tuple(_row(each).values()) for each in found]
    empty = "No subscriptions yet. Try: central-hub subscription create NAME --type 'com.example.*'"
    session.show({"subscriptions": found}, lambda out: out.table(COLUMNS, rows, empty=empty))


def show(session: Session, name: Name, platform: OfPlatform = False) -> None:
    """Show a subscription and where it stands."""
    _show(session, session.hub.get(_one(name, platform)))


def update(
    session: Session,
    name: Name,
    type: Types = [],  # noqa: A002  # the option is called so
    category: Categories = [],
    service: Services = [],
    source: Sources = [],
    everything: Annotated[bool, typer.Option("--everything", help="Want every event from now on.")] = False,
    ack_wait: AckWait = None,
    backoff: Backoff = "",
    max_deliveries: Deliveries = None,
    max_in_flight: InFlight = None,
    description: Description = None,
    platform: OfPlatform = False,
) -> None:
    """Change what a subscription wants (all of its filter at once), or how it is delivered to; its place stays."""
    body: Json = {}
    wanted, terms = _filter(type, category, service, source), _terms(ack_wait, backoff, max_deliveries, max_in_flight)
    if wanted or everything:
        body["filter"] = wanted
    if terms:
        body["terms"] = terms
    if description is not None:
        body["description"] = description
    _show(session, session.hub.request("PATCH", _one(name, platform), body=body).body)


def move(
    session: Session,
    name: Name,
    deliver: Policy = "new",
    after: After = "",
    since: Since = "",
    platform: OfPlatform = False,
) -> None:
    """Have a subscription go on from elsewhere; what is under way is forgotten, its dead letters stay."""
    _show(session, session.hub.post(_one(name, platform, "move"), _deliver(deliver, after, since)))


def pull(
    session: Session,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=256, help="How many events at most.")] = 10,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the first.")] = 0,
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledge them: they do not come again.")] = False,
    platform: OfPlatform = False,
) -> None:
    """Take a few events and show them. Without --ack they come again when their time is over."""
    query = {"limit": limit, "wait_s": wait}
    path = _one(name, platform, "pull")
    answer = session.hub.request("POST", path, query=query, timeout_s=wait + ANSWER_S).body
    taken = answer["deliveries"]
    if ack and taken:
        session.hub.post(_one(name, platform, "settle"), {"ack": [each["id"] for each in taken]})

    def in_words(out: Output) -> None:
        out.table(DELIVERY_COLUMNS, [_delivered(each) for each in taken], empty="Nothing waits.")
        if taken and not ack:
            out.talk(f"Not acknowledged: they come again within {taken[0]['ack_wait_s']:g} s. --ack acknowledges them.")

    session.show(answer, in_words)


def pause(session: Session, name: Name, platform: OfPlatform = False) -> None:
    """Give out nothing; what happens waits."""
    _show(session, session.hub.post(_one(name, platform, "pause")))


def resume(session: Session, name: Name, platform: OfPlatform = False) -> None:
    """Give out events again, beginning with what waited."""
    _show(session, session.hub.post(_one(name, platform, "resume")))


def letters(session: Session, name: Name, limit: Limit = 100, platform: OfPlatform = False) -> None:
    """List a subscription's dead letters, oldest first."""
    answer = session.hub.get(_one(name, platform, "letters"), limit=min(limit, 500))
    rows = [
        (each["position"], each["cause"], each["attempts"], each["detail"], each["at"], each["replay_at"] or "")
        for each in answer["letters"]
    ]
    session.show(answer, lambda out: out.table(LETTER_COLUMNS, rows, empty="No dead letters."))


def replay(
    session: Session,
    name: Name,
    seq: Seqs = [],
    limit: Limit = 1_000,
    rate: Annotated[float | None, typer.Option(min=0.001, help="How many a second; no limit if none.")] = None,
    dry_run: DryRun = False,
    platform: OfPlatform = False,
) -> None:
    """Deliver dead letters again, oldest first; the subscription's place stays."""
    body: Json = {"limit": limit, "dry_run": dry_run}
    if rate is not None:
        body["per_s"] = rate
    _tell(session, _one(name, platform, "letters/replay"), body, seq, "are delivered again", "would be delivered again")


def discard(
    session: Session,
    name: Name,
    seq: Seqs = [],
    limit: Limit = 1_000,
    dry_run: DryRun = False,
    platform: OfPlatform = False,
) -> None:
    """Forget dead letters, oldest first; the events stay in the log."""
    body: Json = {"limit": limit, "dry_run": dry_run}
    _tell(session, _one(name, platform, "letters/discard"), body, seq, "are forgotten", "would be forgotten")


def delete(session: Session, name: Name, platform: OfPlatform = False) -> None:
    """Delete a subscription with its dead letters."""
    session.hub.request("DELETE", _one(name, platform))
    session.show({"name": name, "deleted": True}, lambda out: out.talk(f"{name} is deleted."))


def _tell(session: Session, path: str, body: Json, seq: list[int], done: str, dry: str) -> None:
    if seq:
        body["seqs"] = seq
    answer = session.hub.post(path, body)
    verb = dry if answer["dry_run"] else done
    words = f"{len(answer['seqs'])} dead letters {verb}; {answer['remaining']} remain."
    session.show(answer, lambda out: out.talk(words))


def _every(platform: bool) -> str:
    return PLATFORM if platform else OWN


def _one(name: str, platform: bool, action: str = "") -> str:
    path = f"{_every(platform)}/{segment(name)}"
    return f"{path}/{action}" if action else path


def _filter(types: list[str], categories: list[str], services: list[str], sources: list[str]) -> Json:
    given = {"types": types, "categories": categories, "services": services, "sources": sources}
    return {name: words for name, words in given.items() if words}


def _terms(ack_wait: float | None, backoff: str, max_deliveries: int | None, max_in_flight: int | None) -> Json:
    given: dict[str, Any] = {  # Any: members of a JSON body
        "ack_wait_s": ack_wait,
        "max_deliveries": max_deliveries,
        "max_in_flight": max_in_flight,
    }
    if backoff:
        given["backoff_s"] = _seconds(backoff)
    return {name: value for name, value in given.items() if value is not None}


def _seconds(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter("--backoff is seconds with commas between them, as in 1,5,30.") from None


def _deliver(policy: str, after: str, since: str) -> Json:
    if after:
        return {"policy": "by_position", "position": after}
    if since:
        return {"policy": "by_time", "time": since}
    return {"policy": policy}


def _show(session: Session, answer: Json) -> None:
    def in_words(out: Output) -> None:
        wanted = {name: ", ".join(words) for name, words in answer["filter"].items()}
        out.fields(_row(answer) | wanted | answer["terms"])

    session.show(answer, in_words)


def _row(one: Json) -> dict[str, object]:
    return {
        "name": one["name"],
        "status": one["status"],
        "reason": one["reason"],
        "in flight": one["in_flight"],
        "behind": one["behind"],
        "dead letters": one["dead_letters"],
        "done": one["done"],
    }


def _delivered(one: Json) -> tuple[object, ...]:
    event = one["event"]
    data = event.get("data", event.get("data_base64", ""))
    return one["id"], one["attempt"], event["type"], event.get("subject", ""), json.dumps(data) if data != "" else ""
