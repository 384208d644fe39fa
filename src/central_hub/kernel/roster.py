"""Which of several hubs does what: the rules of a roster, and the ownership that follows from it. Pure.

Hubs are members of a roster that the store keeps under a version. Work belongs to the member that wins a rendezvous
for its key. A version is *settled* once every member of it has said that it has seen it; until then a hub owns only
what it wins under each roster since the last settled one, so that two hubs never own the same thing. What a hub knows
holds for `HELD_MS` from when it asked, on its own clock; who is silent for `SILENT_MS`, counted by its beats and on
the observer's clock, is taken off the roster. No clock is ever compared with another.

Source: D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996); C. Gray and D. Cheriton,
"Leases" (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

BEAT_MS: Final = 500.0
"""Between two beats of a member, while nothing changes."""
HELD_MS: Final = 2_500.0
"""How long after asking a member may rely on the answer."""
SILENT_MS: Final = 3_000.0
"""How long a member's beats must stand still before another one takes it off the roster; more than `HELD_MS`."""
GAP_MS: Final = 1_200.0
"""A longer pause between two answers of the store says nothing about the other members: they are watched anew."""
MEMBERS_MAX: Final = 64
ANSWERS_KEPT_MAX: Final = 65_536
UNSETTLED_MAX: Final = 32
"""Rosters that wait to be settled; a hub that sees more of them owns nothing until the newest one is."""


class Member(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A hub on the roster.

    `node` is the URL at which it is reached, `epoch` the version that it joined with, `process` the run of it,
    `seen` the latest version that it goes by, `pos` how far it has applied the log.
    """

    node: str
    epoch: int
    process: str
    version: str = ""
    beats: int = 0
    seen: int = 0
    pos: int = 0


class Roster(msgspec.Struct, frozen=True, gc=False):
    """Who was there at a version, in order."""

    version: int
    nodes: tuple[str, ...]


class Observed(msgspec.Struct, gc=False):
    """What was last seen of another member's beats, and when they first stood like that."""

    epoch: int
    beats: int
    since_ms: float


def winner(nodes: Sequence[str], work: str, key: str) -> str | None:
    """Return the node whose draw for a piece of work is the highest; None when there is none."""
    if len(nodes) < 2:
        return nodes[0] if nodes else None
    return max(nodes, key=lambda node: (_drawn(node, work, key), node))


def _drawn(node: str, work: str, key: str) -> bytes:
    return blake2b(f"{node}\n{work}\n{key}".encode(), digest_size=8).digest()


class RosterOwnership:
    """Implements `Ownership` on what the store last said of the roster.

    Args:
        node: this hub.
        now_ms: a clock that never goes back and goes on while the machine sleeps, milliseconds.
    """

    def __init__(self, node: str, now_ms: Callable[[], float]) -> None:
        self.node = node
        self._now_ms = now_ms
        self._rosters: list[Roster] = []
        self._observed: dict[str, Observed] = {}
        self._until_ms = 0.0
        self._not_before_ms = 0.0
        self._confirmed_ms = 0.0
        self._held = False
        self._answers: dict[tuple[str, str], bool] = {}
        self._told: list[Callable[[], None]] = []
        self.members: tuple[Member, ...] = ()

    @property
    def version(self) -> int:
        """The version of the roster that this hub goes by; 0 before it has joined."""
        return self._rosters[-1].version if self._rosters else 0

    @property
    def settled(self) -> bool:
        """Whether every member goes by that version."""
        return len(self._rosters) == 1

    @property
    def held(self) -> bool:
        """Whether what this hub knows can be relied on now."""
        now_ms = self._now_ms()
        return self._not_before_ms <= now_ms < self._until_ms and bool(self._rosters)

    def owns(self, work: str, key: str) -> bool:
        """Say whether this hub alone does `work` for `key` at this moment; see the port."""
        return self.held and self._wins(work, key)

    def likely_owns(self, work: str, key: str) -> bool:
        """Say so of what may be done twice: by the latest roster known, however long ago that was; see the port."""
        return bool(self._rosters) and winner(self._rosters[-1].nodes, work, key) == self.node

    def owner(self, work: str, key: str) -> str | None:
        """Return the URL of the hub that does it, None when it is this one or nobody knows."""
        if not self.settled:
            return None
        found = winner(self._rosters[-1].nodes, work, key)
        return None if found == self.node else found

    def on_change(self, told: Callable[[], None]) -> None:
        """Call `told` whenever an answer may be another one."""
        self._told.append(told)

    def joined(self, *, replaced: bool) -> None:
        """Begin as a member: nothing is owned until a roster with this hub is settled.

        Args:
            replaced: another run of this node was on the roster; it may rely on that for a while yet.
        """
        self._rosters.clear()
        self._observed.clear()
        self._not_before_ms = self._now_ms() + SILENT_MS if replaced else 0.0
        self._change()

    def lost(self) -> None:
        """Own nothing from now on: this hub is not on the roster."""
        self._until_ms = 0.0
        self._change()

    def confirmed(self, asked_ms: float, version: int, members: Sequence[Member]) -> None:
        """Take what the store says of the roster.

        Args:
            asked_ms: when it was asked, on this hub's clock.
            version: of the roster.
            members: on it, this hub among them, each with the version that it goes by.
        """
        was_held = self._held and self.held
        self.members = tuple(sorted(members, key=lambda one: one.node))
        self._until_ms = asked_ms + HELD_MS
        changed = self._adopt(version)
        if not self.settled and all(one.seen >= version for one in self.members):
            del self._rosters[:-1]
            changed = True
        paused = self._watch(asked_ms)
        self._held = self.held
        if changed or paused or self._held is not was_held:
            self._change()

    def silent(self) -> list[Member]:
        """Return the members that have been silent for too long."""
        now_ms = self._now_ms()
        return [
            one
            for one in self.members
            if (seen := self._observed.get(one.node)) is not None
            and seen.epoch == one.epoch
            and now_ms - seen.since_ms >= SILENT_MS
        ]

    def quiet_ms(self, node: str) -> float:
        """Return how long another member's beats have stood still, 0 for this hub."""
        seen = self._observed.get(node)
        return 0.0 if seen is None else max(0.0, self._now_ms() - seen.since_ms)

    def _adopt(self, version: int) -> bool:
        if version == self.version:
            return False
        if len(self._rosters) >= UNSETTLED_MAX:
            self._not_before_ms = self._now_ms() + SILENT_MS
            self._rosters.clear()
        # A hub that has no roster yet cannot know what the others went by: that version alone, and not settled.
        if not self._rosters:
            self._rosters.append(Roster(0, ()))
        self._rosters.append(Roster(version, tuple(one.node for one in self.members)))
        return True

    def _watch(self, asked_ms: float) -> bool:
        """Watch the others' beats; say whether the store was not asked for long."""
        now_ms = self._now_ms()
        paused = asked_ms - self._confirmed_ms > GAP_MS
        if paused:
            self._observed.clear()
        self._confirmed_ms = now_ms
        observed: dict[str, Observed] = {}
        for one in self.members:
            if one.node == self.node:
                continue
            seen = self._observed.get(one.node)
            moved = seen is None or (seen.epoch, seen.beats) != (one.epoch, one.beats)
            observed[one.node] = Observed(one.epoch, one.beats, now_ms) if moved or seen is None else seen
        self._observed = observed
        return paused

    def _wins(self, work: str, key: str) -> bool:
        known = self._answers.get((work, key))
        if known is None:
            if len(self._answers) >= ANSWERS_KEPT_MAX:
                self._answers.clear()
            known = all(winner(roster.nodes, work, key) == self.node for roster in self._rosters)
            self._answers[work, key] = known
        return known

    def _change(self) -> None:
        self._answers.clear()
        for told in self._told:
            told()
