"""A database looked at from outside a hub: made ready, judged, measured."""

from __future__ import annotations

from central_hub.adapters.named_queries import named, text_of
from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.connection import LOST, Refused, connect_any, reason_of
from central_hub.adapters.postgres.judging import judge_role, judge_server
from central_hub.adapters.postgres.migrations import PACKAGE, migrations, prepare
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.kernel.placing import store_unavailable


async def prepare_database(text: str, role: str) -> list[str]:
    """Make or move on the tables, as the role of the address; returns what was applied.

    Raises:
        HubError: as `prepare`, `invalid_store`, `store_unavailable`.
    """
    connection = await connect_any(parse_address(text))
    try:
        return await prepare(connection, role)
    except (*LOST, Refused) as error:
        raise store_unavailable(reason_of(error)) from error
    finally:
        connection.terminate()


async def status_of(text: str) -> dict[str, object]:
    """Judge a database as a hub would, and measure it; a hub may run on it meanwhile.

    Raises:
        HubError: what a hub would refuse it for.
    """
    address = parse_address(text)
    sql = named(text_of(PACKAGE, "queries.sql")) | named(text_of(PACKAGE, "ground.sql"))
    connection = await connect_any(address)
    try:
        await judge_server(connection, sql)
        await judge_role(connection, sql)
        server = await connection.fetchrow(sql["server"])
        async with connection.transaction(readonly=True):
            await connection.execute(sql["scope"], EVERY_DOMAIN)
            extent = await connection.fetchrow(sql["extent"])
            size = await connection.fetchval(sql["size"])
            snapshots = await connection.fetch(sql["snapshots"])
        holder = await connection.fetchval(sql["who_holds"])
    except (*LOST, Refused) as error:
        raise store_unavailable(reason_of(error)) from error
    finally:
        connection.terminate()
    assert server is not None
    found: dict[str, object] = {
        "store": address.shown,
        "server": f"PostgreSQL {server['version'] // 10_000}.{server['version'] % 10_000}",
        "tls": server["tls"],
        "server_proven": address.is_local or address.is_verified,
        "synchronous_commit": server["synchronous_commit"],
        "standbys": server["standbys"] or "none: a lost primary loses what its replicas had not yet received",
        "schema": migrations()[-1].version,
        "held_by_a_hub": holder is not None,
        "bytes": size,
        "snapshots": [row["pos"] for row in snapshots],
    }
    if extent is not None:
        found |= {
            "history": extent["incarnation"],
            "position": extent["pos"],
            "records": extent["records"],
            "domains": extent["domains"],
            "results": extent["results"],
            "data_keys": extent["data_keys"],
        }
    return found
