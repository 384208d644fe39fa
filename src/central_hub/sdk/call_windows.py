"""What a process says of the calls it makes: windows of ten seconds, services that fail it, breakers that change.

Counting is a dictionary and a histogram for each pair of callee and route, whatever the number of calls; what is over
the limits is counted under `*`. Nothing here waits: a reporter takes what is due and publishes it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from central_hub.breakers.model import State
from central_hub.events.reported import (
    CALLS,
    FAILED,
    LATENCY_BOUNDS_MS,
    REASON_MAX,
    RECOVERED,
    ROUTE_MAX,
    TRIPPED,
    WINDOW_S,
    BreakerEvidence,
    BreakerRecovered,
    BreakerTripped,
    CallsCompleted,
    DownstreamFailed,
    Latency,
)
from central_hub.kernel.ids import is_name
from central_hub.sdk.circuits import CircuitChange

PAIRS_MAX: Final = 500
"""Pairs of callee and route, tenants apart, that one window counts on their own."""

WAITING_MAX: Final = 2_000
"""Reports that wait for the hub; the oldest are dropped past it."""

FAILED_EVERY_S: Final = 60.0
"""Seconds within which a service that fails is told once."""

OTHERS: Final = "*"


class Report(NamedTuple):
    """One event on its way: whose, its type and data, and the id under which it may be sent again."""

    tenant_id: str
    type: str
    data: msgspec.Struct
    id: str


class _Key(NamedTuple):
    tenant_id: str
    callee: str
    route: str


class _Counts:
    """The calls of one key in one window."""

    __slots__ = ("buckets", "errors", "max_ms", "refused", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self.errors = 0
        self.refused = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def add(self, latency_ms: float, *, failed: bool) -> None:
        self.buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1
        self.errors += failed
        self.sum_ms += latency_ms
        self.max_ms = max(self.max_ms, latency_ms)


class _Failing:
    __slots__ = ("told_s", "untold")

    def __init__(self) -> None:
        self.told_s = float("-inf")
        self.untold = 0


class CallWindows:
    """Counts calls and keeps what is to be reported.

    Args:
        caller: the service this process is; without a name nothing is counted.
        mint: makes ids.
        wall_s: Unix epoch seconds, which windows are aligned to.
    """

    def __init__(self, caller: str, mint: Callable[[], str], *, wall_s: Callable[[], float] = time.time) -> None:
        self._caller = caller
        self._mint = mint
        self._wall_s = wall_s
        self.counts = is_name(caller)
        self._window = 0
        self._pairs: dict[_Key, _Counts] = {}
        self._failing: OrderedDict[_Key, _Failing] = OrderedDict()
        self._due: deque[Report] = deque(maxlen=WAITING_MAX)
        self.dropped = 0

    def ended(self, tenant_id: str, callee: str, route: str, latency_ms: float, error: str = "") -> None:
        """Count a call; `error` says why it failed, and is empty where it did not."""
        if not self.counts:
            return
        key = _Key(tenant_id, callee, route)
        self._counted(key).add(latency_ms, failed=bool(error))
        if error:
            self._fail(key, error)

    def refused(self, tenant_id: str, callee: str, route: str) -> None:
        """Count a call that was not made, because a breaker was open."""
        if self.counts:
            self._counted(_Key(tenant_id, callee, route)).refused += 1

    def changed(self, change: CircuitChange) -> None:
        """Take note of a breaker that changed."""
        if not self.counts or not is_name(change.service_name):
            return
        pair = {"caller": self._caller, "callee": change.service_name, "route": change.route_class[:ROUTE_MAX]}
        before = change.before.value
        if change.after is State.OPEN:
            seen = change.evidence
            tripped = BreakerTripped(
                **pair,
                previous=before,
                reason=change.reason[:REASON_MAX] or "unknown",
                evidence=BreakerEvidence(calls=seen.calls, failures=seen.failures, slow=seen.slow),
                until=None if change.until is None else _written(change.until),
            )
            self._put(change.tenant_id, TRIPPED, tripped)
        elif change.after is State.CLOSED and change.before in (State.OPEN, State.HALF_OPEN):
            self._put(change.tenant_id, RECOVERED, BreakerRecovered(**pair, previous=before))

    def due(self, *, all_of_it: bool = False) -> list[Report]:
        """Take what is to be reported now; the window that is open only when all of it is asked for."""
        if self._pairs and (all_of_it or self._now() != self._window):
            self._close()
        taken = list(self._due)
        self._due.clear()
        return taken

    def again(self, reports: list[Report]) -> None:
        """Take back what could not be sent; the oldest go where there is no room."""
        room = WAITING_MAX - len(self._due)
        kept = reports[len(reports) - room :] if room < len(reports) else reports
        self.dropped += len(reports) - len(kept)
        self._due.extendleft(reversed(kept))

    def _now(self) -> int:
        return int(self._wall_s()) // WINDOW_S

    def _counted(self, key: _Key) -> _Counts:
        now = self._now()
        if now != self._window:
            if self._pairs:
                self._close()
            self._window = now
        found = self._pairs.get(key)
        if found is None:
            if len(self._pairs) >= PAIRS_MAX or not is_name(key.callee) or len(key.route) > ROUTE_MAX:
                key = _Key("", OTHERS, "")
            found = self._pairs.setdefault(key, _Counts())
        return found

    def _close(self) -> None:
        start = _written(datetime.fromtimestamp(self._window * WINDOW_S, UTC))
        for key, counts in self._pairs.items():
            calls = sum(counts.buckets)
            data = CallsCompleted(
                caller=self._caller,
                callee=key.callee,
                route=key.route,
                window_start=start,
                window_s=WINDOW_S,
                calls=calls,
                errors=counts.errors,
                refused=counts.refused,
                latency=Latency(
                    sum_ms=round(counts.sum_ms, 3),
                    max_ms=round(counts.max_ms, 3),
                    p50_ms=quantile(counts.buckets, counts.max_ms, 0.5),
                    p95_ms=quantile(counts.buckets, counts.max_ms, 0.95),
                    p99_ms=quantile(counts.buckets, counts.max_ms, 0.99),
                    buckets=tuple(counts.buckets),
                ),
            )
            self._put(key.tenant_id, CALLS, data)
        self._pairs = {}

    def _fail(self, key: _Key, error: str) -> None:
        if not is_name(key.callee):
            return
        failing = self._failing.get(key)
        if failing is None:
            failing = self._failing[key] = _Failing()
            if len(self._failing) > PAIRS_MAX:
                self._failing.popitem(last=False)
        failing.untold += 1
        now_s = self._wall_s()
        if abs(now_s - failing.told_s) < FAILED_EVERY_S:
            return
        data = DownstreamFailed(
            caller=self._caller,
            callee=key.callee,
            route=key.route[:ROUTE_MAX],
            reason=error[:REASON_MAX],
            failures=failing.untold,
        )
        failing.told_s, failing.untold = now_s, 0
        self._failing.move_to_end(key)
        self._put(key.tenant_id, FAILED, data)

    def _put(self, tenant_id: str, kind: str, data: msgspec.Struct) -> None:
        self.dropped += len(self._due) == WAITING_MAX
        self._due.append(Report(tenant_id, kind, data, self._mint()))


def quantile(buckets: list[int], max_ms: float, share: float) -> float:
    """Return the latency that a share of calls stayed within, as far as a histogram tells: between two bounds it is
    where an even spread would put it, and never above the longest call."""
    wanted = share * sum(buckets)
    below = 0
    for at, count in enumerate(buckets):
        if count and below + count >= wanted:
            low = LATENCY_BOUNDS_MS[at - 1] if at else 0.0
            high = min(LATENCY_BOUNDS_MS[at], max_ms) if at < len(LATENCY_BOUNDS_MS) else max_ms
            return round(min(max_ms, low + (high - low) * (wanted - below) / count), 3)
        below += count
    return 0.0


def _written(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
