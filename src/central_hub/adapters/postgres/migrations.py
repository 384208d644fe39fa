"""Making and moving the tables on: numbered files, forward only, each applied once and remembered by its checksum.

The owner's role does it; the hub's role, which owns nothing, only looks whether it was done.
"""

from __future__ import annotations

import functools
import hashlib
import re
from importlib import resources
from typing import Any, Final

import msgspec

from central_hub.adapters.named_queries import named, text_of
from central_hub.adapters.postgres.connection import Connection, PrivilegeMissing
from central_hub.kernel.errors import HubError, Kind

PACKAGE: Final = "central_hub.adapters.postgres"
PREPARE: Final = "central-hub store prepare OWNERS_ADDRESS --role ROLE"

_NUMBERED: Final = re.compile(r"^(\d{4})_(\w+)\.sql$")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@functools.cache
def migrations() -> list[Migration]:
    """Return this version's migrations, in order: of the version that runs, whatever is installed over it meanwhile."""
    files = resources.files(PACKAGE).joinpath("sql").iterdir()
    found = [(match, file.name) for file in files if (match := _NUMBERED.match(file.name))]
    made = [Migration(version=int(match[1]), name=match[2], sql=text_of(PACKAGE, name)) for match, name in found]
    return sorted(made, key=lambda one: one.version)


async def prepare(connection: Connection, role: str, known: list[Migration] | None = None) -> list[str]:
    """Apply what was not applied yet and let a role use it.

    Args:
        connection: as the owner.
        role: the hub's role; it must exist and is given nothing but the use of rows.
        known: what there is to apply, by default this version's migrations.

    Returns:
        The names of what was applied, in order.

    Raises:
        HubError: `store_too_new`, `store_altered`, `unsafe_store_role` when the role does not exist.
    """
    sql = named(text_of(PACKAGE, "grants.sql"))
    steps = migrations() if known is None else known
    applied: list[str] = []
    async with connection.transaction():
        await connection.execute(sql["lock"])
        if not await connection.fetchval(sql["role_exists"], role):
            raise _role_missing(role)
        await connection.execute(sql["schema"])
        await connection.execute(sql["migrations"])
        done = check_applied(await connection.fetch(sql["applied"]), steps)
        for step in steps[done:]:
            await connection.execute(step.sql)
            await connection.execute(sql["note"], step.version, step.name, step.checksum)
            applied.append(f"{step.version:04d} {step.name}")
        await connection.execute(await connection.fetchval(sql["grants"], role))
    return applied


async def check_prepared(connection: Connection) -> None:
    """Hold the tables against what this version knows, as the hub's role.

    Raises:
        HubError: `store_not_prepared`, `store_too_new`, `store_altered`.
    """
    sql = named(text_of(PACKAGE, "grants.sql"))
    try:
        is_there = await connection.fetchval(sql["is_prepared"])
        rows = await connection.fetch(sql["applied"]) if is_there else []
    except PrivilegeMissing:
        rows = []
    known = migrations()
    if check_applied(rows, known) < len(known):
        raise HubError(
            "store_not_prepared",
            Kind.INVALID,
            "The database has not the tables that this hub needs, or its role may not use them.",
            next_step=f"As the role that is to own the tables: {PREPARE}",
        )


def check_applied(rows: list[Any], known: list[Migration]) -> int:  # Any: rows of the table of migrations
    """Return how many of the known migrations were applied.

    Raises:
        HubError: `store_too_new` or `store_altered`.
    """
    if len(rows) > len(known):
        raise HubError(
            "store_too_new",
            Kind.UNAVAILABLE,
            f"The store has schema {rows[-1]['version']}; this hub knows {known[-1].version}.",
            next_step="Start a hub at least as new as the one that wrote it.",
        )
    for row, step in zip(rows, known, strict=False):
        if (row["version"], row["checksum"]) != (step.version, step.checksum):
            raise HubError(
                "store_altered",
                Kind.INTERNAL,
                f"Migration {row['version']} ({row['name']}) is not the one that this hub knows under that number.",
                next_step="Use an unaltered build of the hub, or restore the database from a backup.",
            )
    return len(rows)


def _role_missing(role: str) -> HubError:
    return HubError(
        "unsafe_store_role",
        Kind.INVALID,
        f"There is no role '{role}' for the hub.",
        next_step=f"CREATE ROLE {role} LOGIN PASSWORD '…' NOSUPERUSER NOBYPASSRLS; then {PREPARE}",
    )
