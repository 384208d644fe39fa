"""One service of one domain in memory, and what is left of one that vanished."""

from __future__ import annotations

from typing import NamedTuple

from central_hub.registry.model import RANK_NOBODY, RANK_PUBLIC, Instance


class Service:
    """One service of one domain. Queries only outside the view.

    `revision` is the position of its last change, `created` of its last coming into being,
    `ranked` of the last change of the rank it asks for. `rank_floor` is the lowest rank it ever
    asked for: below it nobody ever saw it, and nobody is told that it left.
    """

    __slots__ = (
        "created",
        "instances",
        "name",
        "rank",
        "rank_floor",
        "ranked",
        "removed",
        "removed_horizon",
        "revision",
    )

    def __init__(self, name: str, created: int, rank_floor: int = RANK_NOBODY) -> None:
        self.name = name
        self.instances: dict[str, Instance] = {}
        self.created = created
        self.revision = created
        self.rank = RANK_PUBLIC
        self.rank_floor = rank_floor
        self.ranked = created
        self.removed: dict[str, int] | None = None
        self.removed_horizon = created

    def removed_since(self, seq: int) -> list[str] | None:
        """Return the ids that left after `seq` and are not back; None when that is forgotten."""
        if seq < self.removed_horizon:
            return None
        return [name for name, at in (self.removed or {}).items() if at > seq]


class Tombstone(NamedTuple):
    """Where a service vanished, and the lowest rank it ever asked for."""

    seq: int
    rank_floor: int
