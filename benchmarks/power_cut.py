"""Simulated power cuts: how many were tried, and whether anything acknowledged was lost.

    python benchmarks/power_cut.py             # the full form: 2,400 cuts over twelve runs
    python benchmarks/power_cut.py --short     # 160 cuts
    python benchmarks/power_cut.py --points 10000 --seed 7

Each run writes through the sequencer onto a recorded disk; each cut keeps what was synced, and of
the rest nothing, a prefix, a prefix torn at a 512-byte sector, a subset, or a reordered subset. The
store is opened on what is left and held against what was acknowledged: every record there and
byte for byte the same, no gap, every chain whole, the folded state equal to the model, every
idempotency result kept, and a next write possible. See tests/durability/power_cut.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.durability.power_cut import try_cuts

FULL_POINTS: Final = 2_400
SHORT_POINTS: Final = 160
POINTS_A_RUN: Final = 200
BAR_POINTS: Final = 2_000


async def measure(points: int, seed: int) -> dict[str, object]:
    """Try `points` cuts over as many runs as they need; returns the figures."""
    started = time.monotonic()
    tried = events = commands = unacknowledged = runs = 0
    violations: list[str] = []
    while tried < points:
        outcome = await try_cuts(seed + runs, min(POINTS_A_RUN, points - tried))
        runs += 1
        tried += outcome.points
        events += outcome.events
        commands += outcome.commands
        unacknowledged += outcome.unacknowledged_kept
        violations += outcome.violations
    return {
        "what": "simulated power cuts",
        "points": tried,
        "runs": runs,
        "disk_events": events,
        "commands": commands,
        "cuts_that_kept_more_than_was_acknowledged": unacknowledged,
        "violations": violations,
        "seconds": round(time.monotonic() - started, 1),
        "bar": {"points": BAR_POINTS, "violations": 0},
    }


def main() -> int:
    """Run it and print the figures as JSON; the exit code says whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=FULL_POINTS)
    parser.add_argument("--seed", type=int, default=1_000)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measure(SHORT_POINTS if options.short else options.points, options.seed))
    print(json.dumps(figures, indent=2))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
