"""The key ring: data keys for each domain, wrapped under a key-encryption key that is kept elsewhere.

Data keys live in the store, wrapped, and in memory once they were opened; the key-encryption key never is in the
store. A domain whose data keys are destroyed is unreadable from then on, wherever copies of its records are.

A domain may have several data keys: the newest seals, all of them open. Keys are rewrapped under another
key-encryption key, and domains are given new data keys, while everything goes on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Sequence
from hmac import compare_digest
from itertools import islice
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.adapters.key_encryption import (
    KEY_BYTES,
    NONCE_BYTES,
    DataKey,
    KeyEncryption,
    LocalKeys,
    parted,
    wrong_master_key,
)
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId

__all__ = ["KEY_BYTES", "NONCE_BYTES", "SHREDDED", "DataKeys", "KeyRing", "MemoryKeys"]

NONCES_DRAWN: Final = 256
DATED: Final = "k"
"""What the id of a data key begins with that says when it was made; older ones do not and come first."""
DATE_HEX: Final = 12
KEY_ID_BYTES: Final = 4
SHREDDED: Final = "shredded"
"""The id of what stands in the place of a domain's keys once they are destroyed; no key is called so."""
DATA_KEYS_PER_DOMAIN_MAX: Final = 256
SEALS_PER_KEY_MAX: Final = 2**28
"""What one process seals under a data key before the domain is given another one: random nonces of 96 bits are good for
2**32 messages (NIST SP 800-38D, 8.3), and a key may outlive several processes."""
LOOKED_AT_ONCE: Final = 512
OPENED_AT_ONCE: Final = 256
"""Wrapped keys that a provider is asked about in one request."""


class DataKeys(Protocol):
    """Where wrapped data keys are kept durably."""

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped key as (domain, key id, wrapped)."""
        ...

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped key durably."""
        ...

    async def replace_keys(self, wrapped: Sequence[tuple[str, str, bytes]]) -> None:
        """Keep keys that are there wrapped otherwise, all in one step; one that is gone stays gone."""
        ...

    async def forget_replaced(self) -> None:
        """See to it that what was replaced is in none of the store's files."""
        ...

    async def drop_keys(self, domain: str, *, mark: str = "") -> None:
        """Destroy a domain's keys, leaving an empty one called `mark` in their place, all in one step."""
        ...


class MemoryKeys:
    """Wrapped keys in memory, beside a memory log."""

    def __init__(self) -> None:
        self._keys: list[tuple[str, str, bytes]] = []

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped key."""
        return list(self._keys)

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped key."""
        self._keys.append((domain, key_id, wrapped))

    async def replace_keys(self, wrapped: Sequence[tuple[str, str, bytes]]) -> None:
        """Keep keys wrapped otherwise."""
        fresh = {(domain, key_id): each for domain, key_id, each in wrapped}
        self._keys = [(domain, key_id, fresh.get((domain, key_id), old)) for domain, key_id, old in self._keys]

    async def forget_replaced(self) -> None:
        """Nothing is left of what was replaced."""

    async def drop_keys(self, domain: str, *, mark: str = "") -> None:
        """Destroy a domain's keys."""
        self._keys = [key for key in self._keys if key[0] != domain]
        if mark:
            self._keys.append((domain, mark, b""))


class KeyRing:
    """The `Sealer` port: AES-256-GCM under a data key per domain.

    Args:
        keys: what wraps data keys: a provider, or 32 bytes.
        kept: where wrapped data keys are.
        others: providers of before, for keys that are still wrapped under theirs.
    """

    def __init__(self, keys: KeyEncryption | bytes, kept: DataKeys, *, others: Sequence[KeyEncryption] = ()) -> None:
        self.encryption: KeyEncryption = LocalKeys([keys]) if isinstance(keys, bytes) else keys
        self._providers = (self.encryption, *others)
        self._kept = kept
        self._nonces: deque[bytes] = deque()
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self._current: dict[str, tuple[str, AESGCM]] = {}
        self._plain: dict[tuple[str, str], bytes] = {}
        self._under: dict[tuple[str, str], str] = {}
        self._count: dict[str, int] = {}
        self._shredded: set[str] = set()
        self._making: dict[str, asyncio.Lock] = {}
        self._sealed: dict[str, int] = {}
        self._behind: tuple[str, dict[tuple[str, str], None]] = ("", {})
        self._newest_ms = 0
        self.provider_failures = 0

    async def load(self) -> None:
        """Unwrap the keys that are kept and not known yet; call it before anything is sealed or opened.

        Raises:
            HubError: `wrong_master_key` when a kept key does not unwrap; `key_provider_unavailable` (503),
                `key_provider_refused`.
        """
        for provider in self._providers:
            await provider.open()
        wrapped = await self._kept.load_keys()
        for domain in {domain for domain, key_id, _ in wrapped if key_id == SHREDDED} - self._shredded:
            self._shredded.add(domain)
            self._forget(domain)
        groups: dict[KeyEncryption, list[tuple[str, str, bytes]]] = {}
        for each in wrapped:
            if each[0] not in self._shredded and each[:2] not in self._ciphers:
                groups.setdefault(self._provider_of(parted(each[2])[0]), []).append(each)
        for provider, group in groups.items():
            for at in range(0, len(group), OPENED_AT_ONCE):
                part = group[at : at + OPENED_AT_ONCE]
                opened = await provider.unwrap([DataKey(data, _wrap_data(*name)) for *name, data in part])
                for (domain, key_id, data), plain in zip(part, opened, strict=True):
                    self._remember(domain, key_id, plain, parted(data)[0])

    async def refresh(self) -> None:
        """Learn of data keys that another hub made, and of those it destroyed; see the port."""
        await self.load()

    def _provider_of(self, key: str) -> KeyEncryption:
        for provider in self._providers:
            if provider.knows(key):
                return provider
        raise wrong_master_key(key)

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        """Encrypt under the domain's current data key; see the port."""
        current = self._current.get(domain)
        if current is None:
            raise _unreadable(domain)
        nonce = self._nonce()
        self._sealed[domain] = self._sealed.get(domain, 0) + 1
        return current[0], nonce + current[1].encrypt(nonce, plain, associated)

    def open(self, domain: DomainId, key_id: str, sealed: bytes, associated: bytes) -> bytes:
        """Decrypt; see the port."""
        cipher = self._ciphers.get((domain, key_id))
        if cipher is None:
            raise _unreadable(domain)
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
        except (InvalidTag, ValueError):
            raise _unreadable(domain) from None

    async def ensure(self, domain: DomainId) -> None:
        """Make sure the domain has a durable data key; see the port."""
        if domain in self._current:
            return
        # A new tenant's first writes come together: one of them makes the key, the others wait for it.
        async with self._making.setdefault(domain, asyncio.Lock()):
            if domain not in self._current:
                await self.renew(domain)
        self._making.pop(domain, None)

    async def renew(self, domain: DomainId, *, not_before_ms: int = 0) -> str:
        """Give a domain a new data key, which seals from now on; those of before still open. Returns its id.

        Args:
            domain: whose.
            not_before_ms: the least time that the key's id says it was made at, whatever the clock says.

        Raises:
            HubError: `unreadable_record` for a shredded domain; `limit_reached` (429); what the provider refuses.
        """
        if domain in self._shredded:
            raise _unreadable(domain)
        if self._count.get(domain, 0) >= DATA_KEYS_PER_DOMAIN_MAX:
            raise HubError(
                "limit_reached", Kind.LIMIT, f"A domain has {DATA_KEYS_PER_DOMAIN_MAX} data keys at most.",
                next_step="Rotate the key-encryption key instead: that rewraps them.", retry_after_s=60,
                fields={"limit": DATA_KEYS_PER_DOMAIN_MAX},
            )  # fmt: skip
        plain = os.urandom(KEY_BYTES)
        key_id = f"{DATED}{max(self._date_after(domain), not_before_ms):0{DATE_HEX}x}{os.urandom(KEY_ID_BYTES).hex()}"
        wrapped = await self._wrapped([DataKey(plain, _wrap_data(domain, key_id))])
        if domain in self._shredded:  # meanwhile
            raise _unreadable(domain)
        await self._kept.put_key(domain, key_id, wrapped[0])
        # Two callers may have come here at once: both keys are durable, the newer one is the current one.
        self._remember(domain, key_id, plain, parted(wrapped[0])[0])
        return key_id

    def _date_after(self, domain: str) -> int:
        """Return a time in ms that is after that of the domain's newest key, whatever the clock says."""
        current = self._current.get(domain)
        return max(int(time.time() * 1_000), 0 if current is None else made_ms(current[0]) + 1)

    def domains(self) -> list[DomainId]:
        """Return every domain that has data keys, in order."""
        return sorted(DomainId(domain) for domain in self._current)

    def renewed_since(self, domain: DomainId, time_ms: int) -> bool:
        """Say whether a domain's current data key was made at or after a time; true where it has none."""
        current = self._current.get(domain)
        return current is None or made_ms(current[0]) >= time_ms

    def count_domains(self) -> int:
        """Return how many domains have data keys."""
        return len(self._current)

    def newest_ms(self) -> int:
        """Return when the newest data key was made, 0 when none says."""
        return self._newest_ms

    def data_keys(self) -> int:
        """Return how many data keys there are."""
        return len(self._ciphers)

    def behind(self) -> list[tuple[str, str]]:
        """Return the data keys, as (domain, key id), that are not wrapped under the current key-encryption key."""
        current = self.encryption.current
        if self._behind[0] != current:
            self._behind = (current, {name: None for name, under in self._under.items() if under != current})
        return list(self._behind[1])

    def count_behind(self) -> int:
        """Return how many data keys are not wrapped under the current key-encryption key."""
        return len(self._behind[1]) if self._behind[0] == self.encryption.current else len(self.behind())

    def next_behind(self, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` of those that are behind."""
        return list(islice(self._behind[1], limit)) if self.count_behind() else []

    def worn(self) -> list[DomainId]:
        """Return the domains whose data key has sealed as much as one may."""
        return [DomainId(domain) for domain, count in self._sealed.items() if count >= SEALS_PER_KEY_MAX]

    async def rewrap(self, names: Sequence[tuple[str, str]]) -> None:
        """Wrap some data keys under the current key-encryption key, durably, in one step.

        What a provider made is opened again and compared before it takes the place of what is kept.

        Raises:
            HubError: what the provider or the store refuses; nothing was replaced then.
        """
        held = [(name, self._plain[name]) for name in names if name in self._plain]
        plain = [DataKey(data, _wrap_data(*name)) for name, data in held]
        wrapped = await self._wrapped(plain)
        again = await self.encryption.unwrap(
            [DataKey(data, each.associated) for data, each in zip(wrapped, plain, strict=True)]
        )
        if not all(compare_digest(one, each.data) for one, each in zip(again, plain, strict=True)):
            raise HubError(
                "key_provider_refused", Kind.INTERNAL, "The key provider does not open what it wrapped.",
                next_step="Nothing was replaced. Check the provider before trying again.",
            )  # fmt: skip
        await self._kept.replace_keys([(*name, data) for (name, _), data in zip(held, wrapped, strict=True)])
        for (name, _), data in zip(held, wrapped, strict=True):
            if name in self._under:
                self._note(name, parted(data)[0])

    async def forget_replaced(self) -> None:
        """Let go of the key-encryption keys of before, and of what they wrapped."""
        await self._kept.forget_replaced()
        current = self.encryption.current
        for at, (_, key_id, wrapped) in enumerate(await self._kept.load_keys()):
            if key_id != SHREDDED and parted(wrapped)[0] != current:
                return  # a key that another hub put there meanwhile is not abandoned
            if at % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self.encryption.retire()

    async def _wrapped(self, plain: Sequence[DataKey]) -> list[bytes]:
        try:
            return await self.encryption.wrap(plain)
        except HubError:
            self.provider_failures += 1
            raise

    def is_shredded(self, domain: DomainId) -> bool:
        """Say whether a domain's data keys were destroyed; see the port."""
        return domain in self._shredded

    async def shred(self, domain: DomainId) -> None:
        """Destroy a domain's data keys, in the store and here; it never gets another one."""
        if domain in self._shredded:
            return
        self._shredded.add(domain)  # first: a key that is being made is either dropped below, or not put at all
        try:
            await self._kept.drop_keys(domain, mark=SHREDDED)
        except BaseException:
            self._shredded.discard(domain)
            raise
        self._forget(domain)

    def _forget(self, domain: str) -> None:
        self._current.pop(domain, None)
        self._count.pop(domain, None)
        for key in [key for key in self._ciphers if key[0] == domain]:
            del self._ciphers[key], self._plain[key], self._under[key]
            self._behind[1].pop(key, None)
        self._sealed.pop(domain, None)

    def _nonce(self) -> bytes:
        # Drawn many at a time: the call hands the interpreter over, which costs more than the bytes.
        # Each is popped once, whichever thread asks; snapshots are sealed on a thread of their own.
        while True:
            try:
                return self._nonces.popleft()
            except IndexError:
                drawn = os.urandom(NONCE_BYTES * NONCES_DRAWN)
                self._nonces.extend(drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES))

    def _remember(self, domain: str, key_id: str, plain: bytes, under: str) -> None:
        cipher = AESGCM(plain)
        self._count[domain] = self._count.get(domain, 0) + 1
        self._ciphers[(domain, key_id)] = cipher
        self._plain[(domain, key_id)] = plain
        self._note((domain, key_id), under)
        self._newest_ms = max(self._newest_ms, made_ms(key_id))
        current = self._current.get(domain)
        if current is None or made_ms(current[0]) <= made_ms(key_id):
            self._current[domain] = (key_id, cipher)
            self._sealed.pop(domain, None)

    def _note(self, name: tuple[str, str], under: str) -> None:
        self._under[name] = under
        if under == self._behind[0]:
            self._behind[1].pop(name, None)
        else:
            self._behind[1][name] = None


def made_ms(key_id: str) -> int:
    """Return when a data key was made, 0 where its id does not say."""
    return int(key_id[1 : 1 + DATE_HEX], 16) if key_id.startswith(DATED) else 0


def _wrap_data(domain: str, key_id: str) -> bytes:
    return f"data-key\n{domain}\n{key_id}".encode()


def _unreadable(domain: str) -> HubError:
    return HubError(
        "unreadable_record",
        Kind.INTERNAL,
        "A record does not open: its data key is gone or its bytes were altered.",
        next_step="Verify the domain's chain; restore from a backup if bytes were altered.",
        internal=f"domain {domain}",
    )
