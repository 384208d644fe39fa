"""`central-hub store …`: make a database ready, look at a store, move a hub from one to another.

These work on the store itself, beside the hub, not through it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Format, Output

BAR_CELLS: Final = 30
EXITS: Final = {"conflict": ExitCode.CONFLICT, "invalid": ExitCode.USAGE, "unavailable": ExitCode.UNAVAILABLE}

T = TypeVar("T")

OutputOption = Annotated[Format, typer.Option("-o", "--output", help="How data is written.")]
Store = Annotated[str, typer.Argument(metavar="STORE", help="postgresql://… or a data directory.", envvar="HUB_STORE")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Stores: PostgreSQL made ready, looked at, moved to and from.")
    group.command("prepare")(prepare)
    group.command("status")(status)
    group.command("migrate")(migrate)
    group.command("restored")(restored)
    app.add_typer(group, name="store")


def prepare(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The database, as the role that owns its tables.")],
    role: Annotated[str, typer.Option(help="The role that hubs use; it owns nothing.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Make or move on the tables in a database, and let a role use them; again is harmless."""
    from central_hub.app import storing

    applied = _run(storing.prepare(address, role))
    out = Output(output)
    if out.json:
        out.data({"applied": applied, "role": role})
        return
    out.fields({"applied": ", ".join(applied) or "nothing, all was there", "role": role})
    out.talk("Next: central-hub serve --store postgresql://" + role + "@HOST:5432/DATABASE")


def status(store: Store = "central-hub-data", output: OutputOption = Format.TABLE) -> None:
    """Tell what a store holds and whether it is fit to be one."""
    from central_hub.app import storing

    found = _run(storing.status(store))
    out = Output(output)
    if out.json:
        out.data(found)
    else:
        out.fields(found)


def migrate(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Data directory or postgresql://…")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty one of either.")],
    data: Annotated[
        Path, typer.Option(envvar="HUB_DATA", help="Where keys/master.key is, when FROM is a database.")
    ] = Path("central-hub-data"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Move a hub, which must not be running, and prove that both stores fold to the same."""
    from central_hub.app import moving
    from central_hub.settings import Settings

    out = Output(output)
    moved = _run(moving.move(Settings(data=data), source, target, progress=_bar))
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    if out.json:
        out.data({name: getattr(moved, name) for name in moved.__struct_fields__})
    else:
        out.fields(
            {
                "moved": f"{moved.records} records of {moved.domains} domains, {moved.results} results",
                "history": moved.incarnation,
                "chains": f"{moved.chains_verified} verified",
                "views": f"{moved.sections_compared} sections equal in both",
            }
        )
    where = f"--store postgresql://… --data {source}" if moving.is_database(target) else f"--data {target}"
    out.talk(f"Next: central-hub serve {where}")


def restored(
    store: Store = "central-hub-data",
    data: Annotated[
        Path, typer.Option(envvar="HUB_DATA", help="Where keys/master.key is, when STORE is a database.")
    ] = Path("central-hub-data"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Say that a store was brought back from a backup: what it gives out from now on is another history."""
    from central_hub.app import moving
    from central_hub.settings import Settings

    name = _run(moving.rename(Settings(data=data), store))
    out = Output(output)
    if out.json:
        out.data({"history": name})
    else:
        out.fields({"history": name})
    out.talk("Next: central-hub serve   (clients with positions of before start over by themselves)")


def _bar(done: int, total: int) -> None:
    if not sys.stderr.isatty():
        return
    cells = BAR_CELLS * done // max(1, total)
    sys.stderr.write(f"\r{'█' * cells}{'░' * (BAR_CELLS - cells)} {done:,} of {total:,}")
    sys.stderr.flush()


def _run(work: Coroutine[Any, Any, T]) -> T:  # Any: a coroutine's own
    from central_hub.kernel.errors import HubError

    try:
        return asyncio.run(work)
    except HubError as refused:
        raise Failure(
            EXITS.get(refused.kind.value, ExitCode.ERROR),
            f"{refused.message} ({refused.internal})" if refused.internal else refused.message,
            next_command="central-hub store --help",
            code=refused.code,
            hint=refused.next_step,
        ) from None
