"""Shared verdicts, whole: evidence in, facts, probes, tenants apart, and a hub that starts again."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.breakers import usecases
from central_hub.breakers.model import IDLE_S, State
from central_hub.breakers.schemas import CallsSeen
from central_hub.breakers.verdicts import LEDGERS_PER_DOMAIN_MAX, VERDICTS_PER_DOMAIN_MAX
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import SHARED, DomainId
from tests.unit.breakers.shared import RISK, Fleet, ctx_of, opened


async def facts_of(fleet: Fleet, domain: str) -> list[str]:
    return [record.type for record in await fleet.log.read_domain(DomainId(domain), 0, 100)]


async def failing_for_three(fleet: Fleet) -> None:
    for tenant in ("acme", "globex", "initech"):
        await fleet.seen(tenant, "p-1", 6, 6)


async def test_what_three_processes_saw_opens_for_all_of_the_tenants() -> None:
    async with opened() as fleet:
        await fleet.seen("acme", "p-1", 6, 6)
        assert fleet.state("acme") == "CLOSED"
        await fleet.trip("acme")
        assert fleet.state("acme") == "OPEN"
        assert await facts_of(fleet, "acme") == ["SharedBreakerTripped"], "one fact for one transition"
        for _ in range(5):
            await fleet.trip("acme")
        assert await facts_of(fleet, "acme") == ["SharedBreakerTripped"]


async def test_a_poison_tenant_opens_nothing_for_others() -> None:
    async with opened() as fleet:
        for number in range(50):
            await fleet.seen("poison", f"p-{number}", 100, 100)
        assert fleet.state("poison") == "OPEN"
        assert fleet.state(SHARED) == "CLOSED"
        assert fleet.state("acme") == "CLOSED"
        assert await facts_of(fleet, SHARED) == []


async def test_what_several_tenants_saw_holds_for_everyone() -> None:
    async with opened() as fleet:
        await fleet.seen("rare", "p-1", 1, 0)
        fleet.clock.advance(60_000)
        await failing_for_three(fleet)
        assert fleet.state(SHARED) == "OPEN"
        assert await facts_of(fleet, SHARED) == ["SharedBreakerTripped"]
        assert await facts_of(fleet, "rare") == []
        granted = await fleet.lease("rare")
        assert (granted.state, granted.granted, granted.again_s) == (State.OPEN, 0, 10.0)


async def test_those_who_are_answered_outvote_two_who_fail() -> None:
    async with opened() as fleet:
        for tenant in ("a", "b", "c", "d", "e", "f"):
            await fleet.seen(tenant, "p-1", 50, 0)
        for tenant in ("poison-1", "poison-2"):
            await fleet.seen(tenant, "p-1", 50, 50)
        assert fleet.state(SHARED) == "CLOSED"


async def test_an_answer_ends_what_holds_for_everyone() -> None:
    async with opened() as fleet:
        await failing_for_three(fleet)
        fleet.clock.advance(1_000)
        await fleet.seen("acme", "p-2", 3, 0)
        assert fleet.state(SHARED) == "OPEN", "others failed a second ago"
        fleet.clock.advance(3_000)
        await fleet.seen("acme", "p-2", 3, 0)
        assert fleet.state(SHARED) == "CLOSED"
        assert (await facts_of(fleet, SHARED))[-1] == "SharedBreakerRecovered"


async def test_a_private_service_is_nobody_elses() -> None:
    async with opened() as fleet:
        for tenant in ("acme", "globex", "initech"):
            await fleet.trip(tenant, service="own")
        assert fleet.state(SHARED, ("own", "")) == "CLOSED"
        assert fleet.state("acme", ("own", "")) == "OPEN"


async def test_what_is_not_seen_cannot_be_reported_or_tried() -> None:
    async with opened() as fleet:
        fleet.services.blind.add("acme")
        assert not await fleet.seen("acme", "p-1", 6, 6)
        with pytest.raises(HubError) as refused:
            await fleet.lease("acme")
        assert refused.value.code == "service_not_found"


async def test_fifty_processes_make_five_probes_and_close_it() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        assert (await fleet.lease("acme")).again_s == 30.0
        fleet.clock.advance(30_000)
        assert fleet.state("acme") == "HALF_OPEN"
        granted = [(await fleet.lease("acme")).granted for _ in range(50)]
        assert sum(granted) == 5
        for number in range(5):
            await fleet.seen("acme", f"p-{number}", 0, 0, probes=1)
        assert fleet.state("acme") == "CLOSED"
        assert (await fleet.lease("acme")).state is State.CLOSED
        assert fleet.shared.evidence(DomainId("acme"), RISK).calls == 0, "what was seen before says nothing now"


async def test_probes_that_fail_open_it_for_as_long_again() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        fleet.clock.advance(30_000)
        assert (await fleet.lease("acme", 5)).granted == 5
        await fleet.seen("acme", "p-1", 0, 0, probes=3, probes_failed=3)
        assert fleet.state("acme") == "OPEN"
        fleet.clock.advance(29_999)
        assert fleet.state("acme") == "OPEN"
        fleet.clock.advance(1)
        assert fleet.state("acme") == "HALF_OPEN"
        assert (await fleet.lease("acme", 5)).granted == 5


async def test_probes_are_counted_in_both_verdicts_that_hold() -> None:
    async with opened() as fleet:
        await failing_for_three(fleet)
        await fleet.trip("acme")
        fleet.clock.advance(30_000)
        assert (await fleet.lease("acme", 5)).granted == 2, "of everyone's, one tenant has two"
        await fleet.seen("acme", "p-1", 0, 0, probes=2)
        assert fleet.state(SHARED) == "CLOSED"
        assert fleet.state("acme") == "HALF_OPEN"
        assert (await fleet.lease("acme", 5)).granted == 3


async def test_callers_of_no_tenant_decide_for_everyone() -> None:
    async with opened() as fleet:
        for caller in ("p-1", "p-2"):
            await fleet.seen(None, caller, 6, 6)
        assert fleet.state(SHARED) == "OPEN"
        fleet.clock.advance(30_000)
        assert (await fleet.lease(None, 5)).granted == 5
        await fleet.seen(None, "p-1", 0, 0, probes=3, probes_failed=3)
        assert fleet.state(SHARED) == "OPEN"


async def test_a_hub_that_starts_again_knows_how_much_open_time_is_left() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        log, keys = fleet.log, fleet.keys
    async with opened(log, keys) as again:
        again.clock.advance(29_999)
        assert again.state("acme") == "OPEN"
        again.clock.advance(1)
        assert again.state("acme") == "HALF_OPEN"
        assert (await again.lease("acme", 2)).granted == 2
    async with opened(log, keys) as third:
        third.clock.advance(30_001)
        assert (await third.lease("acme", 9)).granted == 3, "those that are out are not leased twice"


async def test_a_verdict_that_nobody_tries_ends() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        fleet.clock.advance(30_000 + IDLE_S * 1_000)
        fleet.shared.sweep()
        await fleet.shared.settle()
        assert fleet.state("acme") == "HALF_OPEN"
        fleet.clock.advance(1)
        fleet.ownership.owning = False
        fleet.shared.sweep()
        await fleet.shared.settle()
        assert fleet.state("acme") == "HALF_OPEN", "another hub does that"
        fleet.ownership.owning = True
        fleet.shared.sweep()
        await fleet.shared.settle()
        assert fleet.state("acme") == "CLOSED"
        assert fleet.shared.ledgers == 0


async def test_what_the_store_does_not_take_is_not_said() -> None:
    async with opened() as fleet:
        fleet.sequencer.close()
        await fleet.trip("acme")
        assert fleet.state("acme") == "CLOSED"
        assert fleet.shared.undurable > 0


async def test_what_is_kept_of_a_tenant_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as fleet:
        for number in range(LEDGERS_PER_DOMAIN_MAX):
            assert await fleet.seen("acme", "p-1", 1, 0, route_class=f"c-{number}")
        assert not await fleet.seen("acme", "p-1", 1, 0, route_class="one-more")
        assert await fleet.seen("globex", "p-1", 1, 0, route_class="one-more")
        assert VERDICTS_PER_DOMAIN_MAX == 1_000
        monkeypatch.setattr(usecases, "VERDICTS_PER_DOMAIN_MAX", 1)
        for route_class in ("c-1", "c-2"):
            for caller in ("p-2", "p-3", "p-4"):
                await fleet.seen("acme", caller, 6, 6, route_class=route_class)
        assert fleet.view.count == 1


async def test_decisions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as fleet:
        monkeypatch.setattr(usecases, "DUE_MAX", 0)
        await fleet.trip("acme")
        assert (fleet.state("acme"), fleet.shared.dropped > 0) == ("CLOSED", True)


async def test_the_more_processes_report_the_later_each_is_asked_to() -> None:
    async with opened() as fleet:
        assert fleet.shared.again_s() == 0.5
        for number in range(1_000):
            fleet.shared.report(ctx_of("acme"), f"p-{number}", _row())
        assert fleet.shared.again_s() == 2.0
        for number in range(1_000):
            fleet.shared.report(ctx_of("globex"), f"p-{number}", _row())
        assert fleet.shared.again_s() == 4.0, "processes of two tenants are two, whatever they are called"
        fleet.clock.advance(60_000)
        fleet.shared.sweep()
        assert fleet.shared.again_s() == 0.5


def _row(failures: int = 0) -> CallsSeen:
    return CallsSeen(service_name="risk", calls=max(1, failures), failures=failures)


async def test_a_verdict_says_whose_it_is() -> None:
    async with opened() as fleet:
        await failing_for_three(fleet)
        await fleet.trip("acme")
        fleet.clock.advance(30_000)
        await fleet.lease("acme", 5)
        await fleet.seen("acme", "p-1", 0, 0, probes=2)
        await fleet.lease("acme", 5)
        await fleet.seen("acme", "p-1", 0, 0, probes=3)
        said = [(type(one).__name__, one.everyone) for one in fleet.facts if hasattr(one, "everyone")]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        assert said == [
            ("SharedBreakerTripped", True),
            ("SharedBreakerTripped", False),
            ("SharedBreakerRecovered", True),
            ("SharedBreakerRecovered", False),
        ]


async def test_a_tenants_own_plan_decides_about_it() -> None:
    async with opened() as fleet:
        fleet.plans.agreed["patient"] = {"breaker_failure_rate": 0.9, "breaker_open_s": 7, "breaker_probes": 2}
        await fleet.trip("patient")
        assert fleet.state("patient") == "CLOSED", "twelve of twelve do not show that nine of ten fail"
        for caller in ("p-4", "p-5", "p-6", "p-7", "p-8", "p-9"):
            await fleet.seen("patient", caller, 10, 10)
        assert fleet.state("patient") == "OPEN"
        fleet.clock.advance(7_000)
        assert (await fleet.lease("patient", 9)).granted == 2


async def test_what_is_decided_twice_at_once_is_told_once() -> None:
    async with opened() as fleet:
        for _ in range(2):
            for caller in ("p-1", "p-2"):
                fleet.shared.report(ctx_of("acme"), caller, _row(6))
            settling = asyncio.create_task(fleet.shared.settle())
            await asyncio.sleep(0)
            for caller in ("p-3", "p-4"):
                fleet.shared.report(ctx_of("acme"), caller, _row(6))
            await fleet.shared.settle()
            await settling
        assert await facts_of(fleet, "acme") == ["SharedBreakerTripped"]
        fleet.clock.advance(30_000 + IDLE_S * 1_000 + 1)
        fleet.shared.sweep()
        settling = asyncio.create_task(fleet.shared.settle())
        await asyncio.sleep(0)
        fleet.shared.sweep()
        await fleet.shared.settle()
        await settling
        assert await facts_of(fleet, "acme") == ["SharedBreakerTripped", "SharedBreakerRecovered"]


async def test_a_tenants_own_service_of_that_name_is_another_one() -> None:
    async with opened() as fleet:
        await failing_for_three(fleet)
        fleet.clock.advance(10_000)
        assert (await fleet.lease("rare")).granted == 1
        fleet.services.shadowing.add("rare")
        assert (await fleet.lease("rare")).state is State.CLOSED


async def test_a_private_service_is_probed_by_its_own_verdict() -> None:
    async with opened() as fleet:
        await fleet.trip("acme", service="own")
        fleet.clock.advance(30_000)
        assert (await fleet.lease("acme", 9, service="own")).granted == 5
        assert (await fleet.lease("globex", 9, service="own")).granted == 0
