"""When requests come, how large they are, and whose they are."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from benchmarks.routing.cells import Cell
from benchmarks.routing.traces import Size, Source

CROWDS: Final = 3
CROWD_RATE: Final = 10.0
CROWD_SHARE: Final = 0.06
"""Of the time between crowds that a crowd lasts."""

TENANTS: Final = ("acorn", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel")
"""Each asks half as much as the one before, for sizes of its own, and comes and goes."""
TENANT_DECAY: Final = 0.5
ON_SHARE: Final = 0.4
"""Of the time that a tenant is there."""
ON_REQUESTS: Final = 40
"""Mean requests of a tenant while it is there."""

CONVERSATIONS: Final = 400
"""In a run with sessions; which one a request continues is drawn by Zipf's law."""


class Drawn(NamedTuple):
    """One arrival."""

    at_s: float
    size: Size
    tenant: str
    prefix: int | None


def draw_arrivals(cell: Cell, rate: float, source: Source, draw: random.Random) -> list[Drawn]:
    """Return a run's arrivals in order of time.

    Args:
        cell: which kind, and how many.
        rate: mean arrivals a second.
        source: of sizes and gaps.
        draw: where chance comes from.
    """
    count = cell.warm_up + cell.requests
    if cell.arrivals == "tenants":
        return _tenants(count, rate, source, draw)
    if cell.arrivals == "code":
        return _trace(count, rate, source, draw)
    times = _crowds(count, rate, draw) if cell.arrivals == "flash" else _poisson(count, rate, draw)
    prefixes = _prefixes(count, draw) if cell.sessions else [None] * count
    return [
        Drawn(at, draw.choice(source.sizes), TENANTS[0], prefix) for at, prefix in zip(times, prefixes, strict=True)
    ]


def _poisson(count: int, rate: float, draw: random.Random) -> list[float]:
    at = 0.0
    times: list[float] = []
    for _ in range(count):
        at += draw.expovariate(rate)
        times.append(at)
    return times


def _crowds(count: int, rate: float, draw: random.Random) -> list[float]:
    """Return arrivals at a base rate with crowds of ten times that, the mean over the whole being `rate`."""
    base = rate / (1 - CROWD_SHARE + CROWD_SHARE * CROWD_RATE)
    length = count / rate
    starts = [length * (0.4 + 0.5 * number / CROWDS + 0.1 * draw.random() / CROWDS) for number in range(CROWDS)]
    lasts = CROWD_SHARE * length / CROWDS
    at = 0.0
    times: list[float] = []
    while len(times) < count:
        at += draw.expovariate(base * CROWD_RATE)  # thinned below, so that edges are exact
        if any(start <= at < start + lasts for start in starts) or draw.random() < 1 / CROWD_RATE:
            times.append(at)
    return times


def _trace(count: int, rate: float, source: Source, draw: random.Random) -> list[Drawn]:
    """Return a stretch of the trace from a drawn place on, in its own order, its clock scaled to the rate."""
    start = draw.randrange(len(source.sizes))
    rows = [(start + number) % len(source.sizes) for number in range(count)]
    scale = count / rate / sum(source.gaps_s[row] for row in rows)
    at = 0.0
    drawn: list[Drawn] = []
    for row in rows:
        at += source.gaps_s[row] * scale
        drawn.append(Drawn(at, source.sizes[row], TENANTS[0], None))
    return drawn


def _tenants(count: int, rate: float, source: Source, draw: random.Random) -> list[Drawn]:
    """Return the sum of tenants that come and go, each with its own slice of the sizes."""
    shares = [TENANT_DECAY**number for number in range(len(TENANTS))]
    by_work = sorted(source.sizes, key=lambda size: size.prompt + 20 * size.output)
    order = draw.sample(range(len(TENANTS)), len(TENANTS))
    drawn: list[Drawn] = []
    for number, name in enumerate(TENANTS):
        mean_rate = rate * shares[number] / sum(shares)
        width = len(by_work) // 2
        low = (len(by_work) - width) * order[number] // (len(TENANTS) - 1)
        sizes = by_work[low : low + width]
        at = 0.0
        wanted = count / rate * 1.5
        while at < wanted:
            on_until = at + draw.expovariate(mean_rate / ON_SHARE / ON_REQUESTS)
            while (at := at + draw.expovariate(mean_rate / ON_SHARE)) < on_until:
                drawn.append(Drawn(at, draw.choice(sizes), name, None))
            at = on_until + draw.expovariate(mean_rate / ON_REQUESTS / (1 - ON_SHARE))
    drawn.sort(key=lambda one: one.at_s)
    drawn = drawn[:count]
    scale = count / rate / drawn[-1].at_s
    return [one._replace(at_s=one.at_s * scale) for one in drawn]


def _prefixes(count: int, draw: random.Random) -> list[int | None]:
    weights = [1 / (rank + 1) for rank in range(CONVERSATIONS)]
    return list(draw.choices(range(CONVERSATIONS), weights, k=count))
