"""Moving a hub from one store to another: rows as they are, then a proof that both fold to the same.

Either side is a data directory or a PostgreSQL address. No hub may run on either meanwhile; the
locks that hubs hold are held here. What was moved from gets another name at the end, so that a
hub that is started on it after all cannot be taken for the one that moved.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from central_hub.adapters.ground import Extent, Ground
from central_hub.adapters.memory import MemorySnapshots
from central_hub.adapters.secret_files import write_secrets
from central_hub.adapters.sqlite.ground import SqliteGround
from central_hub.adapters.stores import (
    DATABASE,
    DECISION_KEY,
    MASTER_KEY,
    PEPPER,
    Stores,
    open_directory,
    prepare_directory,
)
from central_hub.app.providing import key_provider
from central_hub.app.serving import new_incarnation
from central_hub.app.wiring import build
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Section
from central_hub.settings import KeyProvider, Settings

PAGE: Final = 1_000
SMALL: Final = ("heads", "anchors", "gaps", "data_keys")

Progress = Callable[[int, int], None]
"""Told how many rows were moved, of how many."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved and proven equal."""

    records: int
    domains: int
    results: int
    data_keys: int
    incarnation: str
    chains_verified: int
    sections_compared: int


async def move(settings: Settings, source: str, target: str, *, progress: Progress) -> Moved:
    """Move a hub.

    Args:
        settings: name the provider of key-encryption keys; `data` is where their file is between two databases, and
            when a hub moves from a database into a directory.
        source, target: data directories or `postgresql://` addresses.
        progress: told how far it has come.

    Raises:
        HubError: `store_in_use` when a hub runs on either; `store_not_found`, `store_not_empty`, `move_failed` when
            what was moved does not fold to the same; whatever keeps either store from being opened.
    """
    if source == target:
        raise _not_empty("A store cannot be moved onto itself.")
    origin = await _ground(source, must_exist=True)
    try:
        extent = await origin.extent()
        if extent.is_empty:
            raise not_found("There is nothing in the store to move.")
        ground = await _ground(target)
        try:
            await _copy(origin, ground, extent, progress)
        finally:
            await ground.close()
    finally:
        await origin.close()
    chains, sections = await _carry(settings, source, target)
    await rename(settings, source)
    return Moved(
        records=extent.records, domains=extent.domains, results=extent.results, data_keys=extent.data_keys,
        incarnation=extent.incarnation, chains_verified=chains, sections_compared=sections,
    )  # fmt: skip


async def rename(settings: Settings, place: str) -> str:
    """Give a store's history another name, its snapshots with it: whoever holds positions of before starts over.

    Args:
        settings: as those of `move`.
        place: data directory or `postgresql://` address; no hub may run on it.

    Returns:
        The name.

    Raises:
        HubError: `store_in_use`, `store_not_found`; whatever keeps the store from being opened.
    """
    name = new_incarnation()
    ground = await _ground(place, must_exist=True)
    try:
        await ground.rename(name)
    finally:
        await ground.close()
    if not is_database(place):  # where snapshots are files that say which history they are of
        stores = await _stores(settings, place, other=place)
        try:
            snapshot = await stores.snapshots.load()
            if snapshot is not None:
                await stores.snapshots.save(snapshot[0], name, snapshot[2])
        finally:
            await _close(stores)
    return name


async def _copy(origin: Ground, ground: Ground, extent: Extent, progress: Progress) -> None:
    found = await ground.extent()
    if not found.is_empty:
        raise _not_empty(f"The target is not empty: {found.records} records of history {found.incarnation} are in it.")
    total, done, pos = extent.records + extent.results + extent.told, 0, 0
    await ground.begin()
    while rows := await origin.records(pos, PAGE):
        await ground.put("log", rows)
        pos, done = rows[-1][0], done + len(rows)
        progress(done, total)
    key = ("", "", "")
    while rows := await origin.results(key, PAGE):
        await ground.put("results", rows)
        key, done = (rows[-1][0], rows[-1][1], rows[-1][2]), done + len(rows)
        progress(done, total)
    name = ("", "")
    while rows := await origin.told(name, PAGE):
        await ground.put("told", rows)
        name, done = (rows[-1][0], rows[-1][1]), done + len(rows)
        progress(done, total)
    for table in SMALL:
        await ground.put(table, await origin.small(table))
    await ground.finish(extent.pos, extent.incarnation)


async def _carry(settings: Settings, source: str, target: str) -> tuple[int, int]:
    """Take over what is not rows, and prove that both stores fold to the same; returns what was compared."""
    old = await _stores(settings, source, other=target)
    try:
        if not is_database(target):
            _carry_keys(settings, source, Path(target), old)
        new = await _stores(settings, target, other=source, secrets=old)
        try:
            snapshot = await old.snapshots.load()
            if snapshot is not None:
                await new.snapshots.save(*snapshot)
            await new.cursors.save(await old.cursors.load())
            return await _prove(settings, old, new)
        finally:
            await _close(new)
    finally:
        await _close(old)


async def _prove(settings: Settings, old: Stores, new: Stores) -> tuple[int, int]:
    before, after = await _folded(settings, old), await _folded(settings, new)
    if before != after:
        raise _failed("its views differ from those of the source")
    domains = sorted({section.domain for section in after})
    for domain in domains:
        check = await new.log.verify(DomainId(domain))
        if check.broken_at is not None:
            raise _failed(f"the chain of '{domain}' breaks at {check.broken_at}")
    return len(domains), len(after)


async def _folded(settings: Settings, stores: Stores) -> list[Section]:
    """Return every view's state of every domain, as a start makes it."""
    runner = build(settings, stores).core.runner
    await runner.start(stores.snapshots)
    kept = MemorySnapshots()
    await runner.snapshot(kept)
    loaded = await kept.load()
    assert loaded is not None
    return loaded[2]


def _carry_keys(settings: Settings, source: str, directory: Path, old: Stores) -> None:
    """Put the hub's secrets, and the file of key-encryption keys where that is what is used, into a directory."""
    write_secrets(_made(directory / PEPPER), [old.pepper])
    write_secrets(_made(directory / DECISION_KEY), [old.decision_key])
    origin = (settings.data if is_database(source) else Path(source)) / MASTER_KEY
    if settings.key_provider is KeyProvider.FILE and origin != directory / MASTER_KEY:
        shutil.copy2(origin, directory / MASTER_KEY)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


async def _ground(place: str, *, must_exist: bool = False) -> Ground:
    if is_database(place):
        from central_hub.adapters.postgres.address import parse_address  # the driver is an extra of its own
        from central_hub.adapters.postgres.ground import PostgresGround

        return await PostgresGround.open(parse_address(place), mint=new_incarnation)
    path = Path(place) / DATABASE
    if must_exist and not path.exists():
        raise not_found(f"There is no store in {place}.")
    prepare_directory(Path(place))
    return SqliteGround(path, new_incarnation())


async def _stores(settings: Settings, place: str, *, other: str, secrets: Stores | None = None) -> Stores:
    keys = key_provider(settings)
    if not is_database(place):
        return await open_directory(Path(place), incarnation=new_incarnation(), keys=keys)
    from central_hub.adapters.postgres.stores import open_postgres  # as above

    directory = settings.data if is_database(other) or secrets is None else Path(other)
    return await open_postgres(
        place,
        directory,
        mint=new_incarnation,
        keys=keys,
        pepper=b"" if secrets is None else secrets.pepper,
        decision_key=b"" if secrets is None else secrets.decision_key,
    )


async def _close(stores: Stores) -> None:
    await stores.cursors.close()
    await stores.log.close()


def is_database(place: str) -> bool:
    """Say whether a text names a database rather than a directory."""
    return place.startswith(("postgresql://", "postgres://"))


def not_found(message: str) -> HubError:
    """Return the refusal of a store that is not there."""
    return HubError("store_not_found", Kind.INVALID, message, next_step="Name a hub's data directory or database.")


def _not_empty(message: str) -> HubError:
    return HubError(
        "store_not_empty", Kind.CONFLICT, message, next_step="Name an empty database, or a directory that is not there."
    )


def _failed(reason: str) -> HubError:
    return HubError(
        "move_failed",
        Kind.INTERNAL,
        f"What was moved is not what was there: {reason}.",
        next_step="Go on with the source, which was not changed; empty the target before trying again.",
    )
