"""What a hub keeps when it keeps it in PostgreSQL: all of it there, but for the key-encryption key.

With the store's address and that key a hub starts on any machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from central_hub.adapters.key_encryption import KEY_BYTES, KeyEncryption
from central_hub.adapters.keyring import KeyRing
from central_hub.adapters.named_queries import named, text_of
from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.cursors import PostgresCursors
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.members import Joining
from central_hub.adapters.postgres.migrations import PACKAGE
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.adapters.postgres.snapshots import PostgresSnapshots
from central_hub.adapters.stores import MASTER_KEY, Stores, key_providers, prepare_directory
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.ownership import Alone
from central_hub.kernel.signals import Silence

_log = structlog.get_logger("central_hub.store")


async def open_postgres(
    text: str,
    directory: Path,
    *,
    mint: Callable[[], str],
    keys: KeyEncryption | None = None,
    pepper: bytes = b"",
    decision_key: bytes = b"",
    joining: Joining | None = None,
) -> Stores:
    """Open a store in PostgreSQL.

    Args:
        text: its address.
        directory: where the key-encryption key is, unless `keys` says otherwise; nothing else is kept there.
        mint: makes the id of a new history.
        keys: what wraps the data keys; a key in the directory by default.
        pepper, decision_key: secrets to take over where the store has none yet; fresh ones by default.
        joining: share the store with other hubs, as this one.

    Raises:
        HubError: as `PostgresLog.open`; `invalid_store`, `master_key_missing`, `wrong_master_key`,
            `key_file_exposed`, `key_file_invalid`, `key_provider_unavailable`, `key_provider_refused`.
    """
    address = parse_address(text)
    if not address.is_local and not address.is_verified:
        _log.warning("store.unverified", sslmode=address.sslmode, advice="sslmode=verify-full&sslrootcert=FILE")
    log = await PostgresLog.open(address, mint=mint, joining=joining)
    try:
        sealer = await _keys(log, directory, keys)
        pepper = await _secret(log, sealer, "pepper", pepper or os.urandom(KEY_BYTES))
        decision_key = await _secret(log, sealer, "decisions", decision_key or os.urandom(KEY_BYTES))
        if log.signals is not None:
            log.signals.begin(await _secret(log, sealer, "cluster", os.urandom(KEY_BYTES)), log.incarnation)
    except BaseException:
        await log.close()
        raise
    sql = named(text_of(PACKAGE, "queries.sql"))
    roster = None if log.members is None else log.members.ownership
    return Stores(
        log=log,
        sealer=sealer,
        snapshots=PostgresSnapshots(log, sql, sealer),
        incarnation=log.incarnation,
        pepper=pepper,
        decision_key=decision_key,
        directory=directory,
        unwell=lambda: log.unwell,
        cursors=PostgresCursors(log, sql),
        stale_ms=lambda: log.stale_ms,
        losses=lambda: log.losses,
        follow=log.follow,
        ownership=roster or Alone(),
        signals=log.signals or Silence(),
        roster=roster,
        join=log.join,
        leave=log.leave,
    )


async def _keys(log: PostgresLog, directory: Path, keys: KeyEncryption | None) -> KeyRing:
    path = directory / MASTER_KEY
    is_new = keys is None and not path.exists()
    if is_new and await log.load_keys():
        # A fresh key would open nothing of what is there.
        raise HubError(
            "master_key_missing",
            Kind.INVALID,
            f"The store has data keys already, and {path} is not here to open them.",
            next_step=f"Copy keys/master.key from the machine that the hub ran on to {path} (mode 0600).",
        )
    if keys is None:
        prepare_directory(directory)
    encryption, others = key_providers(directory, keys)
    sealer = KeyRing(encryption, log, others=others)
    await sealer.load()
    await sealer.ensure(PLATFORM)
    return sealer


async def _secret(log: PostgresLog, sealer: KeyRing, name: str, given: bytes) -> bytes:
    """Return a secret of the hub's own, the given one where there is none yet; whoever is first gives it to all."""
    sql = named(text_of(PACKAGE, "queries.sql"))
    async with log.errand(EVERY_DOMAIN) as connection:
        row = await connection.fetchrow(sql["secret"], name)
        if row is not None:
            try:
                return sealer.open(PLATFORM, row["key_id"], row["sealed"], _associated(name))
            except HubError:
                await sealer.refresh()  # a hub that started at the same time made the key
                return sealer.open(PLATFORM, row["key_id"], row["sealed"], _associated(name))
        await connection.execute(sql["put_secret"], name, *sealer.seal(PLATFORM, given, _associated(name)))
    return given


def _associated(name: str) -> bytes:
    return f"secret\n{name}".encode()
