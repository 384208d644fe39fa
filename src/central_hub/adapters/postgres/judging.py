"""Whether a server and a role are fit to be a hub's store: the refusals, each with what mends it."""

from __future__ import annotations

from typing import Final

from central_hub.adapters.postgres.connection import Connection
from central_hub.adapters.postgres.migrations import PREPARE, check_prepared
from central_hub.kernel.errors import HubError, Kind

VERSION_MIN: Final = 140_000
COMMITS: Final = ("on", "remote_apply")
"""Values of `synchronous_commit` under which an answer means durable, on the standbys that are named too."""

NEW_ROLE: Final = "CREATE ROLE central_hub LOGIN PASSWORD '…' NOSUPERUSER NOBYPASSRLS; then"

Sql = dict[str, str]


async def judge_server(connection: Connection, sql: Sql) -> None:
    """Refuse a server that may lose what it confirmed, and demand synchronous commits of it.

    Raises:
        HubError: `unsafe_store`.
    """
    found = await connection.fetchrow(sql["server"])
    assert found is not None
    if found["version"] < VERSION_MIN:
        raise _unsafe(f"it is PostgreSQL {found['version'] // 10_000}", "Use PostgreSQL 14 or newer.")
    for setting in ("fsync", "full_page_writes"):
        if found[setting] != "on":
            raise _unsafe(
                f"{setting} is {found[setting]}, so a power cut loses what was confirmed",
                f"ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf();",
            )
    if found["synchronous_commit"] not in COMMITS:
        await connection.execute("SET synchronous_commit = on")


async def judge_role(connection: Connection, sql: Sql) -> None:
    """Refuse a role that row-level security does not hold.

    Raises:
        HubError: `unsafe_store_role`, `store_not_prepared`, `store_too_new`, `store_altered`.
    """
    powers = await connection.fetchrow(sql["powers"])
    assert powers is not None
    role, by_way_of = powers["role"], powers["by_way_of"]
    another = f"{NEW_ROLE} {PREPARE.replace('ROLE', 'central_hub')}"
    for power, word, mend in (
        ("superuser", "is a superuser", f"ALTER ROLE {role} NOSUPERUSER; or better: {another}"),
        ("bypass", "has BYPASSRLS", f"ALTER ROLE {role} NOBYPASSRLS;"),
    ):
        if powers[power]:
            reached = f" by way of {by_way_of}" if by_way_of and power != "superuser" else ""
            raise _unsafe_role(f"'{role}' {word}{reached}, so no wall between tenants holds it", mend)
    await check_prepared(connection)
    for table in await connection.fetch(sql["walls"]):
        name = f"central_hub.{table['name']}"
        if table["owned"]:
            raise _unsafe_role(
                f"'{role}' owns {name} and could take its walls down", f"Use a role that owns nothing: {another}"
            )
        if table["truncatable"]:
            raise _unsafe_role(
                f"'{role}' may TRUNCATE {name}, which no wall holds back", f"REVOKE TRUNCATE ON {name} FROM {role};"
            )
        if table["name"] not in ("head", "migrations") and not table["walled"]:
            raise _unsafe_role(
                f"{name} has no forced row-level security",
                f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; ALTER TABLE {name} FORCE ROW LEVEL SECURITY;",
            )


def _unsafe(reason: str, mend: str) -> HubError:
    return HubError("unsafe_store", Kind.INVALID, f"That server cannot be the store: {reason}.", next_step=mend)


def _unsafe_role(reason: str, mend: str) -> HubError:
    return HubError("unsafe_store_role", Kind.INVALID, f"That role cannot be the hub's: {reason}.", next_step=mend)
