"""Encoded services, kept until they change: what lists, discovery, the lane and the watch read.

An entry belongs to (domain, service), never to a caller. It is rebuilt when it is next read
after a fact about the service, at most every 100 ms after signals, and every second while an
instance is in slow start. A service of many instances is encoded beforehand in slices (`prepare`),
by whoever can wait; the lane, which cannot, leaves that one request to the framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import msgspec

from central_hub.edge.lane.entries import PICKS, LaneEntry
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.registry.encoding import Discovery, encode_discovery, encode_instance, status_of
from central_hub.registry.model import Instance, ServiceKey, Status
from central_hub.registry.picker import STANDING, Candidate, Pick, is_eligible, pick
from central_hub.registry.ports import Confidence, HealthOf, Verdict
from central_hub.registry.service import Service
from central_hub.registry.signals import LOAD_FRESH_MS, Loads

SIGNAL_REBUILD_MS: Final = 100.0
RAMP_REBUILD_MS: Final = 1_000.0

ENCODED_AT_ONCE_MAX: Final = 128
"""Instances encoded in one step of the event loop: well under a millisecond of work."""

CACHED_INSTANCES_MAX: Final = 50_000
"""Instances whose encoded form is kept; past this the entries built longest ago are dropped."""

CACHED_ENTRIES_MAX: Final = 10_000

NO_INSTANCE_UNHEALTHY: Final = "all_unhealthy"
NO_INSTANCE_DRAINING: Final = "all_draining"
NO_INSTANCE_ELIGIBLE: Final = "no_eligible_instance"
NO_INSTANCE_MATCHES: Final = "no_instance_matches"


class Shown(msgspec.Struct, frozen=True, gc=False):
    """An instance as readers see it: with this hub's verdict over the journaled status, encoded once.

    Untracked by the collector: there are as many as instances, and none refers back.
    """

    instance: Instance
    verdict: Verdict | None
    status: Status
    encoded: bytes


def shown_as(instance: Instance, verdict: Verdict | None) -> Shown:
    """Encode an instance under a verdict."""
    return Shown(instance, verdict, status_of(instance, verdict), encode_instance(instance, verdict))


Choose = Callable[["Entry"], Pick]


@dataclass(slots=True)
class Entry:
    """A service, ready to be sent; who is recommended is worked out when somebody asks for it."""

    domain: DomainId
    name: str
    rank: int
    revision: int
    shown: dict[str, Shown]
    status: Status
    etag: str
    built_ms: float
    expires_ms: float
    choose: Choose
    stale: bool = False
    _pick: Pick | None = None
    _discovery: Discovery | None = None
    _lane: LaneEntry | None = None

    @property
    def pick(self) -> Pick:
        """Who may be recommended, and how likely each is."""
        if self._pick is None:
            self._pick = self.choose(self)
            if not self._pick.settled:
                self.expires_ms = min(self.expires_ms, self.built_ms + RAMP_REBUILD_MS)
        return self._pick

    @property
    def discovery(self) -> Discovery:
        """The answers to discovery."""
        if self._discovery is None:
            reason = why_none(tuple(self.shown.values()))
            self._discovery = encode_discovery(
                self.name, self.domain, self.pick, self.encoded, revision=self.revision, reason=reason
            )
        return self._discovery

    @property
    def lane(self) -> LaneEntry:
        """The entry in the form the lane sends; the framework answers with the same object."""
        if self._lane is None:
            discovery = self.discovery
            self._lane = LaneEntry(
                openings=discovery.openings,
                rest=discovery.rest,
                picks=self.pick.table or bytes(PICKS),
                etag=self.etag,
                fresh_until_ms=self.built_ms + SIGNAL_REBUILD_MS if self.stale else self.expires_ms,
            )
        return self._lane

    def signalled(self) -> None:
        """Take note that signals have made it old: it is good for the rest of its 100 ms."""
        self.stale = True
        if self._lane is not None:
            self._lane.fresh_until_ms = self.built_ms + SIGNAL_REBUILD_MS

    @property
    def encoded(self) -> list[bytes]:
        """The encoded instances in order of registration."""
        return [shown.encoded for shown in self.shown.values()]


class Catalogue:
    """Builds and keeps entries.

    Args:
        health: this hub's own verdicts.
        loads: what instances report.
        clock: wall time for slow start, monotonic time for how often an entry is rebuilt.
        incarnation: part of every ETag, so that a rewound log matches no old one.
    """

    def __init__(self, health: HealthOf, loads: Loads, clock: Clock, incarnation: str) -> None:
        self._health = health
        self._loads = loads
        self._clock = clock
        self._entries: dict[ServiceKey, Entry] = {}
        self._prepared: dict[ServiceKey, dict[str, Shown]] = {}
        self._cached_instances = 0
        self.incarnation = incarnation
        self.confidence: Confidence | None = None
        """Who knows more of instances than their status and load; asked when it is there."""
        self.rebuilds = 0
        loads.on_change(self.signal)

    def entry(self, domain: DomainId, service: Service) -> Entry:
        """Return the current entry of a service."""
        key = (domain, service.name)
        kept = self._entries.get(key)
        if kept is not None and self._is_current(kept, service):
            return kept
        return self._rebuild(key, service, kept)

    def at_hand(self, domain: DomainId, service: Service) -> Entry | None:
        """Return the current entry if that is the work of a moment; None when it is to be prepared first."""
        if len(service.instances) <= ENCODED_AT_ONCE_MAX:
            return self.entry(domain, service)
        kept = self._entries.get((domain, service.name))
        return kept if kept is not None and self._is_current(kept, service) else None

    async def prepare(self, domain: DomainId, service: Service) -> bool:
        """Encode a service of many instances in slices that leave the event loop free, for `entry` to pick up.

        Returns:
            Whether others have run meanwhile, so that the service has to be looked up again.
        """
        if self.at_hand(domain, service) is not None:
            return False
        key = (domain, service.name)
        kept = self._entries.get(key)
        before = {} if kept is None else kept.shown
        held = self._prepared.setdefault(key, {})
        encoded = 0
        for instance_id, instance in tuple(service.instances.items()):
            if self._show_one(domain, service.name, instance, held.get(instance_id) or before.get(instance_id), held):
                encoded += 1
                if encoded % ENCODED_AT_ONCE_MAX == 0:
                    await asyncio.sleep(0)
        return encoded >= ENCODED_AT_ONCE_MAX

    def signal(self, domain: DomainId, name: str) -> None:
        """Have a service's entry rebuilt when it is next read, after a signal or a verdict about it."""
        kept = self._entries.get((domain, name))
        if kept is not None and not kept.stale:
            kept.signalled()

    def drop(self, domain: DomainId, name: str) -> None:
        """Forget the entry of a service that is gone."""
        self._prepared.pop((domain, name), None)
        kept = self._entries.pop((domain, name), None)
        if kept is not None:
            self._cached_instances -= len(kept.shown)

    def choose(self, domain: DomainId, shown: Sequence[Shown], *, near: str = "") -> Pick:
        """Work out the pick among some instances of a service, outside its entry."""
        now = self._clock.monotonic_ms()
        candidates = [self._candidate(domain, one, now) for one in shown if is_eligible(one.instance, one.status)]
        found = pick(candidates, now_ms=self._clock.now_ms(), near=near)
        return found if self.confidence is None else self._known_better(domain, found, self.confidence)

    def _known_better(self, domain: DomainId, found: Pick, asked: Confidence) -> Pick:
        """Put what is known better in the place of confidences that stand on status and load."""
        better = [
            asked.confidence(domain, one.instance.service_name, one.instance.instance_id) for one in found.candidates
        ]
        if all(one is None for one in better):
            return found
        mixed = tuple(
            known if new is None else round(min(new, STANDING[one.status]), 3)
            for known, new, one in zip(found.confidences, better, found.candidates, strict=True)
        )
        return msgspec.structs.replace(found, confidences=mixed)

    def _rebuild(self, key: ServiceKey, service: Service, before: Entry | None) -> Entry:
        domain, name = key
        known = {} if before is None else before.shown
        if prepared := self._prepared.get(key):
            known = {**known, **prepared}
        self.drop(domain, name)
        shown: dict[str, Shown] = {}
        for instance_id, instance in service.instances.items():
            self._show_one(domain, name, instance, known.get(instance_id), shown)
        now = self._clock.monotonic_ms()
        entry = Entry(
            domain=domain,
            name=name,
            rank=service.rank,
            revision=service.revision,
            shown=shown,
            status=status_of_service(tuple(shown.values())),
            etag=self._etag(key, service, shown),
            built_ms=now,
            expires_ms=now + LOAD_FRESH_MS,
            choose=self._choose,
        )
        self._entries[key] = entry
        self._cached_instances += len(shown)
        self.rebuilds += 1
        while len(self._entries) > 1 and (
            self._cached_instances > CACHED_INSTANCES_MAX or len(self._entries) > CACHED_ENTRIES_MAX
        ):
            self.drop(*next(iter(self._entries)))
        return entry

    def _choose(self, entry: Entry) -> Pick:
        return self.choose(entry.domain, tuple(entry.shown.values()))

    def _is_current(self, kept: Entry, service: Service) -> bool:
        if kept.revision != service.revision or kept.rank != service.rank:
            return False
        now = self._clock.monotonic_ms()
        return now < kept.expires_ms and not (kept.stale and now - kept.built_ms >= SIGNAL_REBUILD_MS)

    def _show_one(
        self, domain: DomainId, name: str, instance: Instance, known: Shown | None, into: dict[str, Shown]
    ) -> bool:
        """Put an instance as it is shown into `into`; says whether it had to be encoded."""
        verdict = self._health.verdict(domain, name, instance.instance_id)
        if known is not None and known.instance is instance and known.verdict == verdict:
            into[instance.instance_id] = known
            return False
        into[instance.instance_id] = shown_as(instance, verdict)
        return True

    def _candidate(self, domain: DomainId, one: Shown, now: float) -> Candidate:
        load = self._loads.fresh(domain, one.instance.service_name, one.instance.instance_id, now)
        if load is None:
            latency = None if one.verdict is None else one.verdict.latency_ms
            return Candidate(instance=one.instance, status=one.status, latency_ms=latency)
        return Candidate(
            instance=one.instance,
            status=one.status,
            in_flight=load.in_flight,
            latency_ms=load.latency_ms_p95,
            load=load.load,
        )

    def _etag(self, key: ServiceKey, service: Service, shown: dict[str, Shown]) -> str:
        overlay = [
            (name, one.verdict.status, one.verdict.protected, one.verdict.reason)
            for name, one in shown.items()
            if one.verdict is not None
        ]
        suffix = f".{crc32(repr(overlay).encode()):08x}" if overlay else ""
        return f'W/"{self.incarnation}.{key[0]}.{service.revision}{suffix}"'


def status_of_service(shown: Sequence[Shown]) -> Status:
    """Return a service's status: the best of what takes new work, `unhealthy` when nothing does.

    Some healthy and some not is `degraded`.
    """
    statuses = {one.status for one in shown if not one.instance.draining}
    if not statuses or statuses == {Status.UNHEALTHY}:
        return Status.UNHEALTHY
    if statuses == {Status.HEALTHY}:
        return Status.HEALTHY
    return Status.UNKNOWN if statuses == {Status.UNKNOWN} else _mixed(statuses)


def _mixed(statuses: set[Status]) -> Status:
    return Status.HEALTHY if statuses == {Status.HEALTHY, Status.UNKNOWN} else Status.DEGRADED


def why_none(shown: Sequence[Shown]) -> str:
    """Say why no instance may be recommended."""
    if all(one.instance.draining for one in shown):
        return NO_INSTANCE_DRAINING
    if all(one.status is Status.UNHEALTHY for one in shown):
        return NO_INSTANCE_UNHEALTHY
    return NO_INSTANCE_ELIGIBLE
