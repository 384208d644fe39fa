"""A fleet of many cells in simulation: what it carries, where it breaks first, what a death of a hub or a cell does.

    python benchmarks/cell_fleet.py --short          # as the tests run it: few cells, the costs that are kept
    python benchmarks/cell_fleet.py                  # the full form: 10 to 1,000 cells, costs measured first
    python benchmarks/cell_fleet.py --kept --write docs/explanation/scale.md --pictures docs/pictures

The full form measures one hub for half a minute (see `benchmarks/cells/calibration.py`); `--calibrate` keeps what was
measured in `benchmarks/cells/costs.json`, `--kept` takes that instead. Same costs, same report. Prints it as JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.cells.costs import Costs, keep, kept
from benchmarks.cells.demand import CONNECTIONS
from benchmarks.cells.picture import storms, use_of_cells
from benchmarks.cells.scenarios import FLEETS, Report, simulate
from benchmarks.cells.tables import write_into
from benchmarks.cells.world import SDK, World

SHORT_FLEETS: Final = (10, 300)
SHORT_INSTANCES: Final = 2_500_000
SHORT_TENANTS: Final = 25_000


def say(what: str) -> None:
    """Say on stderr what is done now."""
    sys.stderr.write(f"{what}\n")


def figures(report: Report, took_s: float) -> dict[str, object]:
    """Return the report as it is printed: with the few figures that the suite looks at in front."""
    half_full = [one for one in report.hub_deaths if one.way == SDK.name and one.filled == 1.0 and not one.silent]
    return {
        "instances": report.world.instances,
        "tenants": report.world.tenants,
        "cells_most": max(one.cells for one in report.fleets),
        "one_cell_carries": report.carried[0].instances[report.carried[0].first],
        "first": report.carried[0].first,
        "connections_carry": report.carried[0].instances[CONNECTIONS],
        "full_cell_back_s": half_full[0].seen.all_s,
        "full_cell_expired": half_full[0].expired,
        "unsound": report.unsound,
        "took_s": round(took_s, 1),
        "report": msgspec.to_builtins(report),
    }


def main() -> int:
    """Run from the command line; fails when the simulation contradicts itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--kept", action="store_true", help="take the costs that are kept")
    parser.add_argument("--calibrate", action="store_true", help="keep the costs that are measured")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the pictures there")
    options = parser.parse_args()
    costs: Costs
    if options.short or options.kept:
        costs = kept()
    else:
        from benchmarks.cells.calibration import calibrated

        costs = calibrated(say)
        if options.calibrate:
            keep(costs)
    begun = time.monotonic()
    world = World(instances=SHORT_INSTANCES, tenants=SHORT_TENANTS) if options.short else World()
    report = simulate(costs, world, fleets=SHORT_FLEETS if options.short else FLEETS, step=say)
    sys.stdout.buffer.write(msgspec.json.encode(figures(report, time.monotonic() - begun)) + b"\n")
    if options.write:
        write_into(options.write, report)
    if options.pictures:
        for name, draw in (("cells-use", use_of_cells), ("cells-storms", storms)):
            (options.pictures / f"{name}.svg").write_text(draw(report), "utf-8")
    return 1 if report.unsound else 0


if __name__ == "__main__":
    sys.exit(main())
