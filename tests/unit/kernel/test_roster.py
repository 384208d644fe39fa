"""Who of several hubs does what: never two at once, whatever stands still, is late, comes or goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from central_hub.kernel.ownership import Alone
from central_hub.kernel.roster import (
    ANSWERS_KEPT_MAX,
    GAP_MS,
    HELD_MS,
    SILENT_MS,
    UNSETTLED_MAX,
    Member,
    RosterOwnership,
    winner,
)

NODES: Final = ("http://a:7000", "http://b:7000", "http://c:7000")
KEYS: Final = tuple(f"tenant-{number}" for number in range(12))


class Table:
    """The roster as the store keeps it."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: dict[str, Member] = {}

    def join(self, node: str, process: str) -> int:
        self.version += 1
        self.rows[node] = Member(node=node, epoch=self.version, process=process)
        return self.version

    def drop(self, node: str, epoch: int, beats: int | None) -> bool:
        row = self.rows.get(node)
        if row is None or row.epoch != epoch or (beats is not None and row.beats != beats):
            return False
        del self.rows[node]
        self.version += 1
        return True

    def beat(self, node: str, epoch: int, beats: int, seen: int) -> bool:
        row = self.rows.get(node)
        if row is None or row.epoch != epoch:
            return False
        self.rows[node] = msgspec.structs.replace(row, beats=beats, seen=seen)
        return True


class Hub:
    """One run of a hub, with a clock of its own that is as fast as the others'."""

    def __init__(self, node: str, table: Table, now_ms: list[float], process: int) -> None:
        self.node, self.table, self.process = node, table, f"{node}#{process}"
        self.now_ms = now_ms
        self.ownership = RosterOwnership(node, lambda: now_ms[0])
        self.epoch = 0
        self.beats = 0
        self.asked: tuple[float, int, list[Member]] | None = None

    def join(self) -> None:
        replaced = self.node in self.table.rows and self.table.rows[self.node].process != self.process
        self.epoch, self.beats, self.asked = self.table.join(self.node, self.process), 0, None
        self.ownership.joined(replaced=replaced)

    def ask(self) -> None:
        """Send a beat; the store takes it, and the answer is on its way."""
        self.beats += 1
        seen, asked_ms = self.ownership.version, self.now_ms[0]
        if not self.table.beat(self.node, self.epoch, self.beats, seen):
            self.epoch, self.asked = 0, None
            self.ownership.lost()
            return
        self.asked = (asked_ms, self.table.version, list(self.table.rows.values()))

    def answer(self) -> None:
        if self.asked is not None:
            asked_ms, version, members = self.asked
            self.asked = None
            self.ownership.confirmed(asked_ms, version, members)
            for silent in self.ownership.silent():
                self.table.drop(silent.node, silent.epoch, silent.beats)

    def owned(self) -> set[str]:
        return {key for key in KEYS if self.ownership.owns("delivery", key)}


class Hubs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.now_ms = [1_000_000.0]
        self.runs = 0
        self.hubs: dict[str, Hub] = {}
        self.ghosts: list[Hub] = []

    def a_hub(self, node: str) -> Hub:
        self.runs += 1
        made = self.hubs[node] = Hub(node, self.table, self.now_ms, self.runs)
        made.join()
        return made

    @rule(node=st.sampled_from(NODES))
    def beat(self, node: str) -> None:
        hub = self.hubs.get(node) or self.a_hub(node)
        if not hub.epoch:
            hub.join()
        hub.answer()
        hub.ask()
        hub.answer()

    @rule(node=st.sampled_from(NODES))
    def ask(self, node: str) -> None:
        hub = self.hubs.get(node)
        if hub is not None and hub.epoch and hub.asked is None:
            hub.ask()

    @rule(node=st.sampled_from(NODES))
    def answer(self, node: str) -> None:
        if (hub := self.hubs.get(node)) is not None:
            hub.answer()

    @rule(node=st.sampled_from(NODES))
    def leave(self, node: str) -> None:
        if (hub := self.hubs.pop(node, None)) is not None:
            hub.ownership.lost()
            self.table.drop(node, hub.epoch, None)

    @rule(node=st.sampled_from(NODES))
    def begin_again_while_the_last_run_stands_still(self, node: str) -> None:
        if (hub := self.hubs.get(node)) is not None:
            self.ghosts.append(hub)
            self.a_hub(node)

    @precondition(lambda self: self.ghosts)
    @rule()
    def a_ghost_wakes(self) -> None:
        self.ghosts[-1].answer()

    @rule(ms=st.sampled_from([10.0, 400.0, 900.0, GAP_MS + 1, HELD_MS, SILENT_MS]))
    def time_goes_on(self, ms: float) -> None:
        self.now_ms[0] += ms

    @rule()
    def everybody_beats_for_a_while(self) -> None:
        for _ in range(8):
            for hub in self.hubs.values():
                if not hub.epoch:
                    hub.join()
                hub.ask()
                hub.answer()
            self.now_ms[0] += 500
        if self.hubs:
            owned = [key for hub in self.hubs.values() for key in hub.owned()]
            assert sorted(owned) == sorted(KEYS), "everything is somebody's when nothing is in doubt"

    @invariant()
    def nobody_owns_what_another_owns(self) -> None:
        seen: dict[str, str] = {}
        for hub in (*self.hubs.values(), *self.ghosts):
            for key in hub.owned():
                assert key not in seen, f"{key}: {seen[key]} and {hub.process}"
                seen[key] = hub.process


TestHubs = Hubs.TestCase
TestHubs.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def members(*nodes: str, version: int) -> list[Member]:
    return [Member(node=node, epoch=1, process=node, seen=version) for node in nodes]


def alone(now_ms: list[float]) -> RosterOwnership:
    ownership = RosterOwnership(NODES[0], lambda: now_ms[0])
    ownership.joined(replaced=False)
    ownership.confirmed(now_ms[0], 1, members(NODES[0], version=1))
    return ownership


@given(st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=8), st.text(max_size=8))
def test_a_member_that_leaves_moves_only_what_was_its_own(nodes: set[str], key: str) -> None:
    ordered = sorted(nodes)
    before = winner(ordered, "delivery", key)
    for gone in ordered:
        after = winner([node for node in ordered if node != gone], "delivery", key)
        assert after == before or gone == before


def test_work_is_spread_evenly() -> None:
    counts = [0, 0, 0]
    for number in range(3_000):
        found = winner(NODES, "probe", f"instance-{number}")
        assert found is not None
        counts[NODES.index(found)] += 1
    assert min(counts) > 850


def test_nobody_wins_where_there_is_nobody() -> None:
    assert winner((), "delivery", "acme") is None


def test_a_hub_by_itself_owns_everything_as_long_as_it_may_rely_on_that() -> None:
    now_ms = [0.0]
    ownership = alone(now_ms)
    assert ownership.held
    assert all(ownership.owns("delivery", key) for key in KEYS)
    now_ms[0] += HELD_MS
    assert not ownership.owns("delivery", KEYS[0])
    assert ownership.likely_owns("delivery", KEYS[0])


def test_an_answer_that_was_long_on_its_way_is_worth_what_is_left_of_it() -> None:
    now_ms = [0.0]
    ownership = alone(now_ms)
    now_ms[0] = HELD_MS + 100
    ownership.confirmed(50.0, 1, members(NODES[0], version=1))
    assert not ownership.held


def test_a_new_member_gets_its_share_when_all_have_seen_it() -> None:
    now_ms = [0.0]
    ownership = alone(now_ms)
    both = [Member(node=NODES[0], epoch=1, process="a", seen=1), Member(node=NODES[1], epoch=2, process="b", seen=0)]
    ownership.confirmed(0.0, 2, both)
    assert not ownership.settled
    moved = [key for key in KEYS if winner(NODES[:2], "delivery", key) == NODES[1]]
    assert moved
    assert not any(ownership.owns("delivery", key) for key in moved)
    assert ownership.owner("delivery", moved[0]) is None
    ownership.confirmed(0.0, 2, members(*NODES[:2], version=2))
    assert ownership.settled
    assert ownership.owner("delivery", moved[0]) == NODES[1]


def test_those_who_asked_to_be_told_are_told_of_every_change() -> None:
    now_ms, told = [0.0], [0]

    def tell() -> None:
        told[0] += 1

    ownership = alone(now_ms)
    ownership.on_change(tell)
    ownership.confirmed(0.0, 1, members(NODES[0], version=1))
    assert told[0] == 0
    now_ms[0] = GAP_MS + 1
    ownership.confirmed(now_ms[0], 1, members(NODES[0], version=1))
    assert told[0] == 1, "signals may have been missed meanwhile"
    ownership.lost()
    assert told[0] == 2


def test_who_was_not_watched_for_a_while_is_not_taken_for_silent() -> None:
    now_ms = [0.0]
    ownership = RosterOwnership(NODES[0], lambda: now_ms[0])
    ownership.joined(replaced=False)
    ownership.confirmed(0.0, 1, members(*NODES[:2], version=1))
    now_ms[0] = SILENT_MS * 2
    ownership.confirmed(now_ms[0], 1, members(*NODES[:2], version=1))
    assert ownership.silent() == []
    for _ in range(7):
        now_ms[0] += 500
        ownership.confirmed(now_ms[0], 1, members(*NODES[:2], version=1))
    assert [one.node for one in ownership.silent()] == [NODES[1]]
    assert ownership.quiet_ms(NODES[1]) == 3_500


def test_more_rosters_than_are_kept_leave_nothing_owned() -> None:
    now_ms = [0.0]
    ownership = alone(now_ms)
    for version in range(2, UNSETTLED_MAX + 3):
        ownership.confirmed(0.0, version, [*members(NODES[0], version=version), *members(NODES[1], version=0)])
    assert not any(ownership.owns("delivery", key) for key in KEYS)


def test_answers_are_kept_up_to_a_limit() -> None:
    now_ms = [0.0]
    ownership = alone(now_ms)
    keys: Iterable[str] = (str(number) for number in range(ANSWERS_KEPT_MAX + 10))
    assert all(ownership.owns("delivery", key) for key in keys)


def test_a_hub_that_stands_alone_owns_everything_for_ever() -> None:
    ownership = Alone()
    ownership.on_change(lambda: None)
    assert ownership.owns("delivery", "acme")
    assert ownership.likely_owns("delivery", "acme")
    assert ownership.owner("delivery", "acme") is None
