"""Durable append in process: 64 writers one by one, and batches, beside what the disk itself does.

    python benchmarks/append.py            # the full form: three rounds
    python benchmarks/append.py --short    # as the tests run it

The whole write path without HTTP: decide, encode, seal, group commit (SQLite, WAL, one fsync a
group), apply to a view, answer. Every writer waits for its answer before it sends the next. The
limit measured in the same run, before and after: `fdatasync` after writing 64 KiB into a file
that is long enough already, which is the least any durable group commit costs on this disk.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.keyring import KEY_BYTES, KeyRing
from central_hub.adapters.memory import MemorySnapshots
from central_hub.adapters.sqlite.log import SqliteLog
from central_hub.edge.server import loop_factory
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Actor, Applied
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer, Tx

WRITERS: Final = 64
BATCH_WRITERS: Final = 8
BATCH: Final = 100
FACT_BYTES: Final = 300
WARM_UP: Final = 10
SYNC_BYTES: Final = 65_536
SYNC_FILE_BYTES: Final = 8 * 1024 * 1024
BAR_P99_MS: Final = 3.0
BAR_BATCH_RECORDS_S: Final = 50_000
ACME: Final = DomainId("acme")
ACTOR: Final = Actor(principal="bench", kind="service")


class Written(Fact, frozen=True, kw_only=True):
    """A record of the size of a registration."""

    name: str
    body: str


class Names:
    """Folds names, as small a view as a view can be."""

    name = "names"
    facts: frozenset[type[Fact]] = frozenset({Written})

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def apply(self, applied: Applied) -> None:
        """Note where a name was last written."""
        assert isinstance(applied.fact, Written)
        self.last[applied.fact.name] = applied.domain_seq

    def dump(self, domain: DomainId) -> Iterable[object]:
        """Yield nothing: the benchmark takes no snapshots."""
        return ()

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take nothing back."""


def disk_sync_ms(directory: Path, count: int = 100) -> list[float]:
    """Measure fdatasync after a write of `SYNC_BYTES` in place."""
    path = directory / "sync"
    took: list[float] = []
    with path.open("wb", buffering=0) as file:
        file.write(os.urandom(SYNC_FILE_BYTES))
        os.fsync(file.fileno())
        for number in range(count):
            file.seek(number * SYNC_BYTES % SYNC_FILE_BYTES)
            file.write(os.urandom(SYNC_BYTES))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun) * 1e3)
    path.unlink()
    return took


def spread(took_ms: list[float]) -> dict[str, float]:
    """Return the percentiles of a list of milliseconds."""
    ordered = sorted(took_ms)
    at = {f"p{share}_ms": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95, 99)}
    return {"n": len(ordered), **{name: round(value, 3) for name, value in at.items()}}


def one_record(name: str) -> Callable[[Tx], int]:
    """A decision as a registration makes it: touch, count, one fact."""

    def decide(tx: Tx) -> int:
        tx.touch(ACME, f"name/{name}")
        tx.pending(ACME, "count/names")
        tx.append(ACME, Written(name=name, body="x" * FACT_BYTES), streams=(f"name/{name}",), counts={"count/names": 1})
        return 1

    return decide


def many_records(name: str) -> Callable[[Tx], int]:
    """A decision that writes `BATCH` facts."""

    def decide(tx: Tx) -> int:
        for number in range(BATCH):
            tx.append(ACME, Written(name=f"{name}-{number}", body="x" * FACT_BYTES), streams=(f"name/{name}-{number}",))
        return BATCH

    return decide


async def load(
    sequencer: Sequencer, writers: int, each: int, decision: Callable[[str], Callable[[Tx], int]]
) -> tuple[list[float], float, float]:
    """Let writers write; returns latencies in ms, seconds, and processor seconds."""
    took: list[float] = []

    async def writer(number: int) -> None:
        for turn in range(each):
            begun = time.perf_counter()
            await sequencer.submit(ACTOR, (ACME,), decision(f"{number}-{turn}"))
            took.append((time.perf_counter() - begun) * 1e3)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(writer(number) for number in range(writers)))
    return took, time.perf_counter() - begun, time.process_time() - cpu


async def one_round(directory: Path, *, singles: int, batches: int) -> dict[str, Any]:
    """Measure both forms on a new store."""
    before = disk_sync_ms(directory)
    log = await SqliteLog.open(directory / "hub.db", incarnation="bench")
    ring = KeyRing(os.urandom(KEY_BYTES), log)
    await ring.load()
    runner = Runner(log, ring, FactTypes([Written]), [Names()])
    await runner.start(MemorySnapshots())
    sequencer = Sequencer(log, ring, runner, SystemClock(), system_random)
    running = asyncio.create_task(sequencer.run())
    await load(sequencer, WRITERS, WARM_UP, one_record)
    gc.collect()
    gc.freeze()
    commits = sequencer.commits
    took, seconds, cpu = await load(sequencer, WRITERS, singles, one_record)
    single = {
        **spread(took),
        "per_s": round(len(took) / seconds),
        "commands_a_commit": round(len(took) / (sequencer.commits - commits), 1),
        "cpu_us_a_command": round(cpu / len(took) * 1e6, 1),
    }
    took, seconds, cpu = await load(sequencer, BATCH_WRITERS, batches, many_records)
    records = len(took) * BATCH
    batch = {
        **spread(took),
        "records_per_s": round(records / seconds),
        "cpu_us_a_record": round(cpu / records * 1e6, 1),
    }
    sequencer.close()
    await running
    check = await log.verify(ACME)
    assert check.broken_at is None
    assert check.checked == WRITERS * (singles + WARM_UP) + records, "every record of every answer is there"
    await log.close()
    return {"single": single, "batch": batch, "disk": spread(before + disk_sync_ms(directory))}


def measure(rounds: int, *, singles: int, batches: int) -> dict[str, Any]:
    """Run some rounds; returns each and the medians."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory(prefix="append-", dir="/var/tmp") as directory,
            asyncio.Runner(loop_factory=loop_factory()) as runner,
        ):
            found.append(runner.run(one_round(Path(directory), singles=singles, batches=batches)))
    return {
        "what": "durable append in process",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "writers": WRITERS,
        "single_p99_ms": statistics.median(one["single"]["p99_ms"] for one in found),
        "batch_records_per_s": statistics.median(one["batch"]["records_per_s"] for one in found),
        "disk_sync_p50_ms": statistics.median(one["disk"]["p50_ms"] for one in found),
        "disk_sync_p99_ms": statistics.median(one["disk"]["p99_ms"] for one in found),
        "bars": {"single_p99_ms": BAR_P99_MS, "batch_records_per_s": BAR_BATCH_RECORDS_S},
        "rounds": found,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    figures = measure(1, singles=40, batches=10) if short else measure(3, singles=300, batches=80)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
