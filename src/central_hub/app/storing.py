"""Looking after stores from the command line: making a database ready, telling what a store holds."""

from __future__ import annotations

from pathlib import Path

from central_hub.adapters.sqlite.ground import SqliteGround
from central_hub.adapters.stores import DATABASE
from central_hub.app.moving import is_database, not_found
from central_hub.app.serving import check_driver


async def prepare(address: str, role: str) -> list[str]:
    """Make or move on the tables in a database.

    Args:
        address: the database, as the role that is to own the tables.
        role: the role that hubs use.

    Returns:
        The migrations that were applied.

    Raises:
        HubError: `invalid_store`, `store_unavailable`, `store_too_new`, `store_altered`, `unsafe_store_role`.
    """
    check_driver()
    from central_hub.adapters.postgres.inspecting import prepare_database

    return await prepare_database(address, role)


async def status(store: str) -> dict[str, object]:
    """Tell what a store holds.

    Raises:
        HubError: whatever keeps it from being used; `store_in_use` for a directory that a hub runs on.
    """
    if is_database(store):
        check_driver()
        from central_hub.adapters.postgres.inspecting import status_of

        return await status_of(store)
    path = Path(store) / DATABASE
    if not path.exists():
        raise not_found(f"There is no store in {store}.")
    ground = SqliteGround(path, "")
    try:
        extent = await ground.extent()
    finally:
        await ground.close()
    return {
        "store": str(path),
        "history": extent.incarnation,
        "position": extent.pos,
        "records": extent.records,
        "domains": extent.domains,
        "results": extent.results,
        "data_keys": extent.data_keys,
        "bytes": path.stat().st_size,
    }
