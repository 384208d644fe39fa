"""What else PostgreSQL keeps beside the log: keys, secrets, snapshots, cursors. Another machine starts from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from central_hub.adapters.keyring import SHREDDED
from central_hub.adapters.postgres.snapshots import KEPT
from central_hub.adapters.postgres.stores import open_postgres
from central_hub.adapters.stores import Stores
from central_hub.kernel.cursors import Cursor
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Section
from tests.adapters.logs import ACME, command, record
from tests.adapters.test_postgres_store import mint, opened, refusal
from tests.postgres import Database


async def stores_in(database: Database, directory: Path) -> Stores:
    return await open_postgres(database.text, directory, mint=mint)


async def test_another_machine_starts_with_the_address_and_the_key(database: Database, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    first = await stores_in(database, here)
    await first.sealer.ensure(ACME)
    key_id, sealed = first.sealer.seal(ACME, b"plain", b"bound")
    await first.snapshots.save(3, first.incarnation, [section(b"state")])
    await first.cursors.save([Cursor(consumer="c", domain=ACME, seq=7, state=b"s")])
    await first.log.close()
    assert sorted(path.name for path in here.rglob("*") if path.is_file()) == ["master.key"]
    (there / "keys").mkdir(parents=True)
    (there / "keys/master.key").write_bytes((here / "keys/master.key").read_bytes())
    (there / "keys/master.key").chmod(0o600)
    second = await stores_in(database, there)
    assert second.sealer.open(ACME, key_id, sealed, b"bound") == b"plain"
    assert (second.pepper, second.decision_key) == (first.pepper, first.decision_key)
    assert await second.snapshots.load() == (3, first.incarnation, [section(b"state")])
    assert await second.cursors.load() == [Cursor(consumer="c", domain=ACME, seq=7, state=b"s")]
    await second.log.close()


async def test_without_the_key_a_store_is_not_opened_and_none_is_made(database: Database, tmp_path: Path) -> None:
    first = await stores_in(database, tmp_path / "here")
    await first.log.close()
    error = await refusal(stores_in(database, tmp_path / "there"))
    assert error.code == "master_key_missing"
    assert not (tmp_path / "there").exists()
    (tmp_path / "there/keys").mkdir(parents=True)
    (tmp_path / "there/keys/master.key").write_text(os.urandom(32).hex())
    (tmp_path / "there/keys/master.key").chmod(0o600)
    assert (await refusal(stores_in(database, tmp_path / "there"))).code == "wrong_master_key"


async def test_nothing_in_the_database_says_what_was_sealed(database: Database, tmp_path: Path) -> None:
    stores = await stores_in(database, tmp_path)
    await stores.sealer.ensure(ACME)
    _, sealed = stores.sealer.seal(ACME, b"canary-7", b"bound")
    await stores.log.append([command(record(ACME, data=sealed))])
    await stores.snapshots.save(1, stores.incarnation, [section(b"canary-7")])
    dumped = database.sql("SELECT string_agg(encode(data, 'escape'), '') FROM central_hub.snapshot_parts")
    dumped += database.sql("SELECT string_agg(encode(data, 'escape'), '') FROM central_hub.log")
    assert dumped
    assert "canary-7" not in dumped
    assert stores.pepper.hex() not in database.sql("SELECT encode(sealed, 'hex') FROM central_hub.secrets")
    await stores.log.close()


async def test_a_shredded_domain_stays_so(database: Database, tmp_path: Path) -> None:
    stores = await stores_in(database, tmp_path)
    await stores.sealer.ensure(ACME)
    key_id, sealed = stores.sealer.seal(ACME, b"plain", b"")
    await stores.sealer.shred(ACME)
    await stores.log.close()
    assert (
        database.sql("SELECT key_id, length(wrapped) FROM central_hub.data_keys WHERE domain = 'acme'")
        == f"{SHREDDED}|0"
    )
    again = await stores_in(database, tmp_path)
    assert again.sealer.is_shredded(ACME)
    with pytest.raises(HubError):
        again.sealer.open(ACME, key_id, sealed, b"")
    await again.log.close()


async def test_keys_wrapped_otherwise_replace_those_that_are_there_and_no_others(database: Database) -> None:
    log = await opened(database)
    await log.put_key(ACME, "k1", b"old")
    await log.replace_keys([(ACME, "k1", b"new"), (ACME, "gone", b"new")])
    await log.forget_replaced()
    assert await log.load_keys() == [(ACME, "k1", b"new")]
    await log.close()


def section(state: bytes, domain: DomainId = ACME) -> Section:
    return Section(view="things", domain=domain, domain_seq=3, chunks=(state,))


async def test_two_snapshots_are_kept_and_a_broken_one_is_passed_over(database: Database, tmp_path: Path) -> None:
    stores = await stores_in(database, tmp_path)
    await stores.sealer.ensure(ACME)
    large = os.urandom(3 * 1024 * 1024)
    assert await stores.snapshots.save(1, stores.incarnation, [section(b"1")]) == 0
    assert await stores.snapshots.save(2, stores.incarnation, [section(large)]) == 1
    assert await stores.snapshots.save(3, stores.incarnation, [section(b"3")]) == 2
    assert database.sql("SELECT count(*) FROM central_hub.snapshots") == str(KEPT)
    assert int(database.sql("SELECT count(*) FROM central_hub.snapshot_parts WHERE pos = 2")) > 3
    database.sql("UPDATE central_hub.snapshot_parts SET data = '\\x00' WHERE pos = 3")
    assert await stores.snapshots.load() == (2, stores.incarnation, [section(large)])
    database.sql("DELETE FROM central_hub.snapshot_parts WHERE pos = 2 AND part = 1")
    assert await stores.snapshots.load() is None
    await stores.log.close()


async def test_cursors_move_and_go(database: Database, tmp_path: Path) -> None:
    stores = await stores_in(database, tmp_path)
    await stores.cursors.save([Cursor(consumer=name, domain=ACME, seq=1) for name in ("a", "b")])
    await stores.cursors.save([Cursor(consumer="a", domain=ACME, seq=2)], dropped=["b"])
    assert await stores.cursors.load() == [Cursor(consumer="a", domain=ACME, seq=2)]
    await stores.log.close()
