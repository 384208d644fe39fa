"""The key ring: who may read the master key, what a wrong one does, and what a moved or destroyed thing is worth."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from central_hub.adapters.keyring import KEY_BYTES, NONCE_BYTES, KeyRing, MemoryKeys
from central_hub.adapters.secret_files import secret_file
from central_hub.adapters.sqlite.log import SqliteLog
from central_hub.adapters.stores import MASTER_KEY, open_directory
from central_hub.kernel.errors import HubError
from central_hub.kernel.records import associated_data
from tests.adapters.logs import ACME, OTHER

BOUND = associated_data(ACME, "id-1", "Noted")


async def ring_of(kept: MemoryKeys, master: bytes = bytes(KEY_BYTES)) -> KeyRing:
    ring = KeyRing(master, kept)
    await ring.load()
    return ring


def code_of(refused: pytest.ExceptionInfo[HubError]) -> str:
    return refused.value.code


def test_a_secret_file_is_made_for_its_owner_only_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    secret = secret_file(path)
    assert len(secret) == KEY_BYTES
    assert secret_file(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys" / "master.key"
    secret_file(path)
    path.chmod(mode)
    with pytest.raises(HubError) as refused:
        secret_file(path)
    assert code_of(refused) == "key_file_exposed"


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "ab" * 33])
def test_a_file_that_is_no_secret_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(HubError) as refused:
        secret_file(path)
    assert code_of(refused) == "key_file_invalid"


def test_those_who_make_a_secret_at_once_get_the_same_one(tmp_path: Path) -> None:
    # As processes would: each by its own file, and the first name to be there stands.
    for attempt in range(20):
        path = tmp_path / str(attempt) / "master.key"
        path.parent.mkdir()
        children = [os.fork() for _ in range(1)]
        if children == [0]:
            secret_file(path)
            os._exit(0)
        mine = secret_file(path)
        os.waitpid(children[0], 0)
        assert secret_file(path) == mine


async def test_what_was_sealed_opens_after_loading_again() -> None:
    kept = MemoryKeys()
    ring = await ring_of(kept)
    await ring.ensure(ACME)
    key_id, sealed = ring.seal(ACME, b"secret", BOUND)
    assert b"secret" not in sealed
    assert (await ring_of(kept)).open(ACME, key_id, sealed, BOUND) == b"secret"


async def test_a_domain_that_has_a_key_is_given_no_other() -> None:
    ring = await ring_of(MemoryKeys())
    used: set[str] = set()
    for _ in range(3):
        for domain in (ACME, OTHER):
            await ring.ensure(domain)
            used.add(ring.seal(domain, b"x", BOUND)[0])
    assert len(used) == 2


async def test_a_wrong_master_key_is_noticed_before_anything_is_read() -> None:
    kept = MemoryKeys()
    await (await ring_of(kept)).ensure(ACME)
    with pytest.raises(HubError) as refused:
        await ring_of(kept, os.urandom(KEY_BYTES))
    assert code_of(refused) == "wrong_master_key"


async def test_a_directory_with_another_master_key_does_not_open(tmp_path: Path) -> None:
    stores = await open_directory(tmp_path, incarnation="i")
    await stores.sealer.ensure(ACME)
    await stores.log.close()
    (tmp_path / MASTER_KEY).write_text(os.urandom(KEY_BYTES).hex())
    with pytest.raises(HubError) as refused:
        await open_directory(tmp_path, incarnation="i")
    assert code_of(refused) == "wrong_master_key"
    with pytest.raises(HubError) as refused:  # and the failed opening let go of the lock
        await open_directory(tmp_path, incarnation="i")
    assert code_of(refused) == "wrong_master_key"


async def test_sealed_bytes_moved_elsewhere_do_not_open() -> None:
    ring = await ring_of(MemoryKeys())
    await ring.ensure(ACME)
    await ring.ensure(OTHER)
    key_id, sealed = ring.seal(ACME, b"secret", BOUND)
    for domain, bound in (
        (OTHER, BOUND),
        (ACME, associated_data(OTHER, "id-1", "Noted")),
        (ACME, associated_data(ACME, "id-2", "Noted")),
        (ACME, associated_data(ACME, "id-1", "Denied")),
    ):
        with pytest.raises(HubError) as refused:
            ring.open(domain, key_id, sealed, bound)
        assert code_of(refused) == "unreadable_record"


async def test_a_single_altered_bit_does_not_open() -> None:
    ring = await ring_of(MemoryKeys())
    await ring.ensure(ACME)
    key_id, sealed = ring.seal(ACME, b"secret", BOUND)
    for index in range(len(sealed)):
        altered = bytearray(sealed)
        altered[index] ^= 1
        with pytest.raises(HubError):
            ring.open(ACME, key_id, bytes(altered), BOUND)
    for cut in (0, 5, NONCE_BYTES, len(sealed) - 1):
        with pytest.raises(HubError):
            ring.open(ACME, key_id, sealed[:cut], BOUND)


async def test_a_wrapped_key_moved_to_another_domain_does_not_unwrap() -> None:
    kept = MemoryKeys()
    await (await ring_of(kept)).ensure(ACME)
    [(_, key_id, wrapped)] = await kept.load_keys()
    moved = MemoryKeys()
    await moved.put_key(OTHER, key_id, wrapped)
    with pytest.raises(HubError) as refused:
        await ring_of(moved)
    assert code_of(refused) == "wrong_master_key"


async def test_a_shredded_domain_opens_nowhere_and_leaves_the_others() -> None:
    kept = MemoryKeys()
    ring = await ring_of(kept)
    await ring.ensure(ACME)
    await ring.ensure(OTHER)
    key_id, sealed = ring.seal(ACME, b"secret", BOUND)
    other_id, other = ring.seal(OTHER, b"theirs", BOUND)
    await ring.shred(ACME)
    for one in (ring, await ring_of(kept)):
        with pytest.raises(HubError):
            one.open(ACME, key_id, sealed, BOUND)
        assert one.open(OTHER, other_id, other, BOUND) == b"theirs"
    with pytest.raises(HubError):
        ring.seal(ACME, b"more", BOUND)


async def test_a_destroyed_key_is_in_no_file_any_more(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path / "hub.db", incarnation="i")
    try:
        ring = KeyRing(bytes(KEY_BYTES), log)
        await ring.ensure(ACME)
        await ring.ensure(OTHER)
        wrapped = {domain: one for domain, _, one in await log.load_keys()}
        assert _on_disk(tmp_path, wrapped[ACME])
        await ring.shred(ACME)
        assert not _on_disk(tmp_path, wrapped[ACME])
        assert _on_disk(tmp_path, wrapped[OTHER])
    finally:
        await log.close()


def test_the_same_nonce_is_never_used_twice_whichever_thread_asks() -> None:
    ring = KeyRing(bytes(KEY_BYTES), MemoryKeys())
    with ThreadPoolExecutor(8) as threads:
        drawn = [one for part in threads.map(lambda _: [ring._nonce() for _ in range(2_000)], range(8)) for one in part]
    assert len(set(drawn)) == len(drawn)
    assert {len(one) for one in drawn} == {NONCE_BYTES}


def _on_disk(directory: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in directory.iterdir() if path.is_file())


def test_sqlite_is_new_enough_not_to_lose_the_write_ahead_log() -> None:
    # The reset of the write-ahead log had a defect before 3.51.3.
    assert tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) >= (3, 51, 3)


async def test_first_writes_that_come_together_make_one_key() -> None:
    kept = MemoryKeys()
    ring = KeyRing(os.urandom(KEY_BYTES), kept)
    await asyncio.gather(*(ring.ensure(ACME) for _ in range(64)))
    assert len(await kept.load_keys()) == 1
