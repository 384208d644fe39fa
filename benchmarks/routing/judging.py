"""Judges policies over cells and seeds: runs everything, pairs what belongs together, and sums up.

The report holds no time and no machine, so the same seeds give the same bytes.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import msgspec

from benchmarks.routing.baselines.registry import baselines
from benchmarks.routing.cells import Cell, Grid
from benchmarks.routing.hub import CentralHub
from benchmarks.routing.model import Maker, Setting
from benchmarks.routing.oracles import Feasible
from benchmarks.routing.replay import TOLERANCE_S, forced_replays
from benchmarks.routing.scores import Bootstrap, Interval, Score, score
from benchmarks.routing.simulation import Chooser, Knowing, Simulation
from benchmarks.routing.traces import Source, read_source
from benchmarks.routing.workload import Workload, draw_workload

ORACLE: Final = Knowing.name
FEASIBLE: Final = "reference"
HUB: Final = "Central Hub"
"""The hub's own router: judged beside the baselines, and not one of them."""
REPLAYED: Final = "least in flight"
"""Whose runs the forced replays take."""
REPLAYS: Final = 3
"""A cell, on its first seed."""

Runs = dict[str, Score]
"""One cell and seed: each policy's score."""


class Task(msgspec.Struct, frozen=True):
    """One cell and seed for one process."""

    cell: Cell
    seed: int
    replays: int
    added: dict[str, str]
    only: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True):
    """What came of a task."""

    cell: str
    seed: int
    runs: Runs
    replayed: int
    replay_difference_s: float


class Summary(msgspec.Struct, frozen=True):
    """One policy in one cell over the seeds; `runs` in the order of the seeds.

    Args:
        p99_over_oracle: geometric mean over seeds of p99 / the oracle's p99 in the same run.
    """

    strict: Interval
    within_epsilon: Interval
    slo_optimal: Interval
    regret: Interval
    p99_s: Interval
    p99_over_oracle: Interval
    within_slo: Interval
    failed: int
    violations: int
    runs: tuple[Score, ...]


class Worst(msgspec.Struct, frozen=True):
    """A policy's worst cells: against the oracle, and against the best baseline of that cell."""

    against_oracle: str
    p99_over_oracle: float
    against_best: str
    p99_over_best: float


class Standing(msgspec.Struct, frozen=True):
    """How the hub's own router stands against the best baseline of each cell.

    Args:
        ahead: share of cells in which its p99 is certainly lower.
        not_behind: share of cells in which its p99 is not certainly higher.
        worst_cell, worst_loss: where its p99 over that of the best baseline is highest, and that.
        violations: how often it named a server that was no candidate.
        slo_optimal: mean over the cells.
    """

    ahead: float
    not_behind: float
    worst_cell: str
    worst_loss: float
    violations: int
    slo_optimal: float


class Report(msgspec.Struct, frozen=True):
    """Everything that came out.

    Args:
        seeds_for: "tuning" or "reporting".
        source: where sizes, gaps and speeds came from.
        synthetic: whether a fit stood in for a trace.
        missing: baselines that could not run, and why.
        policies: all names, the oracles first.
        baselines: those that are.
        cells: by cell, by policy.
        wins: by policy and other policy: cells with a p99 lower, not told apart, higher (95 % interval of the ratio).
        worst: by policy.
        violations: by all baselines together.
        replays: decisions forced elsewhere; `contradicted` if the largest difference exceeds the tolerance.
    """

    what: str
    seeds_for: str
    seeds: tuple[int, ...]
    source: tuple[str, ...]
    synthetic: bool
    missing: tuple[str, ...]
    policies: tuple[str, ...]
    baselines: tuple[str, ...]
    cells: dict[str, dict[str, Summary]]
    wins: dict[str, dict[str, tuple[int, int, int]]]
    worst: dict[str, Worst]
    hub: Standing
    violations: int
    replays: int
    replay_difference_s: float
    contradicted: int


_SOURCE: list[Source] = []
"""This process's traces, read once."""


def _read_once(folder: Path | None) -> None:
    _SOURCE[:] = [read_source(folder)]


def choosers(workload: Workload, source: Source, added: dict[str, str]) -> dict[str, Chooser]:
    """Return all policies by name: the oracles, the baselines, and those added as `package.module:maker`."""

    def feasible(setting: Setting) -> Feasible:
        return Feasible(setting, workload, source)

    own: dict[str, Chooser] = {
        ORACLE: Knowing(),
        FEASIBLE: feasible,
        HUB: CentralHub,
        **baselines(),
    }
    return {**own, **{name: _maker(path) for name, path in added.items()}}


def _maker(path: str) -> Maker:
    module, _, name = path.partition(":")
    found: Maker = getattr(importlib.import_module(module), name)
    return found


def run_task(task: Task) -> Done:
    """Run all policies through one cell and seed."""
    source = _SOURCE[0]
    workload = draw_workload(task.cell, task.seed, source)
    everyone = choosers(workload, source, task.added)
    runs = {
        name: score(Simulation(workload, chooser, name).run(), task.cell.warm_up, workload.slo_s)
        for name, chooser in everyone.items()
        if not task.only or name in task.only
    }
    replayed, difference = 0, 0.0
    if task.replays:
        replayed, difference = forced_replays(workload, everyone[REPLAYED], REPLAYED, task.replays)
    return Done(task.cell.name, task.seed, runs, replayed, difference)


def judge(
    grid: Grid,
    *,
    tuning: bool = False,
    folder: Path | None = None,
    processes: int = 1,
    added: dict[str, str] | None = None,
    only: tuple[str, ...] = (),
    step: Callable[[str], object] = str,
) -> Report:
    """Judge all policies on all cells.

    Args:
        grid: cells and seeds.
        tuning: take the tuning seeds and not the reporting ones.
        folder: of the traces; None takes what `HUB_TRACES` names.
        processes: how many work at a time.
        added: further policies, by name as `package.module:maker`.
        only: judge no others; the oracle and the hub's own are among them in any case.
        step: called with a cell's name after each cell and seed.
    """
    seeds = grid.tuning if tuning else grid.reporting
    judged = (ORACLE, HUB, *only) if only else ()
    tasks = [
        Task(cell, seed, REPLAYS if seed == seeds[0] else 0, added or {}, judged)
        for cell in grid.cells
        for seed in seeds
    ]
    done: list[Done] = []
    for one in _results(tasks, processes, folder):
        done.append(one)
        step(one.cell)
    source = read_source(folder)
    return _summed_up(done, seeds, "tuning" if tuning else "reporting", source)


def _results(tasks: list[Task], processes: int, folder: Path | None) -> Iterator[Done]:
    if processes == 1:
        _read_once(folder)
        yield from map(run_task, tasks)
        return
    with ProcessPoolExecutor(processes, initializer=_read_once, initargs=(folder,)) as pool:
        yield from pool.map(run_task, tasks)


def _summed_up(done: list[Done], seeds: tuple[int, ...], seeds_for: str, source: Source) -> Report:
    bootstrap = Bootstrap(len(seeds))
    policies = tuple(done[0].runs)
    base = tuple(name for name in policies if name in baselines())
    by_cell: dict[str, list[Runs]] = {}
    for one in done:
        by_cell.setdefault(one.cell, []).append(one.runs)
    cells = {
        cell: {
            name: _summary([run[name] for run in runs], [run[ORACLE] for run in runs], bootstrap) for name in policies
        }
        for cell, runs in by_cell.items()
    }
    difference = max(one.replay_difference_s for one in done)
    litellm = any(name.startswith("LiteLLM") for name in base)
    return Report(
        what="policies judged in simulated fleets, against the myopic oracle with perfect information",
        seeds_for=seeds_for,
        seeds=seeds,
        source=source.notes,
        synthetic=source.synthetic,
        missing=() if litellm else ("LiteLLM: pip install -r benchmarks/routing/requirements.txt",),
        policies=policies,
        baselines=base,
        cells=cells,
        wins=_wins(cells, policies, bootstrap),
        worst={name: _worst(cells, base, name) for name in policies},
        hub=_standing(cells, base, bootstrap),
        violations=sum(cells[cell][name].violations for cell in cells for name in base),
        replays=sum(one.replayed for one in done),
        replay_difference_s=difference,
        contradicted=int(difference > TOLERANCE_S),
    )


def _summary(runs: Sequence[Score], oracle: Sequence[Score], bootstrap: Bootstrap) -> Summary:
    ratios = [math.log(run.p99_s / best.p99_s) for run, best in zip(runs, oracle, strict=True)]
    return Summary(
        strict=bootstrap.interval([run.strict for run in runs]),
        within_epsilon=bootstrap.interval([run.within_epsilon for run in runs]),
        slo_optimal=bootstrap.interval([run.slo_optimal for run in runs]),
        regret=bootstrap.interval([run.regret for run in runs]),
        p99_s=bootstrap.interval([math.log(run.p99_s) for run in runs], math.exp),
        p99_over_oracle=bootstrap.interval(ratios, math.exp),
        within_slo=bootstrap.interval([run.within_slo for run in runs]),
        failed=sum(run.failed for run in runs),
        violations=sum(run.violations for run in runs),
        runs=tuple(runs),
    )


def _wins(
    cells: dict[str, dict[str, Summary]],
    policies: tuple[str, ...],
    bootstrap: Bootstrap,
) -> dict[str, dict[str, tuple[int, int, int]]]:
    """Count, for each pair, the cells in which one's p99 is lower for certain, from differences paired by seed."""
    found = {name: {other: [0, 0, 0] for other in policies if other != name} for name in policies}
    for summaries in cells.values():
        logs = {name: [math.log(run.p99_s) for run in summaries[name].runs] for name in policies}
        for at, name in enumerate(policies):
            for other in policies[at + 1 :]:
                between = bootstrap.interval([a - b for a, b in zip(logs[name], logs[other], strict=True)])
                verdict = 0 if between.high < 0 else 2 if between.low > 0 else 1
                found[name][other][verdict] += 1
                found[other][name][2 - verdict] += 1
    return {
        name: {other: (won, tied, lost) for other, (won, tied, lost) in others.items()}
        for name, others in found.items()
    }


def _standing(cells: dict[str, dict[str, Summary]], base: tuple[str, ...], bootstrap: Bootstrap) -> Standing:
    """Hold the hub's own router against each cell's best baseline, from differences paired by seed."""
    behind: list[str] = []
    ahead: list[str] = []
    losses: dict[str, float] = {}
    for cell, summaries in cells.items():
        own = [math.log(run.p99_s) for run in summaries[HUB].runs]
        best = min(base, key=lambda name: summaries[name].p99_s.value)
        theirs = [math.log(run.p99_s) for run in summaries[best].runs]
        between = bootstrap.interval([a - b for a, b in zip(own, theirs, strict=True)])
        losses[cell] = math.exp(between.value)
        if between.low > 0:
            behind.append(cell)
        elif between.high < 0:
            ahead.append(cell)
    worst = max(losses, key=losses.__getitem__)
    return Standing(
        ahead=len(ahead) / len(cells),
        not_behind=1 - len(behind) / len(cells),
        worst_cell=worst,
        worst_loss=losses[worst],
        violations=sum(summaries[HUB].violations for summaries in cells.values()),
        slo_optimal=fmean(summaries[HUB].slo_optimal.value for summaries in cells.values()),
    )


def _worst(cells: dict[str, dict[str, Summary]], base: tuple[str, ...], name: str) -> Worst:
    over_oracle = {cell: summaries[name].p99_over_oracle.value for cell, summaries in cells.items()}
    over_best = {
        cell: summaries[name].p99_s.value / min(summaries[one].p99_s.value for one in base if one != name)
        for cell, summaries in cells.items()
    }
    first, second = (
        max(over_oracle, key=over_oracle.__getitem__),
        max(over_best, key=over_best.__getitem__),
    )
    return Worst(first, over_oracle[first], second, over_best[second])


def encoded(report: Report) -> bytes:
    """Return the report as JSON, the same bytes for the same seeds."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def decoded(raw: bytes) -> Report:
    """Read a report again."""
    return msgspec.json.decode(raw, type=Report)


def as_built_ins(report: Report) -> dict[str, Any]:
    """Return the report as what JSON is made of."""
    return msgspec.to_builtins(report)
