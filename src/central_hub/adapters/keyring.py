"""The key ring: a data key for each domain, wrapped under one master key in a file of mode 0600.

Data keys live in the store, wrapped; the master key never does. A domain whose data keys are
destroyed is unreadable from then on, wherever copies of its records are.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
NONCES_DRAWN: Final = 256
KEY_ID_BYTES: Final = 8
SHREDDED: Final = "shredded"
"""The id of what stands in the place of a domain's keys once they are destroyed; no key is called so."""
FILE_MODE: Final = 0o600


class DataKeys(Protocol):
    """Where wrapped data keys are kept durably."""

    async def load_keys(self) -> list[tuple[str, str, bytes]]:
        """Return every wrapped key as (domain, key id, wrapped)."""
        ...

    async def put_key(self, domain: str, key_id: str, wrapped: bytes) -> None:
        """Keep a wrapped key durably."""
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

    async def drop_keys(self, domain: str, *, mark: str = "") -> None:
        """Destroy a domain's keys."""
        self._keys = [key for key in self._keys if key[0] != domain]
        if mark:
            self._keys.append((domain, mark, b""))


class KeyRing:
    """The `Sealer` port: AES-256-GCM under a data key per domain.

    Args:
        master: the wrapping key, 32 bytes.
        kept: where wrapped data keys are.
    """

    def __init__(self, master: bytes, kept: DataKeys) -> None:
        self._master = AESGCM(master)
        self._kept = kept
        self._nonces: deque[bytes] = deque()
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self._current: dict[str, tuple[str, AESGCM]] = {}
        self._shredded: set[str] = set()

    async def load(self) -> None:
        """Unwrap the keys that are kept; call it once before anything is sealed or opened.

        Raises:
            HubError: `wrong_master_key` when a kept key does not unwrap.
        """
        for domain, key_id, wrapped in await self._kept.load_keys():
            if key_id == SHREDDED:
                self._shredded.add(domain)
                continue
            try:
                plain = self._master.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _wrap_data(domain, key_id))
            except InvalidTag:
                raise HubError(
                    "wrong_master_key",
                    Kind.INTERNAL,
                    "The master key in the data directory is not the one this store was written with.",
                    next_step="Put the original keys/master.key back.",
                ) from None
            self._remember(domain, key_id, AESGCM(plain))

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        """Encrypt under the domain's current data key; see the port."""
        current = self._current.get(domain)
        if current is None:
            raise _unreadable(domain)
        nonce = self._nonce()
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
        if domain in self._shredded:
            raise _unreadable(domain)
        plain = os.urandom(KEY_BYTES)
        key_id = os.urandom(KEY_ID_BYTES).hex()
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + self._master.encrypt(nonce, plain, _wrap_data(domain, key_id))
        await self._kept.put_key(domain, key_id, wrapped)
        # Two callers may have come here at once: both keys are durable, either may be the current one.
        self._remember(domain, key_id, AESGCM(plain))

    def is_shredded(self, domain: DomainId) -> bool:
        """Say whether a domain's data keys were destroyed; see the port."""
        return domain in self._shredded

    async def shred(self, domain: DomainId) -> None:
        """Destroy a domain's data keys, in the store and here; it never gets another one."""
        if domain in self._shredded:
            return
        await self._kept.drop_keys(domain, mark=SHREDDED)
        self._shredded.add(domain)
        self._current.pop(domain, None)
        for key in [key for key in self._ciphers if key[0] == domain]:
            del self._ciphers[key]

    def _nonce(self) -> bytes:
        # Drawn many at a time: the call hands the interpreter over, which costs more than the bytes.
        # Each is popped once, whichever thread asks; snapshots are sealed on a thread of their own.
        while True:
            try:
                return self._nonces.popleft()
            except IndexError:
                drawn = os.urandom(NONCE_BYTES * NONCES_DRAWN)
                self._nonces.extend(drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES))

    def _remember(self, domain: str, key_id: str, cipher: AESGCM) -> None:
        self._ciphers[(domain, key_id)] = cipher
        self._current[domain] = (key_id, cipher)


def secret_file(path: Path) -> bytes:
    """Return the 32 secret bytes of a file, making it (mode 0600) when it is not there.

    Raises:
        HubError: `key_file_exposed` when others may read it, `key_file_invalid` when it is not ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make_secret(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise HubError(
            "key_file_exposed",
            Kind.INVALID,
            f"{path} can be read by others.",
            next_step=f"chmod 600 {path}, and rotate what it protected if others had access.",
        )
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise HubError(
            "key_file_invalid",
            Kind.INVALID,
            f"{path} does not hold {KEY_BYTES} bytes in hex.",
            next_step="Put the original file back.",
        )
    return secret


def _make_secret(path: Path) -> None:
    """Put a fresh secret in place, unless another process does so first: then theirs stands."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES).hex().encode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
    sync_directory(path.parent.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
