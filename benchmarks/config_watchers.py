"""Many SDK clients in one process, each following its tenant's configuration; `benchmarks/publishing.py` runs it.

    python benchmarks/config_watchers.py PORT KEYS_FILE COUNT RESULT_FILE

Says `ready` once every client has its first value, and ends with its input. The result has, for every client, which
change it had applied when: a list of (number of the change, seconds on the machine's monotonic clock).
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from central_hub import HubClient

OPENING_AT_ONCE: Final = 50
READY_S: Final = 60.0
Applied = list[tuple[int, float]]


def number_in(config: dict[str, Any]) -> int:
    """Return which change a value shows; 0 before the first."""
    return config["settings"]["group-0"]["key-0"]


async def follow(hub: HubClient, applied: Applied, arrived: asyncio.Event) -> None:
    """Take up every value and note when."""
    async for diff in hub.config_changes():
        applied.append((number_in(diff.config), time.monotonic()))
        arrived.set()


async def run(port: int, keys: list[str], count: int) -> list[Applied]:
    """Follow until the input ends; returns what each client saw."""
    seen: list[Applied] = [[] for _ in range(count)]
    hubs: list[HubClient] = []
    tasks: list[asyncio.Task[None]] = []
    for start in range(0, count, OPENING_AT_ONCE):
        events: list[asyncio.Event] = []
        for at in range(start, min(start + OPENING_AT_ONCE, count)):
            hub = HubClient(f"http://127.0.0.1:{port}", keys[at], cache_dir="")
            await hub.open()
            hubs.append(hub)
            events.append(asyncio.Event())
            tasks.append(asyncio.create_task(follow(hub, seen[at], events[-1])))
        async with asyncio.timeout(READY_S):
            await asyncio.gather(*(event.wait() for event in events))
    gc.collect()
    gc.freeze()  # a thousand clients are not one program: what they hold is not walked over and over
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for hub in hubs:
        await hub.close()
    return seen


def main() -> None:
    """Run from the command line."""
    port, keys_file, count, result = sys.argv[1:]
    keys = list(islice(cycle(Path(keys_file).read_text().split()), int(count)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(run(int(port), keys, int(count)))
    Path(result).write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
