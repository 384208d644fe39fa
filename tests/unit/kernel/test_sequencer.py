"""The sequencer: serial decisions, one commit for many, escrow, parking, conflicts and failures."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import pytest

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact, FactTypes, encode_fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Accepted, Append, Conflict, Duplicate, Head, Idempotency, Verdict
from central_hub.kernel.records import GENESIS_HASH, Actor, Applied, Category, Record
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import CONFLICT_RETRIES_MAX, GROUP_COMMIT_MAX, Sequencer, Tx

ACME = DomainId("acme")
ACTOR = Actor(principal="tester", kind="test")


class Added(Fact, frozen=True, kw_only=True):
    """A name was taken."""

    name: str


class Names:
    """A view of names per domain, as small as a view can be."""

    name = "names"
    facts: frozenset[type[Fact]] = frozenset({Added})

    def __init__(self) -> None:
        self.names: dict[DomainId, list[str]] = {}

    def apply(self, applied: Applied) -> None:
        assert isinstance(applied.fact, Added)
        self.names.setdefault(applied.domain, []).append(applied.fact.name)

    def dump(self, domain: DomainId) -> Iterable[object]:
        yield self.names.get(domain, [])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        raise AssertionError("not used here")


class PlainSealer:
    """Seals nothing: what is sealed is the sealed thing's business, tested with the key ring."""

    def seal(self, domain: DomainId, plain: bytes, associated: bytes) -> tuple[str, bytes]:
        return "k", plain

    def open(self, domain: DomainId, key_id: str, sealed: bytes, associated: bytes) -> bytes:
        return sealed

    def is_shredded(self, domain: DomainId) -> bool:
        return False

    async def ensure(self, domain: DomainId) -> None:
        return None

    async def refresh(self) -> None:
        return None


class ScriptedLog:
    """A log in a list that can be told to wait, to fail, or to let somebody else write first."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.batches: list[int] = []
        self.results: dict[Idempotency, bytes] = {}
        self.failures: list[HubError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[Append], None] | None = None

    def put(self, append: Append) -> tuple[Record, ...]:
        placed: list[Record] = []
        for one in append.records:
            seq = sum(record.domain == one.domain for record in self.records) + 1
            record = Record(
                pos=len(self.records) + 1, domain=one.domain, domain_seq=seq, streams=one.streams,
                category=one.category, type=one.type, schema_rev=1, id=one.id, time_ms=one.time_ms, actor=one.actor,
                key_id=one.key_id, prev_hash=GENESIS_HASH, hash=GENESIS_HASH, data=one.data,
            )  # fmt: skip
            self.records.append(record)
            placed.append(record)
        return tuple(placed)

    def foreign(self, name: str, stream: str) -> None:
        """Write as another hub would, between decide and append."""
        fact = Added(name=name)
        seq = sum(record.domain == ACME for record in self.records) + 1
        self.records.append(
            Record(
                pos=len(self.records) + 1, domain=ACME, domain_seq=seq, streams=(stream,), category=Category.FACT,
                type="Added", schema_rev=1, id="f", time_ms=0, actor=ACTOR, key_id="k", prev_hash=GENESIS_HASH,
                hash=GENESIS_HASH, data=encode_fact(fact),
            )
        )  # fmt: skip

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        await self.gate.wait()
        self.batches.append(len(batch))
        if self.failures:
            raise self.failures.pop()
        verdicts: list[Verdict] = []
        for one in batch:
            if self.before is not None:
                self.before(one)
            moved = {
                (record.domain, stream)
                for record in self.records[one.decided_at :]
                if record.id == "f"
                for stream in record.streams
            }
            if one.idempotency in self.results:
                verdicts.append(Duplicate(self.results[one.idempotency]))
            elif moved & one.reads:
                verdicts.append(Conflict())
            else:
                if one.idempotency is not None:
                    self.results[one.idempotency] = one.result
                verdicts.append(Accepted(self.put(one)))
        return verdicts

    async def read(self, after: int, limit: int) -> list[Record]:
        return self.records[after : after + limit]

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        return [record for record in self.records if record.domain == domain][after_seq : after_seq + limit]

    async def head(self) -> Head:
        return Head(pos=len(self.records), incarnation="i")

    async def lookup(self, key: Idempotency) -> bytes | None:
        return self.results.get(key)

    async def close(self) -> None:
        return None


class World:
    """A sequencer over a scripted log, and the use case every test calls."""

    def __init__(self, log: ScriptedLog, view: Names, sequencer: Sequencer, runner: Runner) -> None:
        self.log = log
        self.view = view
        self.sequencer = sequencer
        self.runner = runner
        self.decisions = 0

    async def add(self, name: str, *, limit: int = 10_000, key: str = "") -> str:
        """Take a name: unique within the domain, and at most `limit` of them."""

        def decide(tx: Tx) -> str:
            self.decisions += 1
            tx.touch(ACME, f"name/{name}")
            taken = self.view.names.get(ACME, [])
            if name in taken:
                raise HubError("taken", Kind.CONFLICT, "taken")
            if len(taken) + tx.pending(ACME, "count/names") >= limit:
                raise HubError("full", Kind.LIMIT, "full")
            tx.append(ACME, Added(name=name), streams=(f"name/{name}",), counts={"count/names": 1})
            return name.upper()

        idempotency = Idempotency(domain=ACME, source="t", id=key) if key else None
        committed = await self.sequencer.submit(ACTOR, (ACME,), decide, idempotency=idempotency)
        return committed.answer


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    log, view = ScriptedLog(), Names()
    runner = Runner(log, PlainSealer(), FactTypes([Added]), [view])
    sequencer = Sequencer(log, PlainSealer(), runner, ManualClock(), lambda count: bytes(count))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sequencer.run())
        yield World(log, view, sequencer, runner)
        log.gate.set()
        sequencer.close()


async def test_what_is_acknowledged_is_in_the_log_and_in_the_view() -> None:
    async with running() as world:
        assert await world.add("a") == "A"
        assert [record.type for record in world.log.records] == ["Added"]
        assert world.view.names[ACME] == ["a"]
        assert world.runner.position(ACME) == 1


async def test_independent_commands_share_a_commit() -> None:
    async with running() as world:
        await asyncio.gather(*(world.add(f"n{i}") for i in range(GROUP_COMMIT_MAX + 10)))
        assert world.log.batches == [GROUP_COMMIT_MAX, 10]


async def test_nobody_sees_what_is_not_durable() -> None:
    async with running() as world:
        world.log.gate.clear()
        task = asyncio.create_task(world.add("a"))
        await asyncio.sleep(0.01)
        assert world.view.names == {}
        world.log.gate.set()
        await task


async def test_a_command_on_a_stream_being_written_waits_and_is_decided_on_the_outcome() -> None:
    async with running() as world:
        first, second = await asyncio.gather(world.add("a"), world.add("a"), return_exceptions=True)
        assert first == "A"
        assert isinstance(second, HubError)
        assert second.code == "taken"
        assert len(world.log.records) == 1


async def test_after_a_failed_commit_the_waiting_command_goes_through() -> None:
    async with running() as world:
        world.log.failures.append(HubError("store_unavailable", Kind.UNAVAILABLE, "no"))
        first, second = await asyncio.gather(world.add("a"), world.add("a"), return_exceptions=True)
        assert isinstance(first, HubError)
        assert first.code == "store_unavailable"
        assert second == "A"
        assert world.view.names[ACME] == ["a"]


async def test_a_limit_counts_what_is_not_durable_yet() -> None:
    async with running() as world:
        answers = await asyncio.gather(*(world.add(f"n{i}", limit=5) for i in range(20)), return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 5
        assert len(world.log.records) == 5


async def test_escrow_is_given_back_when_a_commit_fails() -> None:
    async with running() as world:
        world.log.failures.append(HubError("store_unavailable", Kind.UNAVAILABLE, "no"))
        await asyncio.gather(*(world.add(f"n{i}", limit=5) for i in range(5)), return_exceptions=True)
        answers = await asyncio.gather(*(world.add(f"m{i}", limit=5) for i in range(6)), return_exceptions=True)
        assert sum(isinstance(answer, str) for answer in answers) == 5


async def test_a_retry_with_the_same_key_gets_the_first_answer_even_if_it_would_be_refused_now() -> None:
    async with running() as world:
        assert await world.add("a", key="k") == "A"
        assert await world.add("a", key="k") == "A"
        assert len(world.log.records) == 1


async def test_two_retries_at_once_write_once() -> None:
    async with running() as world:
        assert await asyncio.gather(world.add("a", key="k"), world.add("a", key="k")) == ["A", "A"]
        assert len(world.log.records) == 1


async def test_a_command_that_lost_to_another_hub_is_decided_again_on_what_they_wrote() -> None:
    async with running() as world:
        world.log.before = lambda append: world.log.foreign("a", "name/a") if not world.log.records else None
        with pytest.raises(HubError, match="taken"):
            await world.add("a")
        assert world.view.names[ACME] == ["a"]


async def test_an_unrelated_foreign_record_is_no_conflict_and_is_applied_first() -> None:
    async with running() as world:
        world.log.before = lambda append: world.log.foreign("z", "name/z") if not world.log.records else None
        assert await world.add("a") == "A"
        assert world.view.names[ACME] == ["z", "a"]


async def test_a_command_that_always_loses_is_told_so() -> None:
    async with running() as world:
        world.log.before = lambda append: world.log.foreign(f"z{len(world.log.records)}", "name/a")
        with pytest.raises(HubError, match="contended"):
            await world.add("a")
        assert world.decisions == CONFLICT_RETRIES_MAX


async def test_a_bug_in_a_decision_reaches_its_caller_and_nobody_else() -> None:
    async with running() as world:

        def broken(tx: Tx) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await world.sequencer.submit(ACTOR, (ACME,), broken)
        assert await world.add("a") == "A"


async def test_closing_refuses_new_commands_and_finishes_the_decided_ones() -> None:
    async with running() as world:
        world.log.gate.clear()
        task = asyncio.create_task(world.add("a"))
        await asyncio.sleep(0.01)
        world.sequencer.close()
        with pytest.raises(HubError, match="overloaded"):
            await world.add("b")
        world.log.gate.set()
        assert await task == "A"


async def test_a_store_that_fails_unexpectedly_fails_its_commands_and_the_hub_goes_on() -> None:
    async with running() as world:

        def broken(append: Append) -> None:
            raise ZeroDivisionError

        world.log.before = broken
        with pytest.raises(ZeroDivisionError):
            await world.add("a")
        world.log.before = None
        assert await world.add("a") == "A"


async def test_what_is_durable_and_not_applied_is_said_to_be_unknown_and_applied_later() -> None:
    async with running() as world:
        fail = [True]

        def listener(batch: Sequence[Applied]) -> None:
            if fail.pop():
                raise ZeroDivisionError
            fail.append(False)

        world.runner.listen(listener)
        with pytest.raises(HubError) as unknown:
            await world.add("a")
        assert unknown.value.code == "outcome_unknown"
        fail.append(False)
        assert await world.add("b") == "B"
        assert world.view.names[ACME] == ["a", "b"]
