"""Key-encryption keys: what wraps the data keys, from a file of mode 0600 or from the environment.

A wrapped key names what it was wrapped under, so that one hub can open keys of before and after a rotation, or of
another provider. Wrapped keys of the first version name nothing: they are 60 bytes, under a key held here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.adapters.secret_files import secret_bytes, write_secrets
from central_hub.kernel.errors import HubError, Kind

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
UNNAMED_BYTES: Final = NONCE_BYTES + KEY_BYTES + TAG_BYTES
MARK: Final = b"KEK1"
ID_BYTES_MAX: Final = 255
KEYS_HELD_MAX: Final = 8
"""Keys of before that can be held beside the one in use; each is gone once nothing is wrapped under it."""

LOCAL: Final = "local:"
FINGERPRINT_HEX: Final = 16


class DataKey(NamedTuple):
    """A data key on its way in or out: its bytes, wrapped or plain, and what it is bound to."""

    data: bytes
    associated: bytes


class KeyEncryption(Protocol):
    """A provider of key-encryption keys. Asked when a hub starts, when a domain is new and when keys rotate, never
    to answer a read: data keys stay in memory."""

    @property
    def provider(self) -> str:
        """Where the keys are: `file`, `env` or `transit`."""
        ...

    @property
    def current(self) -> str:
        """The id of what wraps from now on."""
        ...

    async def open(self) -> None:
        """Find out what is current; once, before anything else.

        Raises:
            HubError: `key_provider_unavailable` (503), `key_provider_refused`.
        """
        ...

    def knows(self, key: str) -> bool:
        """Say whether this provider may open what was wrapped under a key."""
        ...

    async def wrap(self, plain: Sequence[DataKey]) -> list[bytes]:
        """Wrap data keys under the current key.

        Raises:
            HubError: `key_provider_unavailable` (503), `key_provider_refused`.
        """
        ...

    async def unwrap(self, wrapped: Sequence[DataKey]) -> list[bytes]:
        """Open wrapped data keys.

        Raises:
            HubError: `wrong_master_key`, `key_provider_unavailable` (503), `key_provider_refused`.
        """
        ...

    async def rotate(self) -> None:
        """Make a new key the current one, durably; those of before still open what they wrapped.

        Raises:
            HubError: `key_provider_external` (409) where somebody else makes the keys; as `wrap`.
        """
        ...

    async def retire(self) -> None:
        """Let go of the keys of before: nothing that is kept is wrapped under them any more."""
        ...


def named(key: str, data: bytes) -> bytes:
    """Put the id of a key-encryption key before what it wrapped."""
    text = key.encode()
    assert 0 < len(text) <= ID_BYTES_MAX
    return MARK + bytes((len(text),)) + text + data


def parted(wrapped: bytes) -> tuple[str, bytes]:
    """Return what a data key was wrapped under, empty where it does not say, and what is wrapped."""
    if len(wrapped) == UNNAMED_BYTES or not wrapped.startswith(MARK):
        return "", wrapped
    end = len(MARK) + 1 + wrapped[len(MARK)]
    return wrapped[len(MARK) + 1 : end].decode(), wrapped[end:]


def fingerprint(key: bytes) -> str:
    """Return the id of a key that is held here; it tells nothing of the key."""
    return LOCAL + hashlib.sha256(b"central-hub key-encryption key\n" + key).hexdigest()[:FINGERPRINT_HEX]


class LocalKeys:
    """Key-encryption keys in this process, whoever put them there.

    Args:
        keys: 32 bytes each, the one in use first.
        provider: what to call where they came from.
        path: the file that they are kept in; None where this process cannot change them.
    """

    def __init__(self, keys: Sequence[bytes], *, provider: str = "file", path: Path | None = None) -> None:
        assert keys
        self.provider = provider
        self._path = path
        self._keys = list(keys)
        self._ciphers = {fingerprint(key): AESGCM(key) for key in keys}

    @property
    def current(self) -> str:
        """The id of what wraps from now on."""
        return fingerprint(self._keys[0])

    async def open(self) -> None:
        """Nothing is to be found out."""

    def knows(self, key: str) -> bool:
        """Say whether a key is held here, or may be: the oldest wrapped keys do not say."""
        return key in self._ciphers or not key

    async def wrap(self, plain: Sequence[DataKey]) -> list[bytes]:
        """Wrap data keys under the current key; see the port."""
        current = self.current
        cipher = self._ciphers[current]
        wrapped: list[bytes] = []
        for each in plain:
            nonce = os.urandom(NONCE_BYTES)
            wrapped.append(named(current, nonce + cipher.encrypt(nonce, each.data, each.associated)))
        return wrapped

    async def unwrap(self, wrapped: Sequence[DataKey]) -> list[bytes]:
        """Open wrapped data keys; see the port."""
        return [self._opened(*parted(each.data), each.associated) for each in wrapped]

    def _opened(self, key: str, data: bytes, associated: bytes) -> bytes:
        candidates = list(self._ciphers.values()) if not key else [self._ciphers[key]] if key in self._ciphers else []
        for cipher in candidates:
            try:
                return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], associated)
            except InvalidTag:
                continue
        raise wrong_master_key(key)

    async def rotate(self) -> None:
        """Put a fresh key before the others, in the file first; see the port."""
        if self._path is None:
            raise HubError(
                "key_provider_external",
                Kind.CONFLICT,
                "The key-encryption key is given by the environment; the hub cannot make another one there.",
                next_step="Restart with the new key in HUB_MASTER_KEY and the old one in HUB_MASTER_KEY_PREVIOUS; "
                "the data keys are rewrapped while the hub runs.",
            )
        if len(self._keys) > KEYS_HELD_MAX:
            raise HubError(
                "limit_reached", Kind.LIMIT, f"{KEYS_HELD_MAX} keys of before are still in use.",
                next_step="Wait until the rotation that is going on has come to its end.", retry_after_s=60,
            )  # fmt: skip
        fresh = os.urandom(KEY_BYTES)
        write_secrets(self._path, [fresh, *self._keys])
        self._keys.insert(0, fresh)
        self._ciphers[fingerprint(fresh)] = AESGCM(fresh)

    async def retire(self) -> None:
        """Take the keys of before out of the file and out of memory."""
        if self._path is None or len(self._keys) == 1:
            return
        write_secrets(self._path, self._keys[:1])
        del self._keys[1:]
        self._ciphers = {fingerprint(self._keys[0]): self._ciphers[fingerprint(self._keys[0])]}


def keys_in_file(path: Path) -> LocalKeys:
    """Take the keys of a file, making one (mode 0600) where there is none.

    Raises:
        HubError: `key_file_exposed`, `key_file_invalid`.
    """
    return LocalKeys(secret_bytes(path), path=path)


def keys_in_text(current: str, previous: str = "") -> LocalKeys:
    """Take keys given as text: 64 hexadecimal digits each, several of before with commas between.

    Raises:
        HubError: `key_invalid` (400).
    """
    texts = [current, *(part for part in previous.split(",") if part.strip())]
    keys: list[bytes] = []
    for text in texts:
        try:
            key = bytes.fromhex(text.strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise HubError(
                "key_invalid",
                Kind.INVALID,
                f"A key-encryption key is {KEY_BYTES} bytes in hex, and one that is given is not.",
                next_step="Make one with 'openssl rand -hex 32'.",
            )
        keys.append(key)
    return LocalKeys(keys, provider="env")


def wrong_master_key(key: str = "") -> HubError:
    """Return the refusal of a data key that no key-encryption key here opens."""
    return HubError(
        "wrong_master_key",
        Kind.INTERNAL,
        "The master key is not the one that this store's data keys were wrapped under"
        + (f": that was {key}." if key else "."),
        next_step="Put the original keys/master.key back, or give the provider that holds the key.",
    )
