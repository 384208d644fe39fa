"""Load signals: what instances report about themselves with a heartbeat. Soft state, never logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from central_hub.kernel.ids import DomainId

LOAD_FRESH_MS: Final = 30_000.0
"""A report older than this says nothing about the present."""

LATENCY_WEIGHT: Final = 0.3
"""Share of the newest report in the moving average of latency."""

ACKNOWLEDGED_MAX: Final = 1_000
"""Instances named in one answer about who has seen a drain."""

_InstanceKey = tuple[DomainId, str, str]


@dataclass(slots=True)
class Load:
    """The last report of an instance; `at_ms` is on the monotonic clock."""

    at_ms: float
    in_flight: int | None = None
    load: float | None = None
    latency_ms_p95: float | None = None
    acked_seq: int = 0


class Loads:
    """The last report of every instance that reports.

    Args:
        changed: called with (domain, service) when a report changed what a pick depends on.
    """

    def __init__(self, changed: Callable[[DomainId, str], None] | None = None) -> None:
        self._loads: dict[_InstanceKey, Load] = {}
        self._acked: dict[DomainId, dict[tuple[str, str], int]] = {}
        self._changed: list[Callable[[DomainId, str], None]] = [] if changed is None else [changed]
        self._heard: list[Callable[[DomainId, str, str, int, float], None]] = []

    def on_change(self, changed: Callable[[DomainId, str], None]) -> None:
        """Call `changed` with (domain, service) when a report changed what a pick depends on."""
        self._changed.append(changed)

    def on_in_flight(self, heard: Callable[[DomainId, str, str, int, float], None]) -> None:
        """Call `heard` with (domain, service, instance id, requests in flight, monotonic ms) whenever one says so."""
        self._heard.append(heard)

    def report(
        self,
        domain: DomainId,
        service: str,
        instance_id: str,
        *,
        at_ms: float,
        in_flight: int | None = None,
        load: float | None = None,
        latency_ms_p95: float | None = None,
        acked_seq: int | None = None,
    ) -> None:
        """Take a report; what it leaves out stays as it was.

        Args:
            at_ms: monotonic milliseconds.
            in_flight: requests being served.
            load: utilisation, 0 to 1.
            latency_ms_p95: milliseconds.
            acked_seq: position in its domain up to which the instance has seen changes.
        """
        key = (domain, service, instance_id)
        kept = self._loads.get(key)
        if kept is None:
            if in_flight is None and load is None and latency_ms_p95 is None and acked_seq is None:
                return
            kept = self._loads[key] = Load(at_ms)
        kept.at_ms = at_ms
        if in_flight is not None:
            for heard in self._heard:
                heard(domain, service, instance_id, in_flight, at_ms)
        if acked_seq is not None and acked_seq > kept.acked_seq:
            kept.acked_seq = acked_seq
            self._acked.setdefault(domain, {})[service, instance_id] = acked_seq
        latency = kept.latency_ms_p95
        if latency_ms_p95 is not None:
            old = latency_ms_p95 if latency is None else latency
            latency = old + LATENCY_WEIGHT * (latency_ms_p95 - old)
        before = (kept.in_flight, kept.load, kept.latency_ms_p95)
        after = (kept.in_flight if in_flight is None else in_flight, kept.load if load is None else load, latency)
        if after != before:
            kept.in_flight, kept.load, kept.latency_ms_p95 = after
            for changed in self._changed:
                changed(domain, service)

    def of(self, domain: DomainId, service: str, instance_id: str) -> Load | None:
        """Return the last report of an instance, however old."""
        return self._loads.get((domain, service, instance_id))

    def fresh(self, domain: DomainId, service: str, instance_id: str, now_ms: float) -> Load | None:
        """Return the last report of an instance if it is young enough to mean something."""
        load = self._loads.get((domain, service, instance_id))
        return None if load is None or now_ms - load.at_ms > LOAD_FRESH_MS else load

    def drop(self, domain: DomainId, service: str, instance_id: str) -> None:
        """Forget an instance that left."""
        self._loads.pop((domain, service, instance_id), None)
        acked = self._acked.get(domain)
        if acked is not None:
            acked.pop((service, instance_id), None)

    def acknowledged(self, domain: DomainId, seq: int) -> list[str]:
        """Return the instances of a domain that have seen it up to `seq`, as `service/instance`, sorted."""
        acked = self._acked.get(domain, {})
        return sorted(f"{service}/{one}" for (service, one), seen in acked.items() if seen >= seq)[:ACKNOWLEDGED_MAX]

    def __len__(self) -> int:
        return len(self._loads)
