"""The route of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from central_hub.cluster.schemas import ClusterAnswer, MemberAnswer, Mode, SignalsAnswer
from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN
from central_hub.kernel.roster import RosterOwnership, winner

TAG: Final = "cluster"

Keys = Callable[[], Sequence[str]]


@dataclass(slots=True, kw_only=True)
class ClusterRoutes:
    """Answers about the hubs that share the store.

    Args:
        roster: who they are; None for a hub that has its store for itself.
        stale_ms: how long ago the store last answered.
        pos: how far this hub has applied the log.
        work: what is counted of each hub: the keys of each kind of work.
        signals: what was sent, taken, refused and lost.
    """

    roster: RosterOwnership | None
    stale_ms: Callable[[], int]
    pos: Callable[[], int]
    work: dict[str, Keys]
    signals: Callable[[], SignalsAnswer]

    async def get_cluster(self, call: Call) -> Reply:
        """Answer GET /cluster."""
        roster = self.roster
        if roster is None:
            return Reply(
                ClusterAnswer(
                    mode=Mode.ALONE, node="", roster=0, settled=True, holds=True, stale_ms=self.stale_ms(),
                    members=[], signals=SignalsAnswer(),
                )
            )  # fmt: skip
        return Reply(
            ClusterAnswer(
                mode=Mode.SHARED,
                node=roster.node,
                roster=roster.version,
                settled=roster.settled,
                holds=roster.held,
                stale_ms=self.stale_ms(),
                members=self._members(roster),
                signals=self.signals(),
            )
        )

    def _members(self, roster: RosterOwnership) -> list[MemberAnswer]:
        nodes = [one.node for one in roster.members]
        shares = {node: dict.fromkeys(self.work, 0) for node in nodes}
        for work, keys in self.work.items():
            for key in keys():
                won = winner(nodes, work, key)
                if won is not None:
                    shares[won][work] += 1
        pos = self.pos()
        return [
            MemberAnswer(
                node=one.node, epoch=one.epoch, version=one.version,
                position=pos if one.node == roster.node else one.pos,
                behind=0 if one.node == roster.node else max(0, pos - one.pos),
                silent_ms=int(roster.quiet_ms(one.node)), roster=one.seen, work=shares[one.node],
            )
            for one in roster.members
        ]  # fmt: skip


def operations(routes: ClusterRoutes) -> tuple[Operation, ...]:
    """Return the rows of the cluster."""
    return (
        Operation(
            id="get_cluster", method="GET", path="/cluster", handler=routes.get_cluster, scope=SCOPE_PLATFORM_ADMIN,
            platform=True, tag=TAG, answer=ClusterAnswer,
            summary="Show the hubs that share the store: who is there, how far each is, who does what.",
        ),
    )  # fmt: skip
