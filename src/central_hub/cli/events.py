"""`central-hub event …`: publish events, watch them, read them again."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json
from central_hub.cli.event_types import add_type_commands
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command
from central_hub.sdk.model import STREAM_SILENCE_S

COLUMNS: Final = ("position", "time", "type", "subject", "data")
PAGE: Final = 1_000
RECONNECT_WAIT_S: Final = 1.0
PLATFORM: Final = "/platform/events"
OWN: Final = "/events"

Types = Annotated[list[str], typer.Option("--type", help="Only this type; 'x.*' for all that begin like it.")]
Services = Annotated[list[str], typer.Option("--service", help="Only events about this service, or published by it.")]
Category = Annotated[str, typer.Option(help="Only of this category, such as service, config or integration.")]
OfPlatform = Annotated[bool, typer.Option("--platform", help="The platform's own events.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Events: publish, watch, read again.")
    client_command(group, "publish")(publish)
    client_command(group, "tail")(tail)
    client_command(group, "replay")(replay)
    client_command(group, "types")(types)
    client_command(group, "describe")(describe)
    add_type_commands(group)
    app.add_typer(group, name="event")


def publish(
    session: Session,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="What happened: com.example.placed.")],  # noqa: A002  # as it is shown
    data: Annotated[str, typer.Option(help="What there is to say, as JSON.")] = "",
    subject: Annotated[str, typer.Option(help="What it is about; also the order it belongs to.")] = "",
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "/services/command-line",
    id: Annotated[str, typer.Option("--id", help="Its own id: the same again changes nothing.")] = "",  # noqa: A002  # the option is called so
    integration: Annotated[bool, typer.Option("--integration", help="It is made for other systems.")] = False,
) -> None:
    """Publish one event; it is durable when this ends."""
    event: Json = {"specversion": "1.0", "type": type, "source": source}
    given = {"subject": subject, "id": id, "hubcategory": "integration" if integration else ""}
    event.update({name: value for name, value in given.items() if value})
    if data:
        event["data"] = _json(data)
    answer = session.hub.post("/events", event)
    session.show(answer, lambda out: out.fields(answer))


def tail(
    session: Session,
    type: Types = [],  # noqa: A002  # the option is called so
    service: Services = [],
    category: Category = "",
    after: Annotated[str, typer.Option(help="Begin after this position, or 'start'.")] = "now",
    platform: OfPlatform = False,
    seconds: Annotated[float | None, typer.Option("--for", help="End after this many seconds.")] = None,
) -> None:
    """Show events as they are told, live; Ctrl-C ends it. Goes on without a gap when the hub was away."""
    until = None if seconds is None else time.monotonic() + seconds
    query, last = _query(type, service, category), ""
    path = f"{PLATFORM if platform else OWN}/stream"
    try:
        while not _over(until):
            silence_s = STREAM_SILENCE_S if until is None else max(0.05, until - time.monotonic())
            try:
                asked = query if last else {**query, "after": after}
                with session.hub.stream(path, asked, last_event_id=last, silence_s=silence_s) as events:
                    session.out.talk("live")
                    for event in events:
                        last = event.id or last
                        if event.event == "event":
                            _tell(session.out, event.data)
                        if _over(until):
                            return
            except Failure as failure:
                if _over(until):
                    return
                if failure.exit_code is not ExitCode.UNAVAILABLE:
                    raise
                session.out.talk(f"{failure.message} Trying again.")
            time.sleep(RECONNECT_WAIT_S)
    except KeyboardInterrupt:
        session.out.talk("")


def replay(
    session: Session,
    type: Types = [],  # noqa: A002  # the option is called so
    service: Services = [],
    category: Category = "",
    after: Annotated[str, typer.Option(help="Begin after this position; 'start' for everything that is kept.")] = "",
    since: Annotated[str, typer.Option(help="Begin at this time, RFC 3339.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many events at most.")] = 100,
    platform: OfPlatform = False,
) -> None:
    """Read events again, oldest first, and say where to go on."""
    query: dict[str, Any] = _query(type, service, category)
    query.update({"since": since} if since else {"after": after or "start"})
    found: list[Json] = []
    path, more, following = PLATFORM if platform else OWN, True, ""
    while more and len(found) < limit:
        page = session.hub.get(path, **query, limit=min(PAGE, limit - len(found)))
        found += page["events"]
        more, following = page["more"], page["next"]
        query.pop("since", None)
        query["after"] = following

    def in_words(out: Output) -> None:
        out.table(COLUMNS, [_row(each) for each in found], empty="Nothing was told yet.")
        if more:
            out.talk(f"There is more: central-hub event replay --after {following}")

    session.show({"events": found, "next": following, "more": more}, in_words)


def types(session: Session) -> None:
    """List the types of events that the hub tells, and those that services report."""
    answer = session.hub.get("/events/types")
    rows = [(each["type"], each["name"], each["told_by"], each["summary"]) for each in answer["types"]]
    session.show(answer, lambda out: out.table(("type", "name", "told_by", "summary"), rows, empty="None."))


def describe(
    session: Session,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A type, or the hub's name for it.")],  # noqa: A002  # as it is shown
    schema: Annotated[bool, typer.Option("--schema", help="The JSON Schema of its data alone.")] = False,
) -> None:
    """Show a type of event: what its data may be, its order, and an example."""
    answer = session.hub.get(f"/events/types/{type}")
    if schema:
        session.out.data(answer["json_schema"])
        return
    shown = {name: value for name, value in answer.items() if name not in ("json_schema", "example")}

    def in_words(out: Output) -> None:
        out.fields(shown)
        out.talk("An event that could have been:")
        out.text(json.dumps(answer["example"], indent=2))

    session.show(answer, in_words)


def _query(types: list[str], services: list[str], category: str) -> dict[str, Any]:  # Any: members of a query
    given = {"types": ",".join(types), "services": ",".join(services), "category": category}
    return {name: value for name, value in given.items() if value}


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _tell(out: Output, event: Json) -> None:
    if out.json:
        out.line(event)
        return
    out.text("  ".join(str(part) for part in _row(event)))


def _row(event: Json) -> tuple[object, ...]:
    data = event.get("data", event.get("data_base64", ""))
    return event["hubseq"], event["time"], event["type"], event.get("subject", ""), json.dumps(data) if data else ""


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(
            ExitCode.USAGE, f"--data is not JSON: {error}.", next_command="central-hub event publish --help",
            code="invalid_json",
        ) from None  # fmt: skip
