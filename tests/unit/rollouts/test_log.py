"""Rollouts and the log: an abort wins in every interleaving, a start finds what was acknowledged, snapshots hold."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import msgspec
import pytest

from central_hub.adapters.memory import MemoryLog, MemorySnapshots
from central_hub.configuration.model import FACTS as CONFIGURATION_FACTS
from central_hub.configuration.model import ConfigurationReloaded, Layer
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Append
from central_hub.kernel.runner import Runner
from central_hub.rollouts.model import (
    ENDED_KEPT_MAX,
    FACTS,
    Rollout,
    RolloutEnded,
    RolloutPaused,
    RolloutStageEntered,
    Stage,
    State,
    rollout_stream,
)
from central_hub.rollouts.rules import MOVES, Move
from central_hub.rollouts.view import RolloutsView
from tests.unit.rollouts.support import House, opened

EVERYONE = (Stage(percent=100, bake_s=0),)
HUBS_OWN = (Move.ENTER, Move.COMPLETE, Move.ROLL_BACK)
OTHERS = (*HUBS_OWN, Move.PAUSE, Move.RESUME, Move.PROMOTE)
NAMES = [f"i-{number}" for number in range(20)]


def once_before_the_next_append(house: House, *facts: Fact, streams: Sequence[str]) -> None:
    """Let another hub write facts between the next decision and its append."""

    def intrude(log: MemoryLog, batch: Sequence[Append]) -> None:
        log.adversary = None
        for fact in facts:
            log.write_as_another_hub(house.keys, PLATFORM, fact, tuple(streams))

    house.log.adversary = intrude


async def settled(house: House, rollout: Rollout, moves: Sequence[Move]) -> None:
    """Do all of them at the same moment; what is refused is refused."""

    async def one(move: Move) -> None:
        stage = rollout.stage if move in HUBS_OWN else None
        await house.do(rollout, move, stage=stage)

    done = await asyncio.gather(*(one(move) for move in moves), return_exceptions=True)
    assert {each.code for each in done if isinstance(each, HubError)} <= {"rollout_ended", "stage_moved"}
    assert not [each for each in done if isinstance(each, BaseException) and not isinstance(each, HubError)]


def nobody_has_it(house: House) -> bool:
    layer = house.layers.current(PLATFORM, Layer())
    return not house.exposed(NAMES) and house.effective.of(DomainId("acme")).leaves["/risk/depth"] == 1 and bool(layer)


@pytest.mark.parametrize("others", [*itertools.permutations(OTHERS, 1), *itertools.permutations(OTHERS, 2)])
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_an_abort_wins_over_whatever_is_done_at_the_same_moment(others: tuple[Move, ...], at: int) -> None:
    if at > len(others):
        return
    async with opened() as house:
        for name in NAMES:
            house.instance(name)
        one = await house.look(await house.start(stages=EVERYONE))
        await settled(house, one, (*others[:at], Move.ABORT, *others[at:]))
        ended = house.rollouts.get(PLATFORM, one.id)
        assert ended.state in (State.ABORTED, State.ROLLED_BACK)
        assert nobody_has_it(house)


@pytest.mark.parametrize("theirs", ["enter", "complete", "roll_back", "pause"])
async def test_an_abort_wins_over_what_another_hub_committed_in_between(theirs: str) -> None:
    async with opened() as house:
        for name in NAMES:
            house.instance(name)
        stages = (Stage(percent=10), Stage(percent=100))
        one = await house.look(await house.start(stages=stages))
        layer = Layer()
        streams = (rollout_stream(one.id), layer.stream)
        made = ConfigurationReloaded(layer=("", "", "", ""), revision=2, document={"risk": {"depth": 9}})
        facts: dict[str, tuple[Fact, ...]] = {
            "enter": (RolloutStageEntered(rollout_id=one.id, stage=2, thresholds=one.thresholds),),
            "complete": (made, RolloutEnded(rollout_id=one.id, state=State.COMPLETED, revisions=(2,))),
            "roll_back": (RolloutEnded(rollout_id=one.id, state=State.ROLLED_BACK, gate="errors"),),
            "pause": (RolloutPaused(rollout_id=one.id),),
        }
        once_before_the_next_append(house, *facts[theirs], streams=streams)
        ended = await house.do(one, Move.ABORT)
        assert ended.state is (State.ROLLED_BACK if theirs == "roll_back" else State.ABORTED)
        assert nobody_has_it(house)


@pytest.mark.parametrize("move", [Move.ENTER, Move.COMPLETE])
async def test_a_step_finds_an_abort_that_another_hub_committed_in_between(move: Move) -> None:
    async with opened() as house:
        for name in NAMES:
            house.instance(name)
        one = await house.look(await house.start(stages=EVERYONE))
        aborted = RolloutEnded(rollout_id=one.id, state=State.ABORTED)
        once_before_the_next_append(house, aborted, streams=(rollout_stream(one.id), Layer().stream))
        ended = await house.do(one, move, stage=one.stage)
        assert ended.state is State.ABORTED
        assert nobody_has_it(house)


async def test_a_change_finds_a_rollout_that_began_in_between() -> None:
    async with opened() as house:
        house.instance("i-1")
        starting = asyncio.create_task(house.start())
        changing = asyncio.create_task(house.change(5))
        done = await asyncio.gather(starting, changing, return_exceptions=True)
        assert isinstance(done[0], Rollout)
        assert isinstance(done[1], HubError)
        assert done[1].code == "layer_in_rollout"


async def restarted(house: House, snapshots: MemorySnapshots) -> RolloutsView:
    view = RolloutsView()
    types = FactTypes((*CONFIGURATION_FACTS, *FACTS))
    runner = Runner(house.log, house.keys, types, [ConfigurationView(), view])
    await runner.start(snapshots)
    return view


@pytest.mark.parametrize("snapshot", [False, True])
async def test_a_start_finds_every_rollout_as_it_was(snapshot: bool) -> None:
    async with opened() as house:
        for name in NAMES:
            house.instance(name)
        ended = await house.look(await house.start())
        await house.do(ended, Move.ABORT, reason="no")
        one = await house.look(await house.start())
        assert one.stage == 1
        snapshots = MemorySnapshots()
        if snapshot:
            await house.runner.snapshot(snapshots)
        view = await restarted(house, snapshots)
        assert view.rollouts(PLATFORM) == house.view.rollouts(PLATFORM)
        assert view.going_on(PLATFORM) == house.view.going_on(PLATFORM)
        assert view.holder(PLATFORM, Layer()) == one.id
        assert msgspec.to_builtins(view.rollout(PLATFORM, one.id)) == msgspec.to_builtins(one)


async def test_only_so_many_that_are_over_are_kept() -> None:
    async with opened() as house:
        for number in range(ENDED_KEPT_MAX + 3):
            await house.look(await house.start(depth=number + 100))
        kept = house.view.rollouts(PLATFORM)
        assert len(kept) == ENDED_KEPT_MAX
        assert kept[0].started_ms >= kept[-1].started_ms
        assert kept[0].revisions == (ENDED_KEPT_MAX + 4,)


def test_every_state_that_an_abort_finds_ends_with_nobody_exposed() -> None:
    for state, moves in MOVES.items():
        assert moves[Move.ABORT] in (State.ABORTED, "stays"), state
