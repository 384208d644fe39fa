"""Quota leases of a tenant are ended by one of several hubs; a renewal counts whichever hub was asked for it."""

from __future__ import annotations

from central_hub.kernel.clock import ManualClock
from central_hub.quotas.ending import Endings
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.passing import RenewalsPassed
from tests.unit.quotas.house import ACME, House, ctx_of, opened
from tests.unit.sharing import GivenOwnership, Wire

TTL_S = 10.0


def shared(house: House) -> GivenOwnership:
    ownership = GivenOwnership()
    house.endings = Endings(house.keeper, house.view, house.sequencer, ownership)
    return ownership


async def test_leases_end_on_the_hub_that_ends_them_and_have_their_whole_time_when_that_is_another() -> None:
    async with opened() as house:
        ownership = shared(house)
        ownership.turn(mine=False)
        await house.hold(3, ttl_s=TTL_S)
        await house.pass_time(3 * TTL_S * 1_000)
        assert house.used() == 3
        ownership.turn(mine=True)
        await house.pass_time(TTL_S * 1_000 - 200)
        assert house.used() == 3
        await house.pass_time(400)
        assert house.used() == 0


async def test_a_renewal_that_another_hub_was_asked_for_counts() -> None:
    async with opened() as house:
        elsewhere = LeaseKeeper(ManualClock())
        here, there = Wire(), Wire()
        there.other = here
        RenewalsPassed(here, house.keeper)
        passed = RenewalsPassed(there, elsewhere)
        held = await house.hold(1, ttl_s=TTL_S)
        for _ in range(4):
            await house.pass_time(TTL_S * 1_000 - 500)
            passed.renewed(ACME, held.lease.resource, held.lease.id)
        passed.renewed(ACME, held.lease.resource, "long gone")
        assert house.used() == 1
        await house.pass_time(TTL_S * 1_000 + 500)
        assert house.used() == 0


async def test_a_renewal_here_is_told_to_the_others() -> None:
    async with opened() as house:
        wire = Wire()
        RenewalsPassed(wire, house.keeper)
        held = await house.hold(1, ttl_s=TTL_S)
        await house.allocations.renew(ctx_of(), held.lease.id)
        assert wire.sent == 1


def test_what_other_hubs_heard_may_come_late() -> None:
    clock = ManualClock()
    keeper = LeaseKeeper(clock, slack_ms=1_000)
    keeper.adopt(ACME, "one", "requests", 5_000)
    for _ in range(58):
        clock.advance(100)
        keeper.look(10)
    assert not keeper.due
    for _ in range(5):
        clock.advance(100)
        keeper.look(10)
    assert len(keeper.due) == 1
