"""kill -9 of a real hub under a load of writes: how often, and whether anything acknowledged was lost.

    python benchmarks/kill_hub.py              # the full form: 300 kills, a fresh store every 25
    python benchmarks/kill_hub.py --short      # 8 kills
    python benchmarks/kill_hub.py --kills 1000 --seed 7 --hubs 2

Eight writers register and deregister over HTTP until the process is killed. After each kill the
store is read without the hub, the hub is started again, and both are held against what was
acknowledged; what was in flight is sent again under its idempotency key. Every ninth time the hub
is stopped in order instead, so that starts from a snapshot are met too. See
tests/durability/killing.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.durability.killing import Outcome, kill_again_and_again

FULL_KILLS: Final = 300
SHORT_KILLS: Final = 8
KILLS_A_STORE: Final = 25
BAR_KILLS: Final = 300


async def measure(kills: int, seed: int, hubs: int) -> dict[str, object]:
    """Kill hubs `kills` times, `hubs` of them side by side; returns the figures."""
    started = time.monotonic()
    shares = [min(KILLS_A_STORE, kills - done) for done in range(0, kills, KILLS_A_STORE)]
    free = asyncio.Semaphore(hubs)

    async def one(number: int, share: int) -> Outcome:
        async with free:
            with tempfile.TemporaryDirectory(prefix="kill-hub-") as directory:
                return await kill_again_and_again(Path(directory), kills=share, seed=seed + number)

    outcomes = await asyncio.gather(*(one(number, share) for number, share in enumerate(shares)))
    return {
        "what": "kill -9 of the hub under a load of writes",
        "kills": sum(one.kills for one in outcomes),
        "stopped_in_order": sum(one.orderly for one in outcomes),
        "acknowledged_writes": sum(one.acknowledged for one in outcomes),
        "in_flight_when_it_ended": sum(one.in_flight for one in outcomes),
        "of_those_found_durable": sum(one.in_flight_kept for one in outcomes),
        "violations": [text for one in outcomes for text in one.violations],
        "seconds": round(time.monotonic() - started, 1),
        "bar": {"kills": BAR_KILLS, "acknowledged_writes_lost": 0},
    }


def main() -> int:
    """Run it and print the figures as JSON; the exit code says whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=FULL_KILLS)
    parser.add_argument("--seed", type=int, default=1_000)
    parser.add_argument("--hubs", type=int, default=1, help="hubs side by side")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measure(SHORT_KILLS if options.short else options.kills, options.seed, options.hubs))
    print(json.dumps(figures, indent=2))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
