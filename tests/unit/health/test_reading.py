"""What callers read: their own and the shared services they may see, in the agreed shape."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.health.model import Sign
from central_hub.health.reading import TRUNCATED_KEY, HealthReading
from central_hub.kernel.errors import HubError
from tests.unit.health.support import ACME, OTHER, SHARED, World, instance, running
from tests.unit.health.test_usecases import ctx_of
from tests.unit.registry.support import TierTable


def reading_of(world: World, **options: int) -> HealthReading:
    return HealthReading(world.keeper, world.view, TierTable(), world.clock, **options)


async def listing(world: World, ctx: object, **options: int) -> dict[str, dict[str, object]]:
    answer = await reading_of(world, **options).services(ctx)  # type: ignore[arg-type]
    return msgspec.json.decode(answer.body)


async def test_a_service_has_status_latency_and_last_check() -> None:
    async with running() as world:
        await world.register(instance(service="api-gateway", lease_ttl_s=None))
        kept = world.kept(service="api-gateway")
        world.keeper.probed(kept, Sign.PASS, latency_ms=15.0, at_ms=1.0, now_ms=1_705_746_600_123)
        assert await listing(world, ctx_of()) == {
            "api-gateway": {"status": "healthy", "latency": 15, "last_check": "2024-01-20T10:30:00Z"}
        }


async def test_before_the_first_check_it_is_unknown_and_nothing_is_invented() -> None:
    async with running() as world:
        await world.register(instance())
        assert await listing(world, ctx_of()) == {"risk": {"status": "unknown", "latency": None, "last_check": None}}


async def test_each_caller_sees_its_own_and_the_shared_services_of_its_tier() -> None:
    async with running() as world:
        await world.register(instance(service="own"))
        await world.register(instance(service="theirs"), domain=OTHER)
        await world.register(instance(service="both"), domain=SHARED)
        await world.register(instance(service="pro-only", subscription_requirements=("pro",)), domain=SHARED)
        assert set(await listing(world, ctx_of())) == {"own", "both"}
        assert set(await listing(world, ctx_of(tier="pro"))) == {"own", "both", "pro-only"}
        assert set(await listing(world, ctx_of("other"))) == {"theirs", "both"}
        assert set(await listing(world, ctx_of(None))) == {"both"}


async def test_an_own_service_shadows_the_shared_one() -> None:
    async with running() as world:
        await world.register(instance(), domain=SHARED)
        await world.register(instance())
        world.beat("i-1", domain=SHARED)
        assert (await listing(world, ctx_of()))["risk"]["status"] == "unknown"
        assert (await listing(world, ctx_of("other")))["risk"]["status"] == "healthy"


async def test_past_the_cap_the_map_says_that_it_is_cut() -> None:
    async with running() as world:
        for n in range(3):
            await world.register(instance(service=f"s-{n}"))
        whole = await listing(world, ctx_of(), listed_max=3)
        cut = await listing(world, ctx_of(), listed_max=2)
        assert TRUNCATED_KEY not in whole
        assert len(cut) == 3
        assert cut[TRUNCATED_KEY] is True


async def test_one_service_shows_each_verdict_and_what_it_rests_on() -> None:
    async with running() as world:
        await world.register(instance("i-1", probe=True), instance("i-2"))
        for _ in range(2):
            world.keeper.probed(world.kept("i-1"), Sign.REFUSED, latency_ms=None, at_ms=1, now_ms=5_000)
        world.beat("i-2")
        detail = reading_of(world).service(ctx_of(), "risk")
        assert (detail.status, detail.counts.unhealthy, detail.counts.healthy) == ("degraded", 1, 1)
        first = detail.instances[0]
        assert (first.instance_id, first.status) == ("i-1", "unhealthy")
        assert isinstance(first.evidence, dict)
        assert first.evidence["refusals"] == 2


async def test_leases_and_evidence_of_a_shared_service_are_not_shown_to_tenants() -> None:
    async with running() as world:
        await world.register(instance(), domain=SHARED)
        shown = msgspec.to_builtins(reading_of(world).service(ctx_of(), "risk").instances[0])
        assert not {"lease_ttl_s", "lease_left_s", "evidence"} & set(shown)


async def test_a_foreign_service_is_not_found_and_one_above_the_tier_is_refused() -> None:
    async with running() as world:
        await world.register(instance(), domain=OTHER)
        await world.register(instance(service="gold", subscription_requirements=("pro",)), domain=SHARED)
        for name, code in (("risk", "service_not_found"), ("gold", "tier_too_low")):
            with pytest.raises(HubError) as refused:
                reading_of(world).service(ctx_of(), name)
            assert refused.value.code == code


async def test_a_tenant_sums_up_its_own_domain_only_and_the_system_everything() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"))
        await world.register(instance(), domain=OTHER)
        world.beat("i-1", "i-2")
        mine = reading_of(world).tenant(ctx_of())
        assert (mine.status, mine.tenant_id, mine.instances.healthy, mine.services.healthy) == ("healthy", "acme", 2, 1)
        everything = reading_of(world).system()
        assert (everything.instances.healthy, everything.instances.unknown) == (2, 1)
        nobody = reading_of(world).tenant(ctx_of("nobody"))
        assert (nobody.status, nobody.instances.healthy) == ("unknown", 0)


async def test_a_protected_instance_is_shown_as_unknown_and_protected() -> None:
    async with running() as world:
        await world.register(*(instance(f"i-{n}") for n in range(3)))
        world.pass_time(3_500)
        shown = reading_of(world).service(ctx_of(), "risk").instances
        assert all((one.status, one.protected) == ("unknown", True) for one in shown)
        assert world.keeper.population.domain(ACME) is not None


async def test_a_listing_is_written_again_after_a_second_or_when_something_visible_changed() -> None:
    async with running() as world:
        await world.register(instance())
        reading = reading_of(world)
        first = await reading.services(ctx_of())
        await world.register(instance(service="theirs"), domain=OTHER)
        world.beat("i-1", service="theirs", domain=OTHER)
        assert await reading.services(ctx_of()) is first
        world.beat("i-1")
        second = await reading.services(ctx_of())
        assert b'"healthy"' in second.body
        world.clock.advance(999)
        assert await reading.services(ctx_of()) is second
        world.clock.advance(1)
        assert await reading.services(ctx_of()) is not second
