"""What tenants used, added up by hour and day, as the log tells it. Pure.

Months are sums of days. An event's id is remembered for as long as the event may still come again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec

from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.quotas.model import AHEAD_MS, DAYS_KEPT_MS, HOURS_KEPT_MS, LATE_MS, UsageEvent, UsageRecorded
from central_hub.quotas.periods import DAY, HOUR, bounds_ms
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 256
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
ID_BYTES: Final = 8

T = TypeVar("T")
At = tuple[int, str]
"""When a bucket begins, and the tier that its use was at."""


class Sum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Use added up over one period at one tier."""

    meter: str
    start_ms: int
    tier: str
    quantity: int
    events: int


class _Dump(msgspec.Struct, kw_only=True):
    hours: list[Sum] = []
    days: list[Sum] = []
    seen: list[tuple[int, int]] = []


class _Used:
    """What one domain used."""

    __slots__ = ("days", "hours", "seen")

    def __init__(self) -> None:
        self.hours: dict[str, dict[At, Sum]] = {}
        self.days: dict[str, dict[At, Sum]] = {}
        self.seen: dict[int, set[int]] = {}

    def add(self, event: UsageEvent, tier: str) -> None:
        hour_ms = event.at_ms - event.at_ms % HOUR_MS
        _add(self.hours, Sum(event.meter, hour_ms, tier, event.quantity, 1))
        _add(self.days, Sum(event.meter, event.at_ms - event.at_ms % DAY_MS, tier, event.quantity, 1))
        self.note(hour_ms, fingerprint(event.meter, event.id))

    def note(self, hour_ms: int, mark: int) -> None:
        self.seen.setdefault(hour_ms, set()).add(mark)

    def forget(self, now_ms: int) -> None:
        """Let go of what can neither change nor be asked for any more."""
        for hour_ms in [hour for hour in self.seen if _over(hour, now_ms)]:
            del self.seen[hour_ms]
        for sums, kept_ms in ((self.hours, HOURS_KEPT_MS), (self.days, DAYS_KEPT_MS)):
            for buckets in sums.values():
                while buckets and next(iter(buckets))[0] < now_ms - kept_ms:
                    del buckets[next(iter(buckets))]


class MeteredView:
    """Use by tenant, meter, tier and time."""

    def __init__(self) -> None:
        self._used: dict[DomainId, _Used] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "usage"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset({UsageRecorded, TenantShredded})

    def seen(self, domain: DomainId, meter: str, event_id: str) -> bool:
        """Say whether an event has been recorded already."""
        used = self._used.get(domain)
        mark = fingerprint(meter, event_id)
        return used is not None and any(mark in marks for marks in used.seen.values())

    def count_seen(self, domain: DomainId, now_ms: int) -> int:
        """Return how many ids have to be remembered at a time."""
        used = self._used.get(domain)
        return 0 if used is None else sum(len(marks) for hour, marks in used.seen.items() if not _over(hour, now_ms))

    def meters(self, domain: DomainId) -> tuple[str, ...]:
        """Return the names of a domain's meters, sorted."""
        used = self._used.get(domain)
        return () if used is None else tuple(sorted(used.days))

    def sums(self, domain: DomainId, period: str, meter: str, from_ms: int, to_ms: int) -> list[Sum]:
        """Return the sums of one meter of periods that begin in [from_ms, to_ms), in order of time, then tier."""
        used = self._used.get(domain)
        if used is None:
            return []
        buckets = (used.hours if period == HOUR else used.days).get(meter, {})
        found = [one for (start_ms, _), one in buckets.items() if from_ms <= start_ms < to_ms]
        if period not in (HOUR, DAY):
            months: dict[str, dict[At, Sum]] = {}
            for one in found:
                start_ms, _ = bounds_ms(period, one.start_ms)
                _add(months, Sum(one.meter, start_ms, one.tier, one.quantity, one.events))
            found = list(months.get(meter, {}).values())
        return sorted(found, key=lambda one: (one.start_ms, one.tier))

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        fact = applied.fact
        if isinstance(fact, TenantShredded):
            self._used.pop(DomainId(fact.tenant_id), None)
            return
        assert isinstance(fact, UsageRecorded)
        used = self._used.setdefault(applied.domain, _Used())
        for event in fact.events:
            used.add(event, fact.tier)
        used.forget(applied.time_ms)

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        used = self._used.get(domain)
        if used is None:
            return
        for chunk in _chunks(one for buckets in used.hours.values() for one in buckets.values()):
            yield _Dump(hours=chunk)
        for chunk in _chunks(one for buckets in used.days.values() for one in buckets.values()):
            yield _Dump(days=chunk)
        for seen in _chunks((hour_ms, mark) for hour_ms, marks in used.seen.items() for mark in marks):
            yield _Dump(seen=seen)

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            used = self._used.setdefault(domain, _Used())
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            for sums, dumps in ((used.hours, dumped.hours), (used.days, dumped.days)):
                for one in dumps:
                    _add(sums, one)
            for hour_ms, mark in dumped.seen:
                used.note(hour_ms, mark)


def _over(hour_ms: int, now_ms: int) -> bool:
    """Say whether every event of an hour would come too late."""
    return hour_ms + HOUR_MS + LATE_MS + AHEAD_MS < now_ms


def fingerprint(meter: str, event_id: str) -> int:
    """Return what is remembered of an event's id: 64 bits."""
    return int.from_bytes(hashlib.blake2b(f"{meter}\n{event_id}".encode(), digest_size=ID_BYTES).digest(), "big")


def _add(sums: dict[str, dict[At, Sum]], more: Sum) -> None:
    buckets = sums.setdefault(more.meter, {})
    at = (more.start_ms, more.tier)
    before = buckets.get(at)
    if before is not None:
        more = Sum(more.meter, more.start_ms, more.tier, before.quantity + more.quantity, before.events + more.events)
    buckets[at] = more


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
