"""The runner: replay in order, snapshots taken while writes go on, and loud refusals."""

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Section
from central_hub.kernel.records import Applied, Category
from central_hub.kernel.runner import Runner
from tests.unit.kernel.test_sequencer import ACME, ACTOR, Added, Names, PlainSealer, ScriptedLog

GLOBEX = DomainId("globex")


class RestorableNames(Names):
    """Names that can be taken back from a snapshot."""

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        self.names[domain] = [name for chunk in chunks for name in msgspec.msgpack.decode(chunk, type=list[str])]


class KeptSnapshot:
    """One snapshot, in memory."""

    def __init__(self) -> None:
        self.kept: tuple[int, str, list[Section]] | None = None

    async def save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> None:
        self.kept = (pos, incarnation, list(sections))

    async def load(self) -> tuple[int, str, list[Section]] | None:
        return self.kept


def _runner(log: ScriptedLog, view: Names, *types: type[Fact]) -> Runner:
    return Runner(log, PlainSealer(), FactTypes(types or (Added,)), [view])


async def test_a_start_without_snapshot_replays_the_whole_log() -> None:
    log, view = ScriptedLog(), RestorableNames()
    for index in range(200):
        log.foreign(f"n{index}", "name")
    runner = _runner(log, view)
    await runner.start(KeptSnapshot())
    assert view.names[ACME] == [f"n{index}" for index in range(200)]
    assert (runner.pos, runner.position(ACME)) == (200, 200)


async def test_a_start_takes_the_snapshot_and_only_the_tail_after_it() -> None:
    log, view, kept = ScriptedLog(), RestorableNames(), KeptSnapshot()
    log.foreign("a", "name")
    runner = _runner(log, view)
    await runner.start(kept)
    await runner.snapshot(kept)
    log.foreign("b", "name")
    again = RestorableNames()
    restarted = _runner(log, again)
    reads: list[int] = []
    read = log.read

    async def counted(after: int, limit: int) -> list[object]:
        reads.append(after)
        return await read(after, limit)  # type: ignore[return-value]

    log.read = counted  # type: ignore[method-assign,assignment]
    await restarted.start(kept)
    assert again.names[ACME] == ["a", "b"]
    assert reads[0] == 1


async def test_a_snapshot_of_another_incarnation_is_not_used() -> None:
    log, view, kept = ScriptedLog(), RestorableNames(), KeptSnapshot()
    log.foreign("a", "name")
    kept.kept = (1, "another history", [])
    await _runner(log, view).start(kept)
    assert view.names[ACME] == ["a"]


async def test_facts_already_in_a_section_are_not_applied_twice() -> None:
    """A section may be newer than the snapshot's position: writes go on while it is taken."""
    log, view, kept = ScriptedLog(), RestorableNames(), KeptSnapshot()
    log.foreign("a", "name")
    log.foreign("b", "name")
    kept.kept = (
        1,
        "i",
        [Section(view="names", domain=ACME, domain_seq=2, chunks=(msgspec.msgpack.encode(["a", "b"]),))],
    )
    await _runner(log, view).start(kept)
    assert view.names[ACME] == ["a", "b"]


async def test_an_unknown_record_type_stops_the_start() -> None:
    class Unrelated(Fact, frozen=True, kw_only=True):
        pass

    log = ScriptedLog()
    log.foreign("a", "name")
    with pytest.raises(HubError, match="unknown_record_type"):
        await _runner(log, Names(), Unrelated).start(KeptSnapshot())


async def test_listeners_hear_of_a_batch_once_after_the_views_have_it() -> None:
    view = Names()
    runner = _runner(ScriptedLog(), view)
    heard: list[int] = []
    runner.listen(lambda batch: heard.append(len(view.names[ACME])))
    runner.apply([_applied(1, "a"), _applied(2, "b")])
    assert heard == [2]


async def test_only_facts_change_views() -> None:
    view = Names()
    runner = _runner(ScriptedLog(), view)
    runner.apply([msgspec.structs.replace(_applied(1, "a"), category=Category.AUDIT)])
    assert view.names == {}
    assert runner.position(ACME) == 1


def _applied(seq: int, name: str) -> Applied:
    return Applied(
        pos=seq, domain=ACME, domain_seq=seq, streams=("name",), category=Category.FACT, type="Added", id=str(seq),
        time_ms=0, actor=ACTOR, fact=Added(name=name),
    )  # fmt: skip
