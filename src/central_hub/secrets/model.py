"""What is remembered of secrets and of the rotation of keys: facts, the state they fold into, limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact

PATH_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){0,7}$"
PATH_LENGTH_MAX: Final = 255
VALUE_BYTES_MAX: Final = 32_768
NOTE_LENGTH_MAX: Final = 256
VERSIONS_KEPT: Final = 10
"""Versions of one secret that can still be read; older ones are let go of when another one comes."""
SECRETS_PER_TENANT_MAX: Final = 1_000
SECRETS_OF_PLATFORM_MAX: Final = 4_096
SEALED_BYTES_MAX: Final = 4 * 1024 * 1024
"""What the secrets of one domain may hold in all, every kept version counted."""
READS_PER_S: Final = 200
READS_BURST: Final = 1_000
"""Reads of one tenant's values: each leaves a record in its trail."""
PAGE_MAX: Final = 500
DOMAINS_PER_ROTATION_MAX: Final = 10_000
KEYS_AT_ONCE: Final = 128
"""Data keys that one step of a rotation wraps: about a millisecond of work, and one fsync."""

SCOPE_LIST: Final = "secret:list"
SCOPE_READ: Final = "secret:read"
SCOPE_WRITE: Final = "secret:write"
SCOPE_ADMIN: Final = "secret:admin"
"""The platform's own secrets, which no tenant may be granted."""
SCOPE_PLATFORM: Final = "platform:admin"

COUNT_SECRETS: Final = "count/secrets"
COUNT_SEALED: Final = "count/secret-bytes"
READS_STREAM: Final = "secret-reads"
ROTATION_STREAM: Final = "encryption"


class Source(StrEnum):
    """Whose secret was read."""

    TENANT = "tenant"
    PLATFORM = "platform"


class Rotating(StrEnum):
    """What is rotated."""

    KEY_ENCRYPTION_KEY = "key_encryption_key"
    DATA_KEYS = "data_keys"


class Version(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One value of a secret, sealed, with the id of the data key it is under; who put it there and when."""

    number: int
    key_id: str
    sealed: bytes
    author: str
    time_ms: int
    note: str = ""


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret and its kept versions, oldest first; `shared` is one of the platform's that every tenant may read."""

    path: str
    versions: tuple[Version, ...]
    shared: bool = False

    @property
    def newest(self) -> Version:
        """The version that is read when none is named."""
        return self.versions[-1]

    @property
    def sealed_bytes(self) -> int:
        """What its kept versions hold."""
        return sum(len(version.sealed) for version in self.versions)

    def version(self, number: int) -> Version | None:
        """Return a kept version."""
        return next((version for version in self.versions if version.number == number), None)


class SecretPut(Fact, frozen=True, kw_only=True):
    """A secret has a new version; its value is sealed for this domain, path and version alone."""

    path: str
    version: int
    key_id: str
    sealed: bytes
    note: str = ""
    shared: bool = False


class SecretDeleted(Fact, frozen=True, kw_only=True):
    """A secret is gone with all of its versions, of which this was the last."""

    path: str
    last_version: int


class SecretRead(Fact, frozen=True, kw_only=True):
    """A value was read (audit)."""

    path: str
    version: int
    source: Source


class EncryptionRotationBegun(Fact, frozen=True, kw_only=True):
    """Keys are being rotated; without domains, those of all of them. `from_key` wrapped until then."""

    what: Rotating
    began_at_ms: int
    from_key: str
    domains: tuple[str, ...] = ()


class EncryptionRotationEnded(Fact, frozen=True, kw_only=True):
    """Keys were rotated: how many, and under which key they are now."""

    what: Rotating
    data_keys: int
    to_key: str


VIEW_FACTS: Final[tuple[type[Fact], ...]] = (
    SecretPut,
    SecretDeleted,
    EncryptionRotationBegun,
    EncryptionRotationEnded,
)
FACTS: Final[tuple[type[Fact], ...]] = (*VIEW_FACTS, SecretRead)


def secret_stream(path: str) -> str:
    """Name the aggregate of one secret."""
    return f"secret/{path}"
