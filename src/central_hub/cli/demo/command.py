"""`central-hub demo`: its options, and how its result reaches the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Format, Output
from central_hub.cli.session import OutputOption

SECONDS_MIN: Final = 1.0
SCALE_MIN: Final = 0.01


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command("demo")(demo)


def demo(
    seconds: Annotated[
        float | None, typer.Option("--for", min=SECONDS_MIN, help="Seconds of load; until Ctrl-C when left out.")
    ] = None,
    port: Annotated[int, typer.Option(envvar="HUB_PORT", help="Port of the demo's hub; 0 picks a free one.")] = 7000,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Draw on the terminal, or print lines.")] = True,
    scale: Annotated[float, typer.Option(min=SCALE_MIN, help="How much faster than the trace requests arrive.")] = 1.0,
    hub_outage: Annotated[
        float, typer.Option("--hub-outage", min=0, help="Kill the hub (kill -9) in the middle for so many seconds.")
    ] = 0.0,
    kills: Annotated[bool, typer.Option("--kills/--no-kills", help="Kill an instance now and then.")] = True,
    trace_file: Annotated[
        Path | None, typer.Option("--trace", envvar="HUB_TRACE", help="Replay this Azure LLM trace file.")
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Three hubs on a PostgreSQL of the demo's own; each part is killed in turn."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the load and of the mishaps.")] = 1,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a hub and a small real platform under load.

    Starts the hub, ten service processes and three tenants, sends a load of requests, kills instances
    (and, if asked to, the hub) under it, and shows that callers never notice. Ends with a summary, and with exit
    code 1 when any call failed.
    """
    import asyncio  # this and the SDK are not for every --help

    from central_hub.cli.demo.director import Options, direct

    out = Output(output)
    options = Options(
        seconds=seconds,
        port=port,
        live=live and out.stdout_is_terminal and not out.json,
        scale=scale,
        hub_outage_s=hub_outage,
        kills=kills,
        trace_file=trace_file,
        seed=seed,
        cluster=cluster,
    )
    summary = asyncio.run(direct(options))
    if out.json:
        out.data(summary.as_json())
    else:
        for text in summary.lines():
            out.text(text)
    if not summary.good:
        raise Failure(
            ExitCode.ERROR,
            "The demo did not go as it should.",
            next_command="central-hub demo --for 30 --no-live -o json",
            code="demo_failed",
        )
