"""The command line's one entry: every command, and how a failure reaches the shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from central_hub.cli import access, audit, doctor, hub_state, services, serving, tenants, watching
from central_hub.cli.demo import command as demo
from central_hub.cli.failures import ExitCode, Failure


def build() -> typer.Typer:
    """Put the command line together."""
    app = typer.Typer(
        name="central-hub",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Where services are, whether they are healthy, and who may use them.",
        epilog="Start here: central-hub demo --for 30",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    app.callback()(_root)
    for module in (serving, demo, doctor, services, watching, tenants, access, audit, hub_state):
        module.add_commands(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build()(argv, prog_name="central-hub")
    except Failure as failure:
        failure.tell(sys.stderr, as_json=_wants_json(argv))
        sys.exit(failure.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; there is nobody left to tell
        sys.exit(ExitCode.OK)


def _tell_version(wanted: bool) -> None:  # typer calls it with the option's value
    if wanted:
        sys.stdout.write(f"central-hub {hub_state.installed_version()}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Register services, find them, watch them, and run a hub."""


def _wants_json(argv: Sequence[str]) -> bool:
    return any(
        word in ("-ojson", "--output=json") or (word in ("-o", "--output") and argv[at + 1 : at + 2] == ["json"])
        for at, word in enumerate(argv)
    )
