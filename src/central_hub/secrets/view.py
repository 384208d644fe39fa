"""Secrets as the log tells them: paths and sealed versions, and which rotation of keys is going on. Pure.

Keyed by domain first: a tenant's own in its domain, the platform's in its.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.secrets.model import (
    VERSIONS_KEPT,
    VIEW_FACTS,
    EncryptionRotationBegun,
    EncryptionRotationEnded,
    Secret,
    SecretDeleted,
    SecretPut,
    Version,
)
from central_hub.tenants.model import TenantShredded

CHUNK_BYTES: Final = 262_144


class _Dump(msgspec.Struct, kw_only=True):
    secrets: list[Secret] = []
    floor: int = 0
    rotation: EncryptionRotationBegun | None = None


class _Kept:
    """What one domain keeps. `floor` is the highest version of whatever was deleted: no number is given out twice."""

    __slots__ = ("floor", "sealed_bytes", "secrets")

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self.sealed_bytes = 0
        self.floor = 0

    def put(self, secret: Secret) -> None:
        self.drop(secret.path)
        self.secrets[secret.path] = secret
        self.sealed_bytes += secret.sealed_bytes

    def drop(self, path: str) -> None:
        gone = self.secrets.pop(path, None)
        if gone is not None:
            self.sealed_bytes -= gone.sealed_bytes


_NONE: Final = _Kept()


class SecretsView:
    """Which secrets there are. Values are ciphertext here too."""

    def __init__(self) -> None:
        self._kept: dict[DomainId, _Kept] = {}
        self._rotation: EncryptionRotationBegun | None = None

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "secrets"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*VIEW_FACTS, TenantShredded))

    def secret(self, domain: DomainId, path: str) -> Secret | None:
        """Return a domain's own secret."""
        return self._kept.get(domain, _NONE).secrets.get(path)

    def secrets(self, domain: DomainId) -> Mapping[str, Secret]:
        """Return a domain's own secrets by path."""
        return self._kept.get(domain, _NONE).secrets

    def sealed_bytes(self, domain: DomainId) -> int:
        """Return how much a domain keeps."""
        return self._kept.get(domain, _NONE).sealed_bytes

    def next_version(self, domain: DomainId, path: str) -> int:
        """Return the number of a secret's next version: one that was never given to this path."""
        kept = self._kept.get(domain, _NONE)
        secret = kept.secrets.get(path)
        return 1 + (kept.floor if secret is None else secret.newest.number)

    def rotation(self, domain: DomainId) -> EncryptionRotationBegun | None:
        """Return the rotation that has begun and not ended; known to the platform only."""
        return self._rotation if domain == PLATFORM else None

    def count(self, domain: DomainId) -> int:
        """Return how many secrets a domain has; in all of them, for the platform."""
        if domain != PLATFORM:
            return len(self.secrets(domain))
        return sum(len(kept.secrets) for kept in self._kept.values())

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        match applied.fact:
            case SecretPut() as fact:
                self._put(applied, fact)
            case SecretDeleted(path=path, last_version=last):
                kept = self._kept.setdefault(applied.domain, _Kept())
                kept.drop(path)
                kept.floor = max(kept.floor, last)
            case EncryptionRotationBegun() as begun:
                self._rotation = begun
            case EncryptionRotationEnded():
                self._rotation = None
            case TenantShredded(tenant_id=tenant_id):
                self._kept.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def _put(self, applied: Applied, fact: SecretPut) -> None:
        kept = self._kept.setdefault(applied.domain, _Kept())
        before = kept.secrets.get(fact.path)
        version = Version(
            number=fact.version,
            key_id=fact.key_id,
            sealed=fact.sealed,
            author=applied.actor.principal,
            time_ms=applied.time_ms,
            note=fact.note,
        )
        versions = (*(() if before is None else before.versions), version)[-VERSIONS_KEPT:]
        kept.put(Secret(path=fact.path, versions=versions, shared=fact.shared))

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of about `CHUNK_BYTES`."""
        kept = self._kept.get(domain, _NONE)
        chunk = _Dump(floor=kept.floor, rotation=self.rotation(domain))
        size = 0
        for secret in kept.secrets.values():
            chunk.secrets.append(secret)
            size += secret.sealed_bytes
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = _Dump(), 0
        if chunk.secrets or chunk.floor or chunk.rotation is not None:
            yield chunk

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for data in chunks:
            chunk = msgspec.msgpack.decode(data, type=_Dump)
            kept = self._kept.setdefault(domain, _Kept())
            kept.floor = max(kept.floor, chunk.floor)
            for secret in chunk.secrets:
                kept.put(secret)
            if chunk.rotation is not None:
                self._rotation = chunk.rotation
