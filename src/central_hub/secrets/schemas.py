"""What HTTP adds to the model of secrets: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.secrets.model import (
    DOMAINS_PER_ROTATION_MAX,
    NOTE_LENGTH_MAX,
    PAGE_MAX,
    PATH_LENGTH_MAX,
    PATH_PATTERN,
    VALUE_BYTES_MAX,
    Rotating,
    Secret,
    Source,
    Version,
)
from central_hub.secrets.rotation import RotationState
from central_hub.secrets.rules import etag_of
from central_hub.secrets.usecases import Opened

Path = Annotated[str, msgspec.Meta(pattern=PATH_PATTERN, max_length=PATH_LENGTH_MAX)]
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Note = Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH_MAX)]


class SecretsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secrets are wanted: those below a path, after a cursor."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(min_length=1, max_length=PATH_LENGTH_MAX)] | None = None
    prefix: Annotated[str, msgspec.Meta(max_length=PATH_LENGTH_MAX)] = ""


class SecretQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secret."""

    path: Path


class ReadQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which secret, and which version of it; the newest without."""

    path: Path
    version: Number | None = None


class PutSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret's value, and a note that everybody may read who may list secrets."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=VALUE_BYTES_MAX)]
    note: Note = ""


class PutPlatformSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret of the platform's; `shared` ones every tenant may read that may read its own."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=VALUE_BYTES_MAX)]
    note: Note = ""
    shared: bool = False


class SecretAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A secret without its value: its newest version, who put it there and when, and since when it is kept."""

    path: str
    version: int
    etag: str
    author: str
    changed_at: str
    versions: int
    note: str = ""
    shared: bool = False


class SecretList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of secrets in order of path, without their values."""

    secrets: list[SecretAnswer]
    next_cursor: str | None = None


class VersionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a secret: who put it there, when and why."""

    version: int
    etag: str
    author: str
    changed_at: str
    note: str = ""


class VersionList(msgspec.Struct, frozen=True, kw_only=True):
    """The kept versions of a secret, newest first."""

    path: str
    versions: list[VersionAnswer]


class SecretValue(msgspec.Struct, frozen=True, kw_only=True):
    """A secret's value, and whose it is: the tenant's own, or one that the platform shares."""

    path: str
    version: int
    value: str
    source: Source


class Rotate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to rotate: the key-encryption key, or the data keys of some domains (`tenants`) or of all."""

    what: Rotating = Rotating.KEY_ENCRYPTION_KEY
    tenants: Annotated[list[Name], msgspec.Meta(max_length=DOMAINS_PER_ROTATION_MAX)] = []


class EncryptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What everything that is kept is encrypted under, and how far a rotation is.

    `behind` data keys are not under the current key-encryption key.
    """

    provider: str
    key_encryption_key: str
    domains: int
    data_keys: int
    behind: int
    rotation: RotationState


def secret_answer(secret: Secret) -> SecretAnswer:
    """Show a secret without its value."""
    newest = secret.newest
    return SecretAnswer(
        path=secret.path,
        version=newest.number,
        etag=etag_of(newest.number),
        author=newest.author,
        changed_at=rfc3339(newest.time_ms),
        versions=len(secret.versions),
        note=newest.note,
        shared=secret.shared,
    )


def version_answer(version: Version) -> VersionAnswer:
    """Show a version without its value."""
    return VersionAnswer(
        version=version.number,
        etag=etag_of(version.number),
        author=version.author,
        changed_at=rfc3339(version.time_ms),
        note=version.note,
    )


def value_answer(opened: Opened) -> SecretValue:
    """Show a value to whom it was handed out."""
    return SecretValue(path=opened.path, version=opened.version, value=opened.value, source=opened.source)
