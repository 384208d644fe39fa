"""Which instance to recommend: power of two choices, worked out once and drawn from a table. Pure.

    eligible    healthy, degraded or unknown, and not draining
    cost        (1 + in_flight) x latency_ms / (1 - min(load, 0.95)); what an instance does not
                report is taken to be the mean of those that do (0, 1 and 0 when nobody does)
    share p     weight x ramp x standing, divided by the sum over the candidates
    ramp        max(0.1, age / 30 s), at most 1: slow start since it was registered or undrained
    standing    healthy 1, unknown 0.7, degraded 0.2
    P(i)        p_i x (p_i + 2 x sum of p_j over costlier j + sum of p_j over other j of equal cost)

P(i) is the probability that `i` wins when two candidates are drawn with probability p each, with
replacement, and the cheaper one is taken (a tie is tossed). It sums to 1 and is laid out over 256
slots by largest remainder, so that a request costs one random byte.

    confidence  standing x (1 + ramp) / 2 x sqrt(lowest cost / cost), from 0 to 1

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Final

import msgspec

from central_hub.registry.model import Instance, Status

SLOTS: Final = 256
RAMP_MS: Final = 30_000
RAMP_MIN: Final = 0.1
LOAD_CEILING: Final = 0.95
LATENCY_FLOOR_MS: Final = 0.1

STANDING: Final[Mapping[Status, float]] = {
    Status.HEALTHY: 1.0,
    Status.UNKNOWN: 0.7,
    Status.DEGRADED: 0.2,
    Status.UNHEALTHY: 0.0,
}


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instance as the picker sees it: its current status and what it last reported."""

    instance: Instance
    status: Status
    in_flight: int | None = None
    latency_ms: float | None = None
    load: float | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a candidate came to its probability, for `explain`."""

    instance_id: str
    endpoint: str
    status: Status
    cost: float
    weight: int
    ramp: float
    standing: float
    share: float
    probability: float
    confidence: float


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome: candidates in order of registration and a table of indices into them.

    `table` has `SLOTS` entries, or none when there is no candidate. `settled` says that no slow
    start is under way, so that time alone does not change it. `zone` is the zone that was
    drawn from alone, if one was.
    """

    candidates: tuple[Candidate, ...]
    costs: tuple[float, ...] = ()
    ramps: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    chances: tuple[float, ...] = ()
    confidences: tuple[float, ...] = ()
    table: bytes | tuple[int, ...] = b""
    settled: bool = True
    zone: str = ""

    def draw(self, random_byte: int) -> int | None:
        """Return the index of the candidate in a slot, None when there is no candidate.

        Args:
            random_byte: 0 to 255, uniform.
        """
        return self.table[random_byte] if self.table else None

    def part(self, index: int) -> Part:
        """Show how one candidate came to its probability."""
        candidate = self.candidates[index]
        return Part(
            instance_id=candidate.instance.instance_id,
            endpoint=candidate.instance.endpoint,
            status=candidate.status,
            cost=round(self.costs[index], 3),
            weight=candidate.instance.weight,
            ramp=round(self.ramps[index], 3),
            standing=STANDING[candidate.status],
            share=round(self.shares[index], 4),
            probability=round(self.chances[index], 4),
            confidence=self.confidences[index],
        )


def is_eligible(instance: Instance, status: Status) -> bool:
    """Say whether an instance may be recommended."""
    return status is not Status.UNHEALTHY and not instance.draining


def pick(candidates: Sequence[Candidate], *, now_ms: int, near: str = "") -> Pick:
    """Work out the pick among eligible candidates.

    Args:
        candidates: eligible ones, in order of registration.
        now_ms: Unix epoch milliseconds.
        near: the caller's zone; while a healthy or unknown candidate is there, only that zone is drawn from.
    """
    if not candidates:
        return Pick(candidates=())
    costs = _costs(candidates)
    ramps = [_ramp(candidate.instance, now_ms) for candidate in candidates]
    local = _local(candidates, near)
    standings = [STANDING[candidate.status] for candidate in candidates]
    raw = [
        candidate.instance.weight * ramp * standing if local is None or index in local else 0.0
        for index, (candidate, ramp, standing) in enumerate(zip(candidates, ramps, standings, strict=True))
    ]
    total = sum(raw)
    shares = [value / total for value in raw]
    lowest = min(costs)
    # Among equals two choices are as good as one: every share is its own probability.
    chances = shares if lowest == max(costs) else win_probabilities(costs, shares)
    confidences = [
        round(standing * (1 + ramp) / 2 * sqrt(lowest / cost), 3)
        for standing, ramp, cost in zip(standings, ramps, costs, strict=True)
    ]
    return Pick(
        candidates=tuple(candidates),
        costs=tuple(costs),
        ramps=tuple(ramps),
        shares=tuple(shares),
        chances=tuple(chances),
        confidences=tuple(confidences),
        table=lay_out(chances),
        settled=min(ramps) >= 1.0,
        zone="" if local is None else near,
    )


def win_probabilities(costs: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Return the probability of each candidate to win power of two choices; see the module."""
    order = sorted(range(len(costs)), key=costs.__getitem__)
    chances = [0.0] * len(costs)
    costlier = 1.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and costs[order[end]] == costs[order[start]]:
            end += 1
        tied = sum(shares[index] for index in order[start:end])
        costlier = max(0.0, costlier - tied)
        for index in order[start:end]:
            chances[index] = shares[index] * (tied + 2 * costlier)
        start = end
    return chances


def lay_out(chances: Sequence[float]) -> bytes | tuple[int, ...]:
    """Spread probabilities over `SLOTS` slots by largest remainder; one slot is 1/256.

    Returns:
        `SLOTS` indices into `chances`, grouped by candidate; bytes while they fit.
    """
    scale = SLOTS / sum(chances)
    exact = [chance * scale for chance in chances]
    counts = [int(value) for value in exact]
    missing = SLOTS - sum(counts)
    if missing:
        by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
        for index in by_remainder[:missing]:
            counts[index] += 1
    if len(chances) <= SLOTS:
        return b"".join([bytes((index,)) * count for index, count in enumerate(counts) if count])
    return tuple(index for index, count in enumerate(counts) if count for _ in range(count))


def _costs(candidates: Sequence[Candidate]) -> list[float]:
    in_flights = [c.in_flight for c in candidates if c.in_flight is not None]
    latencies = [c.latency_ms for c in candidates if c.latency_ms is not None]
    loads = [c.load for c in candidates if c.load is not None]
    if not in_flights and not latencies and not loads:
        return [1.0] * len(candidates)
    in_flight, latency, load = _mean(in_flights, 0.0), _mean(latencies, 1.0), _mean(loads, 0.0)
    return [
        (1 + (in_flight if c.in_flight is None else c.in_flight))
        * max(LATENCY_FLOOR_MS, latency if c.latency_ms is None else c.latency_ms)
        / (1 - min(LOAD_CEILING, load if c.load is None else c.load))
        for c in candidates
    ]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _ramp(instance: Instance, now_ms: int) -> float:
    age = now_ms - instance.active_since_ms
    if age < 0:
        # The wall clock was set back; an instance is not punished for that.
        return 1.0
    return min(1.0, max(RAMP_MIN, age / RAMP_MS))


def _local(candidates: Sequence[Candidate], near: str) -> frozenset[int] | None:
    if not near:
        return None
    here = frozenset(
        index
        for index, candidate in enumerate(candidates)
        if candidate.instance.zone == near and candidate.status is not Status.DEGRADED
    )
    return here or None
