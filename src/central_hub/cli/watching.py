"""`central-hub watch`: what changes, as it changes; reconnects and resumes by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from central_hub.cli.connection import StreamEvent
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command
from central_hub.sdk.model import STREAM_SILENCE_S

RECONNECT_WAIT_S: Final = 1.0


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    client_command(app, "watch")(watch)


def watch(
    session: Session,
    services: Annotated[list[str], typer.Argument(help="Services to watch; all visible ones when left out.")] = [],
    once: Annotated[bool, typer.Option("--once", help="Print the current state and end.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Show reported load too.")] = False,
    seconds: Annotated[float | None, typer.Option("--for", help="End after this many seconds.")] = None,
) -> None:
    """Watch services change, live; Ctrl-C ends it."""
    until = None if seconds is None else time.monotonic() + seconds
    watched = _Watched({"services": ",".join(services) or "*", "load": True if load else None})
    try:
        while True:
            try:
                _follow(session, watched, once=once, until=until)
            except Failure as failure:
                if _over(until):
                    return
                if failure.exit_code is not ExitCode.UNAVAILABLE or not watched.position:
                    raise
                session.out.talk(f"{failure.message} Trying again.")
            if once or _over(until):
                return
            time.sleep(RECONNECT_WAIT_S)
    except KeyboardInterrupt:
        session.out.talk("")


@dataclass(slots=True)
class _Watched:
    """What is watched, and the position a reconnect resumes from."""

    query: dict[str, object]
    position: str = ""


def _follow(session: Session, watched: _Watched, *, once: bool, until: float | None) -> None:
    """Print one connection's events until it ends, breaks, or time is over."""
    silence_s = STREAM_SILENCE_S if until is None else min(STREAM_SILENCE_S, max(0.01, until - time.monotonic()))
    with session.hub.stream("/watch", watched.query, last_event_id=watched.position, silence_s=silence_s) as events:
        for event in events:
            watched.position = event.id or watched.position
            if session.out.json:
                session.out.line({"event": event.event, "id": event.id, "data": event.data})
            else:
                _tell(session.out, event)
            if (once and event.event == "sync") or _over(until):
                return


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _tell(out: Output, event: StreamEvent) -> None:
    clock = time.strftime("%H:%M:%S")
    if event.event == "snapshot":
        for name, service in sorted(event.data["services"].items()):
            if service is None:
                out.text(f"{clock}  {name}  (not there)")
                continue
            for each in service["instances"]:
                out.text(f"{clock}  {name}  {_instance(out, each)}")
    elif event.event == "sync":
        out.talk(f"{clock}  live")
    elif event.event == "delta":
        name = event.data["service"]
        for each in event.data.get("upsert", ()):
            out.text(f"{clock}  {name}  {_instance(out, each)}")
        for instance_id in event.data.get("remove", ()):
            out.text(f"{clock}  {name}  {instance_id}  {out.styled('gone')}")
        if event.data.get("gone"):
            out.text(f"{clock}  {name}  {out.styled('gone')}")
    elif event.event == "load":
        for instance_id, load in sorted(event.data["loads"].items()):
            told = "  ".join(f"{field}={value}" for field, value in load.items())
            out.text(f"{clock}  {event.data['service']}  {instance_id}  {told}")


def _instance(out: Output, each: dict[str, object]) -> str:
    status = "draining" if each.get("draining") else str(each["status"])
    reason = f"  ({each['status_reason']})" if each.get("status_reason") else ""
    return f"{each['instance_id']}  {each['endpoint']}  {out.styled(status)}{reason}"
