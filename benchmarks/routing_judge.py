"""The judge of routing: every baseline in every cell of a simulated fleet, against an oracle that knows everything.

    python benchmarks/routing_judge.py            # the full form: all cells, the ten reporting seeds
    python benchmarks/routing_judge.py --short    # as the tests run it: few cells, two seeds, no trace needed
    python benchmarks/routing_judge.py --traces DIR --processes 2 --json judged.json \\
        --write docs/explanation/routing-judge.md --picture docs/pictures/routing-judge.svg

Prints the report as JSON; how far it is goes to stderr. `--add name=package.module:maker` judges one more policy,
`--tuning` takes the seeds that are for tuning. See docs/explanation/routing-judge.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.routing.cells import Grid, read_grid
from benchmarks.routing.judging import Report, encoded, judge
from benchmarks.routing.picture import svg_of
from benchmarks.routing.tables import write_into
from benchmarks.routing.traces import VARIABLE


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--cells", nargs="+", metavar="NAME", help="only these")
    parser.add_argument(
        "--policies",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these, and the hub's own",
    )
    parser.add_argument("--seeds", type=int, metavar="COUNT", help="only the first so many")
    parser.add_argument("--tuning", action="store_true", help="take the tuning seeds")
    parser.add_argument(
        "--traces",
        type=Path,
        default=None,
        help=f"folder of the traces; by default ${VARIABLE}",
    )
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2, 4, 8))
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="NAME=MODULE:MAKER",
        help="judge this too",
    )
    parser.add_argument("--json", type=Path, help="write the report there too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    parser.add_argument("--picture", type=Path, help="draw the map as SVG")
    return parser.parse_args()


def chosen_grid(options: argparse.Namespace) -> Grid:
    """Return the cells and seeds that were asked for."""
    grid = read_grid()
    if options.seeds:
        grid = Grid(grid.cells, grid.tuning[: options.seeds], grid.reporting[: options.seeds])
    if options.short:
        return grid.short()
    if options.cells:
        return Grid(
            tuple(grid.cell(name) for name in options.cells),
            grid.tuning,
            grid.reporting,
        )
    return grid


def judged(options: argparse.Namespace, console: Console) -> Report:
    """Run with a bar that says how long it will take."""
    grid = chosen_grid(options)
    began, ended = time.monotonic(), 0
    columns = (
        TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("eta"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        total = len(grid.cells) * len(grid.tuning if options.tuning else grid.reporting)
        task = progress.add_task("judging", total=total)

        def step(cell: str) -> None:
            nonlocal ended
            ended += 1
            progress.update(task, advance=1, description=cell)
            if not console.is_terminal and ended % max(1, total // 20) == 0:  # a bar would not show
                left_s = (time.monotonic() - began) / ended * (total - ended)
                console.print(f"{ended} of {total}, {cell}, eta {left_s:.0f} s", highlight=False)

        return judge(
            grid,
            tuning=options.tuning,
            folder=options.traces,
            processes=options.processes,
            added=dict(one.split("=", 1) for one in options.add),
            only=tuple(options.policies),
            step=step,
        )


def main() -> int:
    """Judge, print, and exit with 1 when a replay contradicts the judge or a baseline broke a constraint."""
    options = parsed()
    console = Console(stderr=True)
    if options.short and not options.traces:
        os.environ.pop(VARIABLE, None)  # so that it is the same everywhere
    report = judged(options, console)
    for note in (*report.source, *(f"MISSING: {one}" for one in report.missing)):
        console.print(
            note,
            style="bold red" if note.startswith(("SYNTHETIC", "MISSING")) else "dim",
            highlight=False,
        )
    raw = encoded(report)
    sys.stdout.buffer.write(raw + b"\n")
    if options.json:
        options.json.write_bytes(raw + b"\n")
    if options.write:
        write_into(options.write, report)
    if options.picture:
        options.picture.parent.mkdir(exist_ok=True)
        options.picture.write_text(svg_of(report), "utf-8")
    return 1 if report.violations or report.hub.violations or report.contradicted else 0


if __name__ == "__main__":
    sys.exit(main())
