"""GET /cluster: who is there, how far each is, who does what."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.cluster.routes import ClusterRoutes, operations
from central_hub.cluster.schemas import SignalsAnswer
from central_hub.edge.operations import Call, Headers
from central_hub.kernel.roster import Member, RosterOwnership
from tests.isolation.world import running

HERE, THERE = "http://a:7000", "http://b:7000"


async def asked(routes: ClusterRoutes) -> dict[str, Any]:
    [operation] = operations(routes)
    reply = await operation.handler(Call(operation, None, {}, None, None, Headers(())))  # type: ignore[arg-type]
    return msgspec.to_builtins(reply.body)


async def test_a_hub_with_a_store_of_its_own_is_alone() -> None:
    async with running() as world:
        answer = await world.must("GET", "/cluster", key="root")
        assert (answer["mode"], answer["members"], answer["holds"]) == ("alone", [], True)


async def test_hubs_that_share_a_store_are_shown_with_their_shares() -> None:
    roster = RosterOwnership(HERE, lambda: 0.0)
    roster.joined(replaced=False)
    roster.confirmed(0.0, 2, [
        Member(node=HERE, epoch=1, process="a", version="1.0", seen=2, pos=90),
        Member(node=THERE, epoch=2, process="b", version="1.1", seen=2, pos=95),
    ])  # fmt: skip
    keys = [f"tenant-{number}" for number in range(50)]
    answer = await asked(
        ClusterRoutes(
            roster=roster, stale_ms=lambda: 0, pos=lambda: 100, work={"delivery": lambda: keys},
            signals=lambda: SignalsAnswer(sent=3),
        )
    )  # fmt: skip
    assert (answer["mode"], answer["node"], answer["roster"]) == ("shared", HERE, 2)
    assert answer["settled"]
    assert answer["holds"]
    here, there = answer["members"]
    assert (here["position"], here["behind"], there["position"], there["behind"]) == (100, 0, 95, 5)
    assert here["work"]["delivery"] + there["work"]["delivery"] == 50
    assert min(here["work"]["delivery"], there["work"]["delivery"]) > 10
    assert answer["signals"]["sent"] == 3
