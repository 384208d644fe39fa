"""Providers of key-encryption keys that are held here: files, the environment, and going from one to another."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.adapters.key_encryption import (
    KEYS_HELD_MAX,
    DataKey,
    LocalKeys,
    fingerprint,
    keys_in_file,
    keys_in_text,
    named,
    parted,
)
from central_hub.adapters.keyring import DATA_KEYS_PER_DOMAIN_MAX, KeyRing, MemoryKeys, made_ms
from central_hub.adapters.secret_files import LINES_MAX, secret_bytes
from central_hub.adapters.stores import DATABASE, MASTER_KEY, open_directory
from central_hub.kernel.errors import HubError
from tests.adapters.logs import ACME, OTHER

PLAIN = DataKey(b"k" * 32, b"bound to this")


async def test_a_wrapped_key_says_what_it_is_under_and_is_bound() -> None:
    keys = LocalKeys([os.urandom(32)])
    (wrapped,) = await keys.wrap([PLAIN])
    assert parted(wrapped)[0] == keys.current
    assert PLAIN.data not in wrapped
    assert await keys.unwrap([DataKey(wrapped, PLAIN.associated)]) == [PLAIN.data]
    for bad in (DataKey(wrapped, b"bound elsewhere"), DataKey(wrapped[:-1] + b"\0", PLAIN.associated)):
        with pytest.raises(HubError) as refused:
            await keys.unwrap([bad])
        assert refused.value.code == "wrong_master_key"


async def test_keys_of_the_first_version_name_nothing_and_open() -> None:
    key, nonce = os.urandom(32), os.urandom(12)
    old = nonce + AESGCM(key).encrypt(nonce, PLAIN.data, PLAIN.associated)
    assert parted(old) == ("", old)
    assert await LocalKeys([os.urandom(32), key]).unwrap([DataKey(old, PLAIN.associated)]) == [PLAIN.data]


def test_a_name_and_what_it_stands_before_come_apart_again() -> None:
    assert parted(named("transit:transit/hub:v3", b"vault:v3:abc")) == ("transit:transit/hub:v3", b"vault:v3:abc")


def test_a_fingerprint_tells_keys_apart_and_nothing_of_them() -> None:
    one, other = os.urandom(32), os.urandom(32)
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)
    assert one.hex()[:8] not in fingerprint(one)


async def test_a_file_is_rotated_and_lets_go_of_the_keys_of_before(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    keys = keys_in_file(path)
    first = keys.current
    (wrapped,) = await keys.wrap([PLAIN])
    await keys.rotate()
    assert keys.current != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = keys_in_file(path)  # as a start after a crash would
    assert again.current == keys.current
    assert await again.unwrap([DataKey(wrapped, PLAIN.associated)]) == [PLAIN.data]
    await keys.retire()
    last = keys_in_file(path)
    assert last.current == keys.current
    assert not last.knows(first)
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


async def test_a_file_holds_no_more_keys_than_it_may(tmp_path: Path) -> None:
    keys = keys_in_file(tmp_path / "keys" / "master.key")
    for _ in range(KEYS_HELD_MAX):
        await keys.rotate()
    with pytest.raises(HubError) as refused:
        await keys.rotate()
    assert refused.value.code == "limit_reached"
    path = tmp_path / "many.key"
    path.touch(mode=0o600)
    path.write_text("\n".join(os.urandom(32).hex() for _ in range(LINES_MAX + 1)))
    with pytest.raises(HubError) as refused:
        secret_bytes(path)
    assert refused.value.code == "key_file_invalid"


async def test_keys_of_the_environment_are_not_changed_here() -> None:
    keys = keys_in_text("ab" * 32, " " + "cd" * 32 + ",")
    assert (keys.provider, keys.current) == ("env", fingerprint(b"\xab" * 32))
    assert keys.knows(fingerprint(b"\xcd" * 32))
    with pytest.raises(HubError) as refused:
        await keys.rotate()
    assert refused.value.code == "key_provider_external"
    await keys.retire()
    assert keys.knows(fingerprint(b"\xcd" * 32))


@pytest.mark.parametrize("text", ["", "ab" * 31, "zz" * 32, "secret"])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(HubError) as refused:
        keys_in_text(text)
    assert refused.value.code == "key_invalid"
    assert not text or text not in str(refused.value)


async def test_a_directory_goes_from_its_own_file_to_the_environment(tmp_path: Path) -> None:
    stores = await open_directory(tmp_path, incarnation="i")
    await stores.sealer.ensure(ACME)
    key_id, sealed = stores.sealer.seal(ACME, b"kept", b"")
    await stores.log.close()

    stores = await open_directory(tmp_path, incarnation="i", keys=keys_in_text("ab" * 32))
    assert stores.sealer.open(ACME, key_id, sealed, b"") == b"kept"
    assert len(stores.sealer.behind()) == 1
    await stores.sealer.rewrap(stores.sealer.behind())
    await stores.sealer.forget_replaced()
    await stores.log.close()

    (tmp_path / MASTER_KEY).unlink()
    stores = await open_directory(tmp_path, incarnation="i", keys=keys_in_text("ab" * 32))
    assert stores.sealer.open(ACME, key_id, sealed, b"") == b"kept"
    await stores.log.close()
    with pytest.raises(HubError) as refused:
        await open_directory(tmp_path, incarnation="i", keys=keys_in_text("ef" * 32))
    assert refused.value.code == "wrong_master_key"
    assert not (tmp_path / MASTER_KEY).exists()


async def test_what_was_wrapped_before_is_in_no_file_after_a_rotation(tmp_path: Path) -> None:
    stores = await open_directory(tmp_path, incarnation="i")
    for at in range(40):
        await stores.sealer.ensure(type(ACME)(f"t{at}"))
    before = [wrapped[-32:] for _, _, wrapped in await stores.log.load_keys()]
    await stores.sealer.encryption.rotate()
    await stores.sealer.rewrap(stores.sealer.behind())
    await stores.sealer.forget_replaced()
    files = b"".join(path.read_bytes() for path in tmp_path.glob(f"{DATABASE}*"))
    assert sum(old in files for old in before) == 0
    await stores.log.close()


async def test_a_key_of_another_hub_is_not_abandoned(tmp_path: Path) -> None:
    stores = await open_directory(tmp_path, incarnation="i")
    await stores.sealer.ensure(ACME)
    late = (await keys_in_file(tmp_path / MASTER_KEY).wrap([PLAIN]))[0]
    await stores.sealer.encryption.rotate()
    await stores.log.put_key(OTHER, "late", late)
    await stores.sealer.rewrap(stores.sealer.behind())
    await stores.sealer.forget_replaced()
    assert len(secret_bytes(tmp_path / MASTER_KEY)) == 2
    await stores.log.close()


async def test_a_domain_has_no_more_data_keys_than_it_may() -> None:
    ring = KeyRing(bytes(32), MemoryKeys())
    await ring.load()
    for _ in range(DATA_KEYS_PER_DOMAIN_MAX):
        await ring.renew(ACME)
    with pytest.raises(HubError) as refused:
        await ring.renew(ACME)
    assert refused.value.code == "limit_reached"


async def test_the_newest_data_key_seals_whatever_the_clock_says() -> None:
    kept = MemoryKeys()
    ring = KeyRing(bytes(32), kept)
    await ring.load()
    far = await ring.renew(ACME, not_before_ms=2**42)
    after = await ring.renew(ACME)
    assert made_ms(after) > made_ms(far) == 2**42
    again = KeyRing(bytes(32), kept)
    await again.load()
    assert again.seal(ACME, b"", b"")[0] == after
    assert made_ms("0123456789abcdef") == 0, "keys of the first version come before all others"


async def test_a_provider_that_does_not_open_what_it_wrapped_replaces_nothing() -> None:
    class Liar(LocalKeys):
        async def wrap(self, plain: object) -> list[bytes]:
            return await super().wrap([DataKey(b"?" * 32, PLAIN.associated)])

        async def unwrap(self, wrapped: object) -> list[bytes]:
            return [b"?" * 32]

    kept = MemoryKeys()
    ring = KeyRing(bytes(32), kept)
    await ring.load()
    await ring.ensure(ACME)
    before = await kept.load_keys()
    ring.encryption = Liar([os.urandom(32)])
    with pytest.raises(HubError) as refused:
        await ring.rewrap(ring.behind())
    assert refused.value.code == "key_provider_refused"
    assert await kept.load_keys() == before


class Slow(LocalKeys):
    """A provider that takes its time, as one over a network does."""

    def __init__(self) -> None:
        super().__init__([os.urandom(32)])
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def wrap(self, plain: Sequence[DataKey]) -> list[bytes]:
        self.asked.set()
        await self.go_on.wait()
        return await super().wrap(plain)


async def test_those_who_come_while_a_key_is_made_wait_for_it() -> None:
    kept, slow = MemoryKeys(), Slow()
    ring = KeyRing(slow, kept)
    await ring.load()
    making = [asyncio.create_task(ring.ensure(ACME)) for _ in range(3)]
    await slow.asked.wait()
    slow.go_on.set()
    await asyncio.gather(*making)
    assert len(await kept.load_keys()) == 1


async def test_of_a_shredded_domain_only_the_mark_is_left() -> None:
    kept = MemoryKeys()
    ring = KeyRing(bytes(32), kept)
    await ring.load()
    await ring.ensure(ACME)
    await ring.ensure(OTHER)
    await ring.shred(ACME)
    assert sorted((domain, wrapped == b"") for domain, _, wrapped in await kept.load_keys()) == sorted(
        [(ACME, True), (OTHER, False)]
    )


async def test_a_domain_that_is_shredded_while_its_key_is_made_gets_none() -> None:
    kept, slow = MemoryKeys(), Slow()
    ring = KeyRing(slow, kept)
    await ring.load()
    making = asyncio.create_task(ring.ensure(ACME))
    await slow.asked.wait()
    await ring.shred(ACME)
    slow.go_on.set()
    with pytest.raises(HubError) as refused:
        await making
    assert refused.value.code == "unreadable_record"
    assert [wrapped for _, _, wrapped in await kept.load_keys()] == [b""]
