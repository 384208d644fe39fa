"""Runs the benchmarks one after another and holds every figure against its bar.

    python -m benchmarks                          # the short forms: minutes
    python -m benchmarks --full                   # the full forms: about half an hour
    python -m benchmarks --full --only register heartbeats
    python -m benchmarks --full --write docs/explanation/measured.md

Run it on a machine that does nothing else. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.suite import BENCHMARKS, Bar, Benchmark, Report

HERE: Final = Path(__file__).parent
TIMEOUT_S: Final = 1_800
_NAMED: Final = re.compile(r"\| \[(\w+)\]\(\.\./\.\./benchmarks/\w+\.py\) \|$")
Row = tuple[Bar, Benchmark, Report]


def run(benchmark: Benchmark, *, full: bool) -> Report:
    """Run one benchmark in a process of its own; returns its report.

    Raises:
        RuntimeError: it did not print one.
    """
    command = [sys.executable, str(HERE / f"{benchmark.name}.py"), *(benchmark.full if full else benchmark.short)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"{benchmark.name}: {done.stdout[-1000:]}{done.stderr[-2000:]}") from None


def shown(number: float) -> str:
    """Write a figure with the digits that matter."""
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"


def limit_of(bar: Bar) -> str:
    """Write what a bar demands."""
    return f"{'at most' if bar.most else 'at least'} {shown(bar.limit)}"


def page(rows: list[Row], *, full: bool, before: str = "") -> str:
    """Write the figures as a page.

    Args:
        rows: what was measured now.
        full: in which form.
        before: the page as it was; of benchmarks that did not run now it keeps what they measured then.
    """
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    fresh: dict[str, list[str]] = {}
    for bar, benchmark, report in rows:
        met = "" if bar.holds(report) else " **missed**"
        fresh.setdefault(benchmark.name, []).append(
            f"| {bar.what} | {shown(bar.figure(report))} {bar.unit}{met} | {limit_of(bar)} | {bar.beside(report)} "
            f"| {day} | [{benchmark.name}](../../benchmarks/{benchmark.name}.py) |"
        )
    kept: dict[str, list[str]] = {}
    for line in before.splitlines():
        if (found := _NAMED.search(line)) is not None:
            kept.setdefault(found.group(1), []).append(line)
    lines = [
        "# Measured\n",
        (
            f"Written by `python -m benchmarks {'--full ' if full else ''}--write`: {_processor()}, {os.cpu_count()} "
            f"cores, Python {platform.python_version()}. The hub has one core, the load generator the other. What "
            "stands beside a figure was measured in the same run.\n"
        ),
        "| what | measured | bar | beside it | on | benchmark |",
        "|---|---|---|---|---|---|",
    ]
    for benchmark in BENCHMARKS:
        lines += fresh.get(benchmark.name) or kept.get(benchmark.name, [])
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table_of(rows: list[Row]) -> Table:
    """Return the figures as a table for the terminal."""
    table = Table("what", "measured", "bar", "beside it", box=None)
    for bar, _, report in rows:
        colour = "green" if bar.holds(report) else "red"
        table.add_row(bar.what, f"[{colour}]{shown(bar.figure(report))} {bar.unit}", limit_of(bar), bar.beside(report))
    return table


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[benchmark.name for benchmark in BENCHMARKS])
    parser.add_argument("--write", type=Path, help="write the figures to a page")
    options = parser.parse_args()
    chosen = [benchmark for benchmark in BENCHMARKS if not options.only or benchmark.name in options.only]
    console = Console()
    rows: list[Row] = []
    broken = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for at, benchmark in enumerate(chosen, start=1):
            task = progress.add_task(f"{at}/{len(chosen)} {benchmark.name}", total=1)
            try:
                report = run(benchmark, full=options.full)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                progress.console.print(f"{benchmark.name} did not end well: {error}", style="red")
                broken += 1
                continue
            rows.extend((bar, benchmark, report) for bar in benchmark.bars)
            progress.update(task, completed=1)
    console.print(table_of(rows))
    if options.write:
        before = options.write.read_text("utf-8") if options.write.exists() else ""
        options.write.write_text(page(rows, full=options.full, before=before), "utf-8")
    return 0 if not broken and all(bar.holds(report) for bar, _, report in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
