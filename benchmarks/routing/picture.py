"""Draws a report: a map of all policies and cells, coloured by p99 ÷ oracle. Plain SVG that needs nothing else."""

from __future__ import annotations

import math
from html import escape
from typing import Final

from benchmarks.routing.judging import Report
from benchmarks.routing.tables import geometric

CELL_WIDTH: Final = 34
CELL_HEIGHT: Final = 22
LEFT: Final = 210
TOP: Final = 150
MARGIN: Final = 16
RIGHT: Final = 64
"""Room for the last slanted names."""
LEGEND: Final = 56
DARK_FROM: Final = 0.45
"""Where the scale is dark enough for white figures."""
TOP_OF_SCALE: Final = 100.0
LIGHT: Final = (240, 246, 240)
MIDDLE: Final = (236, 180, 80)
DARK: Final = (122, 20, 40)


def colour(ratio: float) -> tuple[str, bool]:
    """Return a ratio's colour, and whether it is dark; the scale is logarithmic and ends at 100."""
    share = min(1.0, max(0.0, math.log(max(ratio, 1.0)) / math.log(TOP_OF_SCALE)))
    low, high, within = (LIGHT, MIDDLE, share * 2) if share < 0.5 else (MIDDLE, DARK, share * 2 - 1)
    mixed = [round(a + (b - a) * within) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in mixed), share > DARK_FROM + 0.2


def shown(ratio: float) -> str:
    """Write a ratio in at most four characters."""
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.0f}"


def svg_of(report: Report) -> str:
    """Draw the map."""
    names = sorted(
        report.policies,
        key=lambda name: geometric([one[name].p99_over_oracle.value for one in report.cells.values()]),
    )
    width = LEFT + CELL_WIDTH * len(report.cells) + RIGHT
    height = TOP + CELL_HEIGHT * len(names) + LEGEND
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    below = f"{len(report.seeds)} {report.seeds_for} seeds, geometric mean; 1.00 is the oracle with perfect information"
    lines = [
        f'<svg {head} font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="24" font-size="15" font-weight="600">p99 ÷ oracle, by policy and cell</text>',
        f'<text x="{MARGIN}" y="42" fill="#555">{below}</text>',
    ]
    for column, cell in enumerate(report.cells):
        x = LEFT + CELL_WIDTH * column + CELL_WIDTH // 2 + 4
        lines.append(f'<text transform="translate({x} {TOP - 6}) rotate(-55)">{escape(cell)}</text>')
    for row, name in enumerate(names):
        y = TOP + CELL_HEIGHT * row
        weight = "" if name in report.baselines else ' font-style="italic"'
        lines.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end"{weight}>{escape(name)}</text>')
        for column, summaries in enumerate(report.cells.values()):
            lines.extend(_square(LEFT + CELL_WIDTH * column, y, summaries[name].p99_over_oracle.value))
    lines.extend(_legend(TOP + CELL_HEIGHT * len(names) + 18))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _square(x: int, y: int, ratio: float) -> list[str]:
    fill, dark = colour(ratio)
    ink = ' fill="#fff"' if dark else ""
    return [
        f'<rect x="{x}" y="{y}" width="{CELL_WIDTH - 1}" height="{CELL_HEIGHT - 1}" fill="{fill}"/>',
        f'<text x="{x + CELL_WIDTH // 2}" y="{y + 15}" text-anchor="middle" font-size="10"{ink}>{shown(ratio)}</text>',
    ]


def _legend(y: int) -> list[str]:
    lines = [f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#555">scale</text>']
    for column, ratio in enumerate((1.0, 1.1, 1.5, 2.0, 4.0, 10.0, 30.0, 100.0)):
        lines.extend(_square(LEFT + CELL_WIDTH * column, y, ratio))
    return lines
