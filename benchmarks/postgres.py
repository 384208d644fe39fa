"""Durable append on PostgreSQL through the store, beside a bare COPY and a bare INSERT of the same bytes.

    python benchmarks/postgres.py            # the full form: three rounds
    python benchmarks/postgres.py --short    # as the tests run it

The whole write path without HTTP (decide, encode, seal, chain, group commit, apply, answer) on a
server of its own with `fsync` and `synchronous_commit` on, row-level security forced, the hub's
role owning nothing. The limit measured in the same run on the same server: records of the same
size put into a plain table without index, wall or chain, committed as often, by COPY and by
INSERT of arrays. Everything shares the machine's cores, the server included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.append import (
    ACME,
    BATCH,
    BATCH_WRITERS,
    WRITERS,
    Names,
    Written,
    load,
    many_records,
    one_record,
    spread,
)
from central_hub.adapters.clock import SystemClock, system_random
from central_hub.adapters.keyring import KEY_BYTES, KeyRing
from central_hub.adapters.memory import MemorySnapshots
from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.adapters.postgres.migrations import prepare
from central_hub.edge.server import loop_factory
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.runner import REPLAY_PAGE, Runner
from central_hub.kernel.sequencer import Sequencer
from tools.postgres_server import PostgresServer

BAR_BATCH_RECORDS_S: Final = 15_000
BARE_ROWS: Final = 600
"""Records a transaction of the bare forms: what a group commit of the batches comes to."""
STORED_BYTES: Final = 420
"""Bytes of one bare record: sealed data, hashes, ids and actor of a stored one."""


async def furnished(server: PostgresServer, name: str) -> str:
    """Make a database for a hub; returns its address."""
    server.sql(f"CREATE DATABASE {name} OWNER owner")
    connection = await asyncpg.connect(server.address(name, "owner"))
    await prepare(connection, "hub")
    await connection.execute("CREATE TABLE public.bare (pos bigint, data bytea)")
    await connection.close()
    return server.address(name, "hub")


async def bare(address: str, seconds: float) -> dict[str, int]:
    """Put the same bytes into a plain table by COPY and by INSERT; returns records a second of each."""
    connection = await asyncpg.connect(address)
    await connection.execute("SET synchronous_commit = on")
    insert = "INSERT INTO public.bare SELECT * FROM unnest($1::bigint[], $2::bytea[])"
    found: dict[str, int] = {}
    for form in ("copy", "insert"):
        begun, count = time.perf_counter(), 0
        while (took := time.perf_counter() - begun) < seconds:
            rows = [(count + at, os.urandom(STORED_BYTES)) for at in range(BARE_ROWS)]
            if form == "copy":
                await connection.copy_records_to_table("bare", records=rows, schema_name="public")
            else:
                await connection.execute(insert, *zip(*rows, strict=True))
            count += BARE_ROWS
        found[form] = round(count / took)
    await connection.close()
    return found


async def replayed(log: PostgresLog) -> int:
    """Read the whole log as a start does; returns records a second."""
    begun, pos, count = time.perf_counter(), 0, 0
    while page := await log.read(pos, REPLAY_PAGE):
        pos, count = page[-1].pos, count + len(page)
    return round(count / (time.perf_counter() - begun))


async def one_round(server: PostgresServer, name: str, *, singles: int, batches: int, seconds: float) -> dict[str, Any]:
    """Measure every form on a new database."""
    address = await furnished(server, name)
    limit = await bare(server.address(name, "owner"), seconds)
    log = await PostgresLog.open(parse_address(address), mint=lambda: "bench")
    ring = KeyRing(os.urandom(KEY_BYTES), log)
    await ring.load()
    runner = Runner(log, ring, FactTypes([Written]), [Names()])
    await runner.start(MemorySnapshots())
    sequencer = Sequencer(log, ring, runner, SystemClock(), system_random)
    running = asyncio.create_task(sequencer.run())
    await load(sequencer, WRITERS, 5, one_record)
    gc.collect()
    gc.freeze()
    took, elapsed, cpu = await load(sequencer, WRITERS, singles, one_record)
    single = {**spread(took), "per_s": round(len(took) / elapsed), "cpu_us_a_command": round(cpu / len(took) * 1e6, 1)}
    took, elapsed, cpu = await load(sequencer, BATCH_WRITERS, batches, many_records)
    records = len(took) * BATCH
    batch = {
        **spread(took),
        "records_per_s": round(records / elapsed),
        "cpu_us_a_record": round(cpu / records * 1e6, 1),
    }
    sequencer.close()
    await running
    check = await log.verify(ACME)
    assert check.broken_at is None
    assert check.checked == WRITERS * (singles + 5) + records, "every record of every answer is there"
    replay = await replayed(log)
    await log.close()
    return {"single": single, "batch": batch, "bare": limit, "replay_records_per_s": replay}


def measure(rounds: int, *, singles: int, batches: int, seconds: float) -> dict[str, Any]:
    """Run some rounds on one server; returns each and the medians."""
    found: list[dict[str, Any]] = []
    server = PostgresServer.initialised()
    try:
        for role in ("owner", "hub"):
            server.sql(f"CREATE ROLE {role} LOGIN")
        names = (f"bench_{number}" for number in itertools.count())
        for _ in range(rounds):
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                work = one_round(server, next(names), singles=singles, batches=batches, seconds=seconds)
                found.append(runner.run(work))
        version = server.sql("SHOW server_version").split()[0]
    finally:
        server.remove()
    return {
        "what": "durable append on PostgreSQL through the store",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "server": f"PostgreSQL {version}, fsync on, synchronous_commit on, on the same machine",
        "batch_records_per_s": statistics.median(one["batch"]["records_per_s"] for one in found),
        "single_per_s": statistics.median(one["single"]["per_s"] for one in found),
        "single_p99_ms": statistics.median(one["single"]["p99_ms"] for one in found),
        "replay_records_per_s": statistics.median(one["replay_records_per_s"] for one in found),
        "bare_copy_records_per_s": statistics.median(one["bare"]["copy"] for one in found),
        "bare_insert_records_per_s": statistics.median(one["bare"]["insert"] for one in found),
        "bars": {"batch_records_per_s": BAR_BATCH_RECORDS_S},
        "rounds": found,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    form = {"singles": 20, "batches": 10, "seconds": 0.5} if short else {"singles": 200, "batches": 60, "seconds": 3.0}
    print(json.dumps(measure(1 if short else 3, **form), indent=2))  # pyright: ignore[reportArgumentType]  # as measure takes them


if __name__ == "__main__":
    main()
