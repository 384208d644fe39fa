"""Writes docs/reference/cli.md from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import typer.main

from central_hub.cli.commands import build
from central_hub.cli.failures import ExitCode

SHARED_OPTIONS: Final = ("hub", "key", "tenant", "output")

OPENING: Final = """# The command line

Data goes to stdout, talk to stderr. `-o json` gives the hub's answer as it came. `NO_COLOR` turns colours off. Every
error ends with a line `try:` that holds the next command; with `-o json` errors are one JSON object on stderr.

| exit code | meaning |
|---|---|
"""

MEANINGS: Final = {
    ExitCode.OK: "it worked",
    ExitCode.ERROR: "it did not work",
    ExitCode.USAGE: "the command, or what it was given, is not right",
    ExitCode.NOT_FOUND: "there is no such thing, or it is not yours to see",
    ExitCode.DENIED: "the credential is missing, wrong, or may not do this",
    ExitCode.CONFLICT: "it conflicts with how things are now",
    ExitCode.QUOTA: "a limit is reached",
    ExitCode.UNAVAILABLE: "the hub cannot be reached, or cannot do this now",
}

SHARED_TEXT: Final = """
## Options of every command that asks a hub

| option | variable | meaning |
|---|---|---|
"""


def page() -> str:
    """Return the page after its first line."""
    root = typer.main.get_command(build())
    commands = list(_leaves(root, "central-hub"))
    text = OPENING + "".join(f"| {code:d} | {MEANINGS[code]} |\n" for code in ExitCode)
    client = next(command for path, command in commands if path.endswith("services list"))
    text += SHARED_TEXT + "".join(_option_row(each) for each in client.params if each.name in SHARED_OPTIONS)
    text += "\n## Options of `central-hub` itself\n\n| option | variable | meaning |\n|---|---|---|\n"
    text += "".join(_option_row(each) for each in root.params)
    return text + "".join(_section(path, command) for path, command in commands)


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:  # Any: click's commands, which typer vendors
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, each in subcommands.items():
        yield from _leaves(each, f"{path} {name}")


def _section(path: str, command: Any) -> str:  # Any: as above
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    shared = {each.name for each in command.params} >= set(SHARED_OPTIONS)
    own = [
        each
        for each in command.params
        if each.param_type_name == "option" and not (shared and each.name in SHARED_OPTIONS) and each.name != "help"
    ]
    usage = " ".join([path, *(_metavar(each) for each in arguments), "[OPTIONS]"])
    text = f"\n## `{path}`\n\n{command.help}\n\n```\n{usage}\n```\n"
    if arguments:
        text += "\n| argument | meaning |\n|---|---|\n"
        text += "".join(f"| `{_metavar(each)}` | {each.help or ''} |\n" for each in arguments)
    if own:
        text += "\n| option | variable | meaning |\n|---|---|---|\n" + "".join(_option_row(each) for each in own)
    return text


def _metavar(argument: Any) -> str:  # Any: as above
    name = argument.metavar or argument.name.upper()
    return f"{name}" if argument.required else f"[{name}]"


def _option_row(option: Any) -> str:  # Any: as above
    names = " / ".join([", ".join(option.opts), *option.secondary_opts])
    variable = f"`{option.envvar}`" if option.envvar else ""
    default = option.default
    shown = (
        ""
        if callable(default) or default in (None, "", False, [], ())
        else f" Default: `{getattr(default, 'value', default)}`."
    )
    required = " Required." if option.required else ""
    return f"| `{names}` | {variable} | {(option.help or '').replace('|', '/')}{shown}{required} |\n"
