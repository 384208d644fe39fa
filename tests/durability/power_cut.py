"""One run of the store under the recording disk, and the judgement of what a power cut leaves.

The run writes through the sequencer as a hub does: several domains, groups of commands, new data
keys, idempotency keys, checkpoints, retention, and a clean close with a second opening. Every
acknowledgement is noted against the journal's length at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from central_hub.adapters.keyring import KEY_BYTES, KeyRing
from central_hub.adapters.memory import MemorySnapshots
from central_hub.adapters.sqlite.log import SqliteLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import Actor, Applied, Record
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Committed, Sequencer, Tx
from tests.durability.disk import Disk, Journal, RecordingVfs

ACTOR: Final = Actor(principal="writer", kind="test")
DOMAINS: Final = tuple(DomainId(f"tenant-{number}") for number in range(4))
CHECKPOINT_PAGES: Final = 48
MASTER: Final = bytes(range(KEY_BYTES))
STEPS: Final = 24
DATABASE: Final = "hub.db"


class Set(Fact, frozen=True, kw_only=True):
    """A name got a value."""

    name: str
    value: bytes


class Values:
    """A view of names and values, as small as a view can be."""

    name = "values"
    facts: frozenset[type[Fact]] = frozenset({Set})

    def __init__(self) -> None:
        self.of: dict[DomainId, dict[str, bytes]] = {}

    def apply(self, applied: Applied) -> None:
        """Fold a fact."""
        assert isinstance(applied.fact, Set)
        self.of.setdefault(applied.domain, {})[applied.fact.name] = applied.fact.value

    def dump(self, domain: DomainId) -> Iterable[object]:
        """Yield a domain's values."""
        yield self.of.get(domain, {})

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take values back."""
        for chunk in chunks:
            self.of[domain] = msgspec.msgpack.decode(chunk, type=dict[str, bytes])


@dataclass(slots=True)
class Acknowledged:
    """A command that was answered: where it stands, and how long the journal was by then."""

    at: int
    pos: int
    key: Idempotency | None
    answer: str


@dataclass(slots=True)
class Run:
    """What happened in a run, for judging cuts of it."""

    journal: Journal
    records: list[Record] = field(default_factory=list)
    facts: list[tuple[DomainId, str, bytes]] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    snapshots: list[tuple[int, int]] = field(default_factory=list)  # (journal length, droppable position)
    checkpoints: int = 0


class Stack:
    """Log, keys, view and sequencer over one file, as a hub has them."""

    def __init__(self, log: SqliteLog, ring: KeyRing, values: Values, runner: Runner, sequencer: Sequencer) -> None:
        self.log = log
        self.ring = ring
        self.values = values
        self.runner = runner
        self.sequencer = sequencer


@contextlib.asynccontextmanager
async def stack(path: Path, clock: ManualClock, snapshots: MemorySnapshots, **options: Any) -> AsyncIterator[Stack]:
    """Open a store, rebuild its view, and let it be written to."""
    log = await SqliteLog.open(path, incarnation="run", **options)
    try:
        ring = KeyRing(MASTER, log)
        await ring.load()
        values = Values()
        runner = Runner(log, ring, FactTypes([Set]), [values])
        await runner.start(snapshots)
        sequencer = Sequencer(log, ring, runner, clock, random.Random(5).randbytes)
        running = asyncio.create_task(sequencer.run())
        try:
            yield Stack(log, ring, values, runner, sequencer)
        finally:
            sequencer.close()
            await running
    finally:
        await log.close()


async def record_run(seed: int, *, steps: int = STEPS) -> Run:
    """Write for `steps` groups of commands on a recorded disk, closing and opening it half-way."""
    run = Run(Journal())
    draw = random.Random(seed)
    vfs = RecordingVfs(f"recording-{seed}", run.journal)
    clock, snapshots = ManualClock(), MemorySnapshots()
    with _scratch() as directory:
        path = Path(directory) / DATABASE
        for half in range(2):
            options = {"vfs": f"recording-{seed}", "checkpoint_pages": CHECKPOINT_PAGES, "free": lambda _: 1 << 40}
            async with stack(path, clock, snapshots, **options) as made:
                for step in range(half * steps // 2, (half + 1) * steps // 2):
                    clock.advance(1_000)
                    await _write_group(made, run, draw, step)
                    if step % 9 == 8:
                        await _drop_old(made, run, snapshots, clock)
    vfs.unregister()
    return run


async def _write_group(made: Stack, run: Run, draw: random.Random, step: int) -> None:
    count = draw.choice((1, 1, 3, 17, 40))
    seen = made.runner.pos
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_write_one(made, run, random.Random(draw.random()), f"{step}-{number}"))
    for record in await made.log.read(seen, 10_000):
        applied = made.runner.opened(record)
        assert applied is not None
        assert isinstance(applied.fact, Set)
        run.records.append(record)
        run.facts.append((record.domain, applied.fact.name, applied.fact.value))


async def _write_one(made: Stack, run: Run, draw: random.Random, name: str) -> None:
    domain = draw.choice(DOMAINS)
    key = Idempotency(domain=domain, source="run", id=name) if draw.random() < 0.5 else None
    values = [draw.randbytes(draw.choice((10, 200, 3_000))) for _ in range(draw.choice((1, 1, 2, 5)))]

    def decide(tx: Tx) -> str:
        for number, value in enumerate(values):
            tx.append(domain, Set(name=f"{name}-{number}", value=value), streams=(f"name/{name}",))
        return f"answer {name}"

    committed: Committed[str] = await made.sequencer.submit(ACTOR, (domain,), decide, idempotency=key)
    run.acknowledged.append(Acknowledged(len(run.journal), committed.pos, key, committed.answer))


async def _drop_old(made: Stack, run: Run, snapshots: MemorySnapshots, clock: ManualClock) -> None:
    await made.runner.snapshot(snapshots)
    # Noted before anything is dropped: from here on a start may lean on this snapshot.
    run.snapshots.append((len(run.journal), made.runner.droppable_pos))
    await made.log.retain(behind_pos=made.runner.droppable_pos, before_ms=clock.now_ms() - 4_000, results_before_ms=0)


@dataclass(slots=True)
class Judgement:
    """What one cut showed; `violations` is empty when nothing that matters was lost."""

    violations: list[str]
    recovered_pos: int = 0


async def judge_cut(run: Run, disk: Disk, at: int, draw: random.Random, directory: Path) -> Judgement:
    """Cut the power behind the first `at` events of a run and hold what is left against what was promised."""
    for name, content in disk.cut(draw).items():
        (directory / name).write_bytes(content)
    promised = [one for one in run.acknowledged if one.at <= at]
    try:
        log = await SqliteLog.open(directory / DATABASE, incarnation="run")
    except HubError as error:
        return Judgement([f"does not open: {error.code} {error.internal}"])
    try:
        return await _judge(run, log, promised, max((pos for length, pos in run.snapshots if length <= at), default=0))
    except HubError as error:
        return Judgement([f"does not read: {error.code} {error.internal}"])
    finally:
        await log.close()


async def _judge(run: Run, log: SqliteLog, promised: list[Acknowledged], droppable: int) -> Judgement:
    violations: list[str] = []
    head = (await log.head()).pos
    found = await log.read(0, 100_000)
    first = found[0].pos if found else head + 1
    if promised and head < max(one.pos for one in promised):
        violations.append(f"acknowledged {max(one.pos for one in promised)}, found {head}")
    if first > droppable + 1:
        violations.append(f"dropped up to {first - 1}, snapshot at {droppable}")
    if [record.pos for record in found] != list(range(first, head + 1)):
        violations.append("a gap in the positions")
    if found != run.records[first - 1 : head]:
        violations.append("a record differs from what was written")
    for domain in DOMAINS:
        check = await log.verify(domain)
        if check.broken_at is not None:
            violations.append(f"chain of {domain} broken at {check.broken_at}")
    violations += await _judge_contents(run, log, found, promised)
    return Judgement(violations, head)


async def _judge_contents(run: Run, log: SqliteLog, found: list[Record], promised: list[Acknowledged]) -> list[str]:
    violations: list[str] = []
    ring = KeyRing(MASTER, log)
    await ring.load()
    values = Values()
    runner = Runner(log, ring, FactTypes([Set]), [values])
    runner.pos = found[0].pos - 1 if found else (await log.head()).pos
    await runner.catch_up()
    model: dict[DomainId, dict[str, bytes]] = {}
    for record in found:
        domain, name, value = run.facts[record.pos - 1]
        model.setdefault(domain, {})[name] = value
    if values.of != model:
        violations.append("the folded state differs from the model")
    for one in promised:
        if one.key is not None:
            kept = await log.lookup(one.key)
            if kept is None:
                violations.append(f"the result under {one.key.id} is lost")
    for key_of in {one.key for one in run.acknowledged if one.key is not None} - {one.key for one in promised}:
        if await log.lookup(key_of) is not None and key_of.id not in _names(run, found):
            violations.append(f"a result without its records: {key_of.id}")
    again = await _write_again(log, ring, runner)
    return violations + again


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory in memory where there is one: what is durable is simulated, no real disk need sync."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="power-cut-", dir=memory if memory.is_dir() else None)


def _names(run: Run, found: list[Record]) -> set[str]:
    return {run.facts[record.pos - 1][1].rpartition("-")[0] for record in found}


async def _write_again(log: SqliteLog, ring: KeyRing, runner: Runner) -> list[str]:
    """The recovered store takes writes, and the chain goes on."""
    sequencer = Sequencer(log, ring, runner, ManualClock(), random.Random(6).randbytes)
    running = asyncio.create_task(sequencer.run())

    def decide(tx: Tx) -> None:
        tx.append(DOMAINS[0], Set(name="after", value=b"after"), streams=("name/after",))

    await sequencer.submit(ACTOR, (DOMAINS[0],), decide)
    sequencer.close()
    await running
    check = await log.verify(DOMAINS[0])
    return [] if check.broken_at is None else [f"the chain breaks at the first write after the cut: {check.broken_at}"]


@dataclass(slots=True)
class Outcome:
    """Cuts tried, and every violation found."""

    points: int = 0
    events: int = 0
    commands: int = 0
    violations: list[str] = field(default_factory=list)
    unacknowledged_kept: int = 0


async def try_cuts(seed: int, points: int, *, steps: int = STEPS) -> Outcome:
    """Record one run and cut the power at `points` moments spread over it.

    Args:
        seed: of the run and of every cut.
        points: cuts; each at its own moment, in a manner of its own.
        steps: groups of commands in the run.
    """
    run = await record_run(seed, steps=steps)
    outcome = Outcome(events=len(run.journal), commands=len(run.acknowledged))
    draw = random.Random(seed)
    moments = sorted(draw.choices(range(len(run.journal) + 1), k=points))
    disk, played = Disk(), 0
    for number, at in enumerate(moments):
        disk.play(run.journal.events[played:at])
        played = at
        with _scratch() as directory:
            judged = await judge_cut(run, disk, at, random.Random(seed * 1_000_003 + number), Path(directory))
        outcome.points += 1
        promised = max((one.pos for one in run.acknowledged if one.at <= at), default=0)
        outcome.unacknowledged_kept += judged.recovered_pos > promised
        outcome.violations += [f"seed {seed}, cut {number} at event {at}: {text}" for text in judged.violations]
    return outcome
