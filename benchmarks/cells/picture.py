"""Draws the report as SVG that needs nothing else: who uses up what first, and how clients come back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from benchmarks.cells.demand import RESOURCES
from benchmarks.cells.scenarios import Report
from benchmarks.cells.storm import Seen
from benchmarks.cells.world import AGENT, SDK

WIDTH: Final = 400
HEIGHT: Final = 300
LEFT: Final = 56
TOP: Final = 64
RIGHT: Final = 16
BOTTOM: Final = 44
INKS: Final = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e6c8a", "#b8860b", "#4a4a4a")

Point = tuple[float, float]


class Line(NamedTuple):
    """One curve: its name and its points."""

    name: str
    points: Sequence[Point]


class Axis(NamedTuple):
    """One axis: what it is of, its ends, the values that are written beside it, and whether it is logarithmic."""

    name: str
    low: float
    high: float
    marks: Sequence[float]
    logarithmic: bool = False

    def part(self, value: float) -> float:
        """Return where a value is, from 0 to 1; what is outside is put on the edge."""
        held = min(self.high, max(self.low, value))
        if self.logarithmic:
            return math.log(held / self.low) / math.log(self.high / self.low)
        return (held - self.low) / (self.high - self.low)


def use_of_cells(report: Report) -> str:
    """Draw how much of everything the busiest cell uses, by the number of cells."""
    charts: list[str] = []
    numbers = sorted({one.cells for one in report.fleets})
    across = Axis("cells", numbers[0], max(numbers[-1], numbers[0] + 1), numbers, logarithmic=True)
    up = Axis("of what there is", 0.01, 100, (0.01, 0.1, 1, 10, 100), logarithmic=True)
    for at, way in enumerate((SDK, AGENT)):
        fleets = [one for one in report.fleets if one.way == way.name]
        lines = [Line(name, [(one.cells, one.used[name]) for one in fleets]) for name in RESOURCES]
        charts += chart(at, f"busiest cell, {way.name}", across, up, lines, bar=1.0)
    return page(2, charts, "What is used up first")


def storms(report: Report) -> str:
    """Draw how many clients are live again, by seconds after a hub or a cell died."""
    hubs = [one for one in report.hub_deaths if one.way == SDK.name]
    killed = [Line(f"{one.filled:.0%} full", _share(one.seen)) for one in hubs if not one.silent]
    vanished = [Line(f"{one.filled:.0%} full", _share(one.seen)) for one in hubs if one.silent]
    agents = [one for one in report.cell_deaths if one.way == AGENT.name]
    cells = [Line(f"{one.cells} cells", _share(one.seen)) for one in agents]
    up = Axis("live again", 0, 1, (0, 0.25, 0.5, 0.75, 1))
    return page(
        3,
        [
            *chart(0, "a hub's process is killed", Axis("seconds", 0, 3, (0, 1, 2, 3)), up, killed),
            *chart(1, "a hub's machine vanishes", Axis("seconds", 0, 15, (0, 5, 10, 15)), up, vanished),
            *chart(2, f"a cell is lost, {AGENT.name}", Axis("seconds", 0, 60, (0, 15, 30, 45, 60)), up, cells),
        ],
        "Clients that come back",
    )


def _share(seen: Seen) -> list[Point]:
    return [(at_s, live / max(1, seen.clients)) for at_s, live in seen.course]


def page(charts: int, drawn: Sequence[str], title: str) -> str:
    """Put charts side by side under a title."""
    width, height = charts * WIDTH, HEIGHT + 28
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg {head} font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
        *drawn,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def chart(at: int, title: str, across: Axis, up: Axis, lines: Sequence[Line], *, bar: float | None = None) -> list[str]:
    """Draw one chart: axes, curves, their names, and a line that should not be passed."""
    left, right = at * WIDTH + LEFT, at * WIDTH + WIDTH - RIGHT
    top, bottom = TOP + 28, HEIGHT + 28 - BOTTOM

    def x(value: float) -> float:
        return round(left + across.part(value) * (right - left), 1)

    def y(value: float) -> float:
        return round(bottom - up.part(value) * (bottom - top), 1)

    drawn = [f'<text x="{left}" y="{TOP - 18}" font-weight="600">{escape(title)}</text>']
    for mark in up.marks:
        drawn.append(f'<line x1="{left}" y1="{y(mark)}" x2="{right}" y2="{y(mark)}" stroke="#e4e4e4"/>')
        drawn.append(f'<text x="{left - 6}" y="{y(mark) + 4}" text-anchor="end" fill="#555">{mark:g}</text>')
    for mark in across.marks:
        drawn.append(f'<text x="{x(mark)}" y="{bottom + 16}" text-anchor="middle" fill="#555">{mark:,g}</text>')
    drawn.append(f'<text x="{right}" y="{bottom + 32}" text-anchor="end" fill="#555">{escape(across.name)}</text>')
    drawn.append(f'<text x="{left - 40}" y="{top - 6}" fill="#555">{escape(up.name)}</text>')
    if bar is not None:
        drawn.append(
            f'<line x1="{left}" y1="{y(bar)}" x2="{right}" y2="{y(bar)}" stroke="#b00020" stroke-dasharray="5 3"/>'
        )
    for number, line in enumerate(lines):
        ink = INKS[number % len(INKS)]
        points = " ".join(f"{x(one)},{y(other)}" for one, other in line.points)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="1.8"/>')
        name_x = left + 4 + (number % 3) * 112
        name_y = TOP - 4 + (number // 3) * 13
        drawn.append(f'<text x="{name_x}" y="{name_y}" fill="{ink}">■ {escape(line.name)}</text>')
    return drawn
