"""Which instance to call: power of two choices over what this process sees and what instances report. Pure.

    eligible  not unhealthy, not draining; an instance that just refused a connection rests
    share     weight x ramp x standing, laid out over a table of slots; the caller's zone first
    ramp      max(0.1, age / 30 s), at most 1: slow start since registration
    cost      (1 + own in-flight + reported in-flight) x latency_ms / (1 - min(load, 0.95))

Two slots are drawn and the cheaper instance is taken. The table is built when the view or a
report changed, so that a pick costs one random number and one comparison.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from central_hub.sdk.model import Endpoint, Instance, ReportedLoad, ServiceState

SLOT_BITS_MIN: Final = 8
SLOTS_PER_TARGET: Final = 4
RAMP_S: Final = 30.0
RAMP_MIN: Final = 0.1
RAMP_REBUILD_S: Final = 1.0
LOAD_CEILING: Final = 0.95
LATENCY_FLOOR_MS: Final = 0.1
LATENCY_WEIGHT: Final = 0.2
"""Share of the newest call in the moving average of latency."""

REST_BASE_S: Final = 0.5
REST_MAX_S: Final = 15.0
"""Longest rest of an instance that keeps refusing connections."""

STANDING: Final[Mapping[str, float]] = {"healthy": 1.0, "unknown": 0.7, "degraded": 0.2}


class Target:
    """An instance as this process calls it."""

    __slots__ = (
        "endpoint",
        "factor",
        "failures",
        "in_flight",
        "instance",
        "latency_ms",
        "reported",
        "rests_until",
        "strain",
    )

    def __init__(self, service: str, instance: Instance) -> None:
        self.instance = instance
        self.endpoint = Endpoint(service, instance.instance_id, instance.host, instance.port, instance.url)
        self.in_flight = 0
        self.reported = 0
        self.factor = 1.0
        self.strain = 1.0
        self.latency_ms: float | None = None
        self.failures = 0
        self.rests_until = 0.0

    def succeeded(self, latency_ms: float) -> None:
        """Take note of a call that was answered."""
        self.failures = 0
        self.rests_until = 0.0
        old = self.latency_ms
        self.latency_ms = latency_ms if old is None else old + LATENCY_WEIGHT * (latency_ms - old)
        self.factor = max(LATENCY_FLOOR_MS, self.latency_ms) * self.strain

    def refused(self, now_s: float) -> None:
        """Take note that it could not be reached; it rests, longer each time."""
        self.rests_until = now_s + min(REST_MAX_S, REST_BASE_S * 2.0**self.failures)
        self.failures = min(self.failures + 1, 16)


class Pool:
    """The instances of one service, and the draw among them.

    Args:
        service: its name.
        zone: the caller's zone; its eligible instances are drawn alone while there are any.
        now_s: monotonic seconds.
        wall_s: Unix epoch seconds.
        random_bits: uniform random integer of so many bits.
    """

    __slots__ = (
        "_bits", "_mask", "_now_s", "_random_bits", "_rebuild_at_s", "_slots", "_wall_s", "_zone", "known", "service",
        "targets",
    )  # fmt: skip

    def __init__(
        self,
        service: str,
        *,
        zone: str,
        now_s: Callable[[], float],
        wall_s: Callable[[], float],
        random_bits: Callable[[int], int],
    ) -> None:
        self.service = service
        self.known = False
        self.targets: dict[str, Target] = {}
        self._zone = zone
        self._now_s = now_s
        self._wall_s = wall_s
        self._random_bits = random_bits
        self._slots: tuple[Target, ...] = ()
        self._bits = self._mask = 0
        self._rebuild_at_s = 0.0

    def update(self, state: ServiceState, loads: Mapping[str, ReportedLoad]) -> None:
        """Take the service as the view has it now; what this process knows of an instance stays."""
        targets: dict[str, Target] = {}
        for instance_id, instance in state.instances.items():
            target = self.targets.get(instance_id)
            if target is None or _moved(target.instance, instance):
                target = Target(self.service, instance)
            target.instance = instance
            targets[instance_id] = target
        self.targets = targets
        self.known = state.known
        self._weigh(loads)
        self._build()

    def pick(self) -> Target | None:
        """Return the instance to call next; None when none is eligible."""
        now_s = self._now_s()
        if now_s >= self._rebuild_at_s:
            self._build()
        slots = self._slots
        if not slots:
            return None
        bits = self._random_bits(self._bits)
        mask = self._mask
        first, second = slots[bits & mask], slots[bits >> (self._bits >> 1)]
        if (second.in_flight + second.reported + 1) * second.factor < (
            first.in_flight + first.reported + 1
        ) * first.factor:
            first = second
        if first.rests_until > now_s:
            return self.pick_other(())
        return first

    def pick_other(self, avoid: Collection[str]) -> Target | None:
        """Return the cheapest eligible instance beside some; one of those when there is no other.

        Args:
            avoid: instance ids that were tried.
        """
        now_s = self._now_s()
        eligible = [target for target in self.targets.values() if target.instance.eligible]
        if not eligible:
            return None

        def order(target: Target) -> tuple[bool, bool, float, int]:
            cost = (1 + target.in_flight + target.reported) * target.factor
            tried = target.endpoint.instance_id in avoid
            rests = target.rests_until > now_s
            return tried, rests, target.rests_until if rests else cost, self._random_bits(16)

        return min(eligible, key=order)

    def _weigh(self, loads: Mapping[str, ReportedLoad]) -> None:
        """Bring reports into the targets' costs; one without a latency is taken to be like the mean of the others."""
        latencies: dict[str, float] = {}
        for instance_id, target in self.targets.items():
            report = loads.get(instance_id)
            target.reported = (report.in_flight or 0) if report is not None else 0
            latency = target.latency_ms
            if latency is None and report is not None:
                latency = report.latency_ms_p95
            if latency is not None:
                latencies[instance_id] = max(LATENCY_FLOOR_MS, latency)
        mean = sum(latencies.values()) / len(latencies) if latencies else 1.0
        for instance_id, target in self.targets.items():
            report = loads.get(instance_id)
            load = (report.load or 0.0) if report is not None else 0.0
            target.strain = 1.0 / (1.0 - min(LOAD_CEILING, max(0.0, load)))
            target.factor = latencies.get(instance_id, mean) * target.strain

    def _build(self) -> None:
        eligible = [target for target in self.targets.values() if target.instance.eligible]
        near = [target for target in eligible if self._zone and target.instance.zone == self._zone]
        near = [target for target in near if target.instance.status != "degraded"]
        chosen = near or eligible
        wall_s = self._wall_s()
        ramps = [_ramp(target.instance, wall_s) for target in chosen]
        shares = [
            max(1, target.instance.weight) * ramp * STANDING.get(target.instance.status, STANDING["unknown"])
            for target, ramp in zip(chosen, ramps, strict=True)
        ]
        half = max(SLOT_BITS_MIN, (SLOTS_PER_TARGET * len(chosen) - 1).bit_length())
        self._bits, self._mask = 2 * half, (1 << half) - 1
        self._slots = tuple(_lay_out(chosen, shares, 1 << half))
        settled = all(ramp >= 1.0 for ramp in ramps)
        self._rebuild_at_s = float("inf") if settled else self._now_s() + RAMP_REBUILD_S


def _moved(before: Instance, after: Instance) -> bool:
    return before.host != after.host or before.port != after.port or before.url != after.url


def _ramp(instance: Instance, wall_s: float) -> float:
    if instance.registered_at is None:
        return 1.0
    age_s = wall_s - instance.registered_at.timestamp()
    # A negative age is a clock that was set back; an instance is not punished for that.
    return 1.0 if age_s < 0 else min(1.0, max(RAMP_MIN, age_s / RAMP_S))


def _lay_out(targets: list[Target], shares: list[float], slots: int) -> Iterable[Target]:
    """Yield `slots` targets in proportion to their shares, by largest remainder; everybody gets one at least."""
    total = sum(shares)
    exact = [share / total * slots for share in shares]
    counts = [max(1, int(value)) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    missing = slots - sum(counts)
    for index in by_remainder[: max(0, missing)]:
        counts[index] += 1
    while sum(counts) > slots:
        counts[max(range(len(counts)), key=counts.__getitem__)] -= 1
    for target, count in zip(targets, counts, strict=True):
        for _ in range(count):
            yield target
