"""Flags, segments and overrides as the log tells them. Pure.

Definitions and segments are the platform's; an override is its tenant's. A tenant that asks is shown the
flags it can see and nothing of how they are decided for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from central_hub.flags.model import (
    FACTS,
    Definition,
    FlagDefined,
    FlagOverridden,
    FlagOverrideRemoved,
    FlagStateSet,
    Override,
    Segment,
    SegmentDefined,
    SegmentRemoved,
)
from central_hub.flags.rules import is_visible
from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 64
_NO_OVERRIDES: Final[Mapping[str, Override]] = {}


class _Dump(msgspec.Struct, kw_only=True):
    flags: list[Definition] = []
    segments: list[Segment] = []
    overrides: list[Override] = []


class FlagsView:
    """Which flags there are, and what each tenant gets instead."""

    def __init__(self) -> None:
        self._flags: dict[str, Definition] = {}
        self._segments: dict[str, Segment] = {}
        self._overrides: dict[DomainId, dict[str, Override]] = {}
        self._keys: tuple[str, ...] | None = None
        self.segments_generation = 0
        """Grows when a segment changes: whatever was prepared with one is prepared anew."""

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "flags"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    def flag(self, domain: DomainId, key: str) -> Definition | None:
        """Return a flag as its asker may see it: the platform every one, a tenant those that are there for it."""
        found = self._flags.get(key)
        if found is None or domain == PLATFORM or is_visible(found, domain):
            return found
        return None

    def keys(self, domain: DomainId) -> Sequence[str]:
        """Return the keys of the flags a domain can see, in order."""
        if self._keys is None:
            self._keys = tuple(sorted(self._flags))
        if domain == PLATFORM:
            return self._keys
        return [key for key in self._keys if is_visible(self._flags[key], domain)]

    def flags(self, domain: DomainId) -> Sequence[Definition]:
        """Return the flags a domain can see, in order of key."""
        return [self._flags[key] for key in self.keys(domain)]

    def segment(self, domain: DomainId, name: str) -> Segment | None:
        """Return a segment; they are the platform's."""
        return self._segments.get(name) if domain == PLATFORM else None

    def segments(self, domain: DomainId) -> Sequence[Segment]:
        """Return the segments in order of name; they are the platform's."""
        return [self._segments[name] for name in sorted(self._segments)] if domain == PLATFORM else ()

    def flags_with_segment(self, domain: DomainId, name: str) -> Sequence[str]:
        """Return the keys of the flags whose rules name a segment."""
        if domain != PLATFORM:
            return ()
        return [key for key in self.keys(domain) if any(name in rule.segments for rule in self._flags[key].rules)]

    def override(self, domain: DomainId, key: str) -> Override | None:
        """Return a tenant's override of a flag."""
        return self._overrides.get(domain, _NO_OVERRIDES).get(key)

    def overrides(self, domain: DomainId) -> Sequence[Override]:
        """Return a tenant's overrides in order of key."""
        return [one for _, one in sorted(self._overrides.get(domain, _NO_OVERRIDES).items())]

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain, author = applied.domain, applied.actor.principal
        match applied.fact:
            case FlagDefined(flag=flag):
                self._put_flag(applied, flag)
            case FlagStateSet(key=key, state=state):
                self._put_flag(applied, msgspec.structs.replace(self._flags[key], state=state))
            case SegmentDefined(segment=segment):
                before = self._segments.get(segment.name)
                self._segments[segment.name] = msgspec.structs.replace(
                    segment, revision=before.revision + 1 if before else 1,
                    changed_at_ms=applied.time_ms, changed_by=author,
                )  # fmt: skip
                self.segments_generation += 1
            case SegmentRemoved(name=name):
                self._segments.pop(name, None)
                self.segments_generation += 1
            case FlagOverridden(override=override):
                self._overrides.setdefault(domain, {})[override.key] = msgspec.structs.replace(
                    override, changed_at_ms=applied.time_ms, changed_by=author
                )
            case TenantShredded(tenant_id=tenant_id):
                self._overrides.pop(DomainId(tenant_id), None)
            case FlagOverrideRemoved(key=key):
                self._overrides.get(domain, {}).pop(key, None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        if domain == PLATFORM:
            flags = list(self.flags(PLATFORM))
            for start in range(0, len(flags), CHUNK):
                yield _Dump(flags=flags[start : start + CHUNK])
            for segment in self.segments(PLATFORM):
                yield _Dump(segments=[segment])
        overrides = list(self.overrides(domain))
        for start in range(0, len(overrides), CHUNK):
            yield _Dump(overrides=overrides[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            for flag in dumped.flags:
                self._flags[flag.key] = flag
            for segment in dumped.segments:
                self._segments[segment.name] = segment
            for override in dumped.overrides:
                self._overrides.setdefault(domain, {})[override.key] = override
        self._keys = None
        self.segments_generation += 1

    def _put_flag(self, applied: Applied, flag: Definition) -> None:
        before = self._flags.get(flag.key)
        if before is None:
            self._keys = None
        self._flags[flag.key] = msgspec.structs.replace(
            flag, revision=before.revision + 1 if before else 1, changed_at_ms=applied.time_ms,
            changed_by=applied.actor.principal,
        )  # fmt: skip
