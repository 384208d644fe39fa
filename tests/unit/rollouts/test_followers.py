"""Who counts as following a value, who speaks for whom, and who is missed."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.configuration.model import ConfigurationReloaded, Layer
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.rollouts.followers import FOLLOWERS_PER_TENANT_MAX
from central_hub.rollouts.model import Stage, State, Unit
from central_hub.rollouts.rules import Move
from central_hub.rollouts.schemas import Report
from tests.unit.configuration.support import ctx_of
from tests.unit.rollouts.support import House, opened
from tests.unit.rollouts.test_log import once_before_the_next_append
from tests.unit.rollouts.test_rolling import ACME, refused

GLOBEX = DomainId("globex")


def admin(tenant: str) -> TenantContext:
    ctx = ctx_of(tenant)
    scopes = ctx.principal.scopes | {"registry:admin"}
    return msgspec.structs.replace(ctx, principal=msgspec.structs.replace(ctx.principal, id="key:x", scopes=scopes))


def names(house: House, domain: DomainId = ACME) -> list[str]:
    return sorted(each.instance for each in house.book.of(domain))


async def test_a_stream_of_no_service_is_nobodys() -> None:
    async with opened() as house:
        house.book.opened(ctx_of("acme"), "", "", "i-1")
        assert len(house.book) == 0


async def test_who_follows_before_it_is_registered_counts_once_it_is() -> None:
    async with opened() as house:
        house.book.opened(ctx_of("acme"), "risk", "", "i-1")
        house.instance("i-2")
        one = await house.look(await house.start())
        assert house.stepping.evidence(one).population == 1
        house.fleet.owners[("acme", "risk", "i-1")] = "key:acme"
        await house.look(one)
        assert house.stepping.evidence(one).population == 2


async def test_who_left_is_forgotten_where_it_was_registered_and_nowhere_else() -> None:
    async with opened() as house:
        for tenant in ("acme", "globex"):
            house.instance("i-1", tenant)
        house.book.forget(ACME, "risk", "i-1")
        assert (names(house), names(house, GLOBEX)) == ([], ["i-1"])
        house.instance("i-1")
        house.book.forget(SHARED, "risk", "i-1")
        assert len(house.book) == 0


async def test_who_is_registered_and_away_is_kept() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.gone("i-1")
        house.clock.advance(600_000)
        house.book.sweep()
        assert names(house) == ["i-1"]


async def test_an_administrator_of_the_registry_speaks_for_every_instance_of_the_tenant() -> None:
    async with opened() as house:
        house.instance("i-1")
        house.book.report(admin("acme"), "risk", "i-1", Report(etag="e"))
        assert [each.etag for each in house.book.of(ACME)] == ["e"]


async def test_only_so_many_follow_a_tenants_values() -> None:
    async with opened() as house:
        for number in range(FOLLOWERS_PER_TENANT_MAX + 1):
            house.instance(f"i-{number}")
        assert len(house.book) == FOLLOWERS_PER_TENANT_MAX
        assert await refused(_said(house, f"i-{FOLLOWERS_PER_TENANT_MAX}")) == "too_many_followers"


async def _said(house: House, name: str) -> None:
    house.says(name)


@pytest.mark.parametrize(("left", "state"), [(False, State.RUNNING), (True, State.ROLLED_BACK)])
async def test_when_as_many_of_the_others_vanish_it_is_not_the_change(left: bool, state: State) -> None:
    async with opened() as house:
        for number in range(4):
            house.instance(f"i-{number}")
            house.says(f"i-{number}")
        one = await house.look(await house.start(stages=(Stage(percent=50, bake_s=60), Stage(percent=100))))
        reached = house.exposed([f"i-{number}" for number in range(4)])
        for name in reached:
            house.says(name)
        await house.look(one)
        others = [f"i-{number}" for number in range(4) if f"i-{number}" not in reached]
        for name in (reached[0], others[0]):
            house.gone(name)
            del house.fleet.owners[("acme", "risk", name)]
        if left:
            house.book.forget(ACME, "risk", others[0])
        assert (await house.look(one, 3_000)).state is state


async def test_nothing_is_made_at_once_while_instances_may_still_come_back() -> None:
    async with opened() as house:
        house.fleet.owners[("acme", "risk", "i-1")] = "key:acme"
        house.stepping._began_ms = house.clock.monotonic_ms()  # pyright: ignore[reportPrivateUsage]  # a start
        one = await house.look(await house.start(), 1_000)
        assert (one.state, one.stage) == (State.RUNNING, 0)
        house.instance("i-1")
        assert (await house.look(one, 3_000)).stage == 1


async def test_a_tenants_own_rollout_by_tenants_reaches_the_tenant() -> None:
    tiers = {f"t-{number:02}": "pro" for number in range(40)}
    async with opened(tiers) as house:
        for tenant in list(tiers)[:6]:
            layer = Layer(tenant=tenant)
            one = await house.start(layer=layer, unit=Unit.TENANT)
            one = await house.look(one, domain=layer.domain)
            assert one.stage == 1
            assert house.in_force.of(layer.domain).leaves["/risk/depth"] == 9


async def test_a_tenants_own_rollout_names_no_tier() -> None:
    async with opened() as house:
        stages = (Stage(tiers=("pro",)), Stage(percent=100))
        assert await refused(house.start(layer=Layer(tenant="acme"), stages=stages)) == "invalid_rollout"


async def test_a_layer_that_another_hub_changed_in_between_is_not_overwritten() -> None:
    async with opened() as house:
        house.instance("i-1")
        one = await house.look(await house.start(stages=(Stage(percent=100, bake_s=0),)))
        theirs = ConfigurationReloaded(layer=("", "", "", ""), revision=2, document={"risk": {"depth": 3}})
        once_before_the_next_append(house, theirs, streams=(Layer().stream,))
        assert await refused(house.do(one, Move.COMPLETE)) == "revision_moved"
        assert house.layers.current(PLATFORM, Layer()).number == 2
