"""Writes a report as Markdown: who did how well, the plain cell, every cell, and who beats whom."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.routing.judging import FEASIBLE, HUB, ORACLE, Report, Summary
from benchmarks.routing.scores import Interval

BEGIN: Final = "<!-- judged: written by benchmarks/routing_judge.py, do not edit by hand -->"
END: Final = "<!-- judged: end -->"
PLAIN: Final = "load 0.7"
"""The cell from which the others depart."""


def percent(interval: Interval) -> str:
    """Write a share with half the width of its interval."""
    return f"{100 * interval.value:.1f} ± {50 * (interval.high - interval.low):.1f}"


def times(number: float) -> str:
    """Write a ratio with the digits that matter."""
    return f"{number:.2f}" if number < 10 else f"{number:.0f}"


def ratio(interval: Interval) -> str:
    """Write a ratio and its interval."""
    return f"{times(interval.value)} ({times(interval.low)}–{times(interval.high)})"


def geometric(numbers: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(fmean(map(math.log, numbers)))


def overview(report: Report) -> list[str]:
    """Return one row a policy, over all cells, the best first."""
    cells = report.cells.values()
    overall = {name: geometric([one[name].p99_over_oracle.value for one in cells]) for name in report.policies}
    ordered = sorted(report.policies, key=overall.__getitem__)
    best = {
        cell: min(report.baselines, key=lambda name: summaries[name].p99_s.value)
        for cell, summaries in report.cells.items()
    }
    lines = [
        "| policy | p99 ÷ oracle, geometric mean | its worst cell | SLO-optimal | strict | within 10 % | best in |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ordered:
        worst = report.worst[name]
        slo, strict, near = (
            fmean(getattr(one[name], field).value for one in cells)
            for field in ("slo_optimal", "strict", "within_epsilon")
        )
        crowned = sum(winner == name for winner in best.values()) if name in report.baselines else "–"
        lines.append(
            f"| {name} | {times(overall[name])} | {worst.against_oracle}: {times(worst.p99_over_oracle)} "
            f"| {100 * slo:.1f} % | {100 * strict:.1f} % | {100 * near:.1f} % | {crowned} |"
        )
    return lines


def one_cell(report: Report, cell: str) -> list[str]:
    """Return all measures of one cell, with intervals."""
    lines = [
        f"| {cell} | p99 ÷ oracle | SLO-optimal, % | strict, % | within 10 %, % | regret, % | p99, s |",
        "|---|---|---|---|---|---|---|",
    ]
    summaries = report.cells[cell]
    for name in sorted(summaries, key=lambda one: summaries[one].p99_s.value):
        one: Summary = summaries[name]
        lines.append(
            f"| {name} | {ratio(one.p99_over_oracle)} | {percent(one.slo_optimal)} | {percent(one.strict)} "
            f"| {percent(one.within_epsilon)} | {100 * one.regret.value:.0f} | {one.p99_s.value:.2f} |"
        )
    return lines


def every_cell(report: Report) -> list[str]:
    """Return, for each cell, what the oracles, the hub's own router and the best baseline do."""
    columns = (
        "cell", "oracle, s", "in SLO", "reference ÷ oracle", "Central Hub ÷ oracle", "SLO-optimal", "within 10 %",
        "best baseline", "÷ oracle", "SLO-optimal",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for cell, summaries in report.cells.items():
        oracle, reference, own = summaries[ORACLE], summaries.get(FEASIBLE), summaries[HUB]
        name = min(report.baselines, key=lambda one: summaries[one].p99_s.value)
        best = summaries[name]
        row = (
            cell, f"{oracle.p99_s.value:.2f}", f"{100 * oracle.within_slo.value:.1f} %",
            "–" if reference is None else ratio(reference.p99_over_oracle), ratio(own.p99_over_oracle),
            f"{100 * own.slo_optimal.value:.1f} %", f"{100 * own.within_epsilon.value:.1f} %", name,
            ratio(best.p99_over_oracle), f"{100 * best.slo_optimal.value:.1f} %",
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    return lines


def standing(report: Report) -> str:
    """Return how the hub's own router stands against the best of the others."""
    hub = report.hub
    return (
        f"Central Hub's p99 is certainly lower than that of the cell's best baseline in {100 * hub.ahead:.0f} % of the "
        f"cells, and not certainly higher in {100 * hub.not_behind:.0f} %; at worst it is {times(hub.worst_loss)} "
        f"times that, in “{hub.worst_cell}”."
    )


def win_matrix(report: Report) -> list[str]:
    """Return who beats whom in how many cells: won, and lost behind a dash; the rest cannot be told apart."""
    names = report.policies
    lines = [
        "| won–lost | " + " | ".join(str(number) for number in range(1, len(names) + 1)) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for number, name in enumerate(names, start=1):
        cells: list[str] = []
        for other in names:
            if other == name:
                cells.append("")
                continue
            won, _, lost = report.wins[name][other]
            cells.append(f"{won}–{lost}")
        lines.append(f"| {number} {name} | " + " | ".join(cells) + " |")
    return lines


def markdown(report: Report) -> str:
    """Return all tables, with what they were made of."""
    count = len(report.cells)
    origin = [f"- {note}" for note in (*report.source, *(f"MISSING: {one}" for one in report.missing))]
    seeds = ", ".join(map(str, report.seeds))
    made = (
        f"{count} cells, {len(report.baselines)} baselines, {report.seeds_for} seeds {seeds}. Intervals are 95 %, by "
        f"bootstrap over seeds.\n{report.replays} decisions were forced elsewhere and replayed; the largest difference "
        f"from what had been foreseen is {report.replay_difference_s:.1e} s. Constraint violations: "
        f"{report.violations}. Made from:"
    )
    return "\n".join(
        [
            made,
            "",
            *origin,
            "",
            "### Over all cells",
            "",
            *overview(report),
            "",
            f"### One cell in full: {PLAIN if PLAIN in report.cells else next(iter(report.cells))}",
            "",
            *one_cell(report, PLAIN if PLAIN in report.cells else next(iter(report.cells))),
            "",
            "### Every cell",
            "",
            standing(report),
            "",
            *every_cell(report),
            "",
            "### Who beats whom",
            "",
            f"Cells of {count} in which the row's p99 is certainly lower than the column's, and certainly higher.",
            "",
            *win_matrix(report),
        ]
    )


def write_into(page: Path, report: Report) -> None:
    """Put the tables between the page's two marks.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks to write between")
    page.write_text(f"{before}{BEGIN}\n{markdown(report)}\n{END}{after}", "utf-8")
