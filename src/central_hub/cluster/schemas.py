"""What is shown of the hubs that share a store."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Mode(StrEnum):
    """Whether a hub has its store for itself."""

    ALONE = "alone"
    SHARED = "shared"


class MemberAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A hub on the roster.

    `node` is its URL, `epoch` what its writes are held against, `position` how far it has applied the log, `behind`
    how far that is behind this hub, `silent_ms` how long it has given no sign of life, `roster` the version of the
    roster that it goes by, `work` its share of the work that is counted here.
    """

    node: str
    epoch: int
    version: str
    position: int
    behind: int
    silent_ms: int
    roster: int
    work: dict[str, int]


class SignalsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What hubs say to each other: sent, taken, refused (not sealed by a hub of this store) and lost."""

    sent: int = 0
    taken: int = 0
    refused: int = 0
    lost: int = 0


class ClusterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The hubs that share the store, as the one that answers sees them.

    `settled` says whether all of them go by the same roster, `holds` whether this hub may do its share of the work at
    this moment, `stale_ms` how long ago the store last answered it, 0 while it does.
    """

    mode: Mode
    node: str
    roster: int
    settled: bool
    holds: bool
    stale_ms: int
    members: list[MemberAnswer]
    signals: SignalsAnswer
