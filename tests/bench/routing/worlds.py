"""Small worlds to judge in: cells cut down, and sizes and speeds that need no trace."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.cells import Cell, Grid, read_grid
from benchmarks.routing.model import Outcome, Policy, Report, Request, ServerFacts, Setting, View
from benchmarks.routing.traces import Source, read_source
from benchmarks.routing.workload import Workload, draw_workload


@cache
def source() -> Source:
    """Return the fitted source, whatever the environment names."""
    return read_source(folder=None, environment={})


def small(name: str = "load 0.7", **changes: Any) -> Cell:
    """Return one of the grid's cells with few requests."""
    return msgspec.structs.replace(read_grid().cell(name), **{"warm_up": 100, "requests": 300, **changes})


def small_grid(*names: str, seeds: tuple[int, ...] = (1, 2), **changes: Any) -> Grid:
    """Return a grid of such cells."""
    return Grid(tuple(small(name, **changes) for name in names), tuning=(9001,), reporting=seeds)


def world(name: str = "load 0.7", seed: int = 1, **changes: Any) -> Workload:
    """Draw a small world."""
    return draw_workload(small(name, **changes), seed, source())


def setting(servers: int = 4, *, hubs: int = 1, ttl_s: float = 1.0) -> Setting:
    """Return what a policy is born with."""
    facts = tuple(ServerFacts(number, 2, 0, "kind-0") for number in range(servers))
    return Setting(facts, hubs, ttl_s, "a test")


def policy(name: str, servers: int = 4, **changes: Any) -> Policy:
    """Make a baseline for a few servers."""
    return OWN[name](setting(servers, **changes))


def request(decision: int = 0, at_s: float = 0.0, **changes: Any) -> Request:
    """Make a request."""
    return Request(decision, at_s, "acorn", changes.pop("caller", 0), 0, 1.0, **changes)


def report(at_s: float = 0.0, **changes: Any) -> Report:
    """Make a server's report; idle unless said otherwise."""
    idle = Report(at_s, 0, 0, 2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return msgspec.structs.replace(idle, **changes)


def view(now_s: float = 0.0, servers: int = 4, reports: tuple[Report | None, ...] | None = None) -> View:
    """Make a view in which every server is a candidate."""
    return View(now_s, tuple(range(servers)), reports or (None,) * servers)


def told(decision: int, server: int, latency_s: float = 0.1, at_s: float = 1.0, *, ok: bool = True) -> Outcome:
    """Make an outcome."""
    return Outcome(decision, server, at_s, ok, latency_s, 100 if ok else 0, 10 if ok else 0)
