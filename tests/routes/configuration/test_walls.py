"""Configuration's walls, one by one: whose value is answered, to whom, and for how long."""

from __future__ import annotations

import asyncio

from central_hub.configuration.model import TENANT_LAYERS_MAX
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.settings import Settings
from tests.isolation.world import World, running
from tests.routes.configuration.test_layers import ACME, ANY, GLOBAL, config, furnished, header, patch, told


def ctx_of(tenant: str, *, scopes: tuple[str, ...] = ("config:read",), environment: str = "") -> TenantContext:
    principal = Principal(
        id="key:k", kind=PrincipalKind.KEY, home=DomainId(tenant), scopes=frozenset(scopes), environment=environment
    )
    return TenantContext(principal=principal, tenant_id=TenantId(tenant), tier="pro", rank=20)


def laned(world: World, name: str, ctx: TenantContext) -> bytes | None:
    entry = world.hub.features.configuring.lane.entry(name, ctx)
    return None if entry is None else entry.body(0)


async def test_the_lane_answers_a_tenants_own_value_to_that_tenant_alone() -> None:
    async with furnished() as world:
        await patch(world, ACME, {"risk": {"depth": 7}})
        plain = await world.ask("GET", "/config/acme", key="acme")
        assert laned(world, "acme", ctx_of("acme")) == plain.body
        assert laned(world, "globex", ctx_of("globex")) == (await world.ask("GET", "/config/globex", key="globex")).body
        assert laned(world, "acme", ctx_of("globex")) is None
        assert laned(world, "globex", ctx_of("acme")) is None
        assert laned(world, "acme", ctx_of("acme", scopes=("registry:read",))) is None
        assert laned(world, "acme", ctx_of("acme", environment="staging")) is None
        entry = world.hub.features.configuring.lane.entry("acme", ctx_of("acme"))
        assert world.hub.features.configuring.lane.entry("acme", ctx_of("acme")) is entry


async def test_the_lane_lets_go_of_a_value_when_a_grant_ends() -> None:
    async with furnished() as world:
        ends_ms = world.clock.now_ms() + 5_000
        grant = {"feature": "custom_models", "value": True, "expires_at_ms": ends_ms}
        await world.must("POST", "/tenants/acme/grants", key="root", body=grant)
        entry = world.hub.features.configuring.lane.entry("acme", ctx_of("acme"))
        other = world.hub.features.configuring.lane.entry("globex", ctx_of("globex"))
        assert entry is not None
        assert other is not None
        assert entry.fresh_until_ms == world.clock.monotonic_ms() + 5_000
        assert other.fresh_until_ms == float("inf")
        assert b'"custom_models":true' in entry.body(0)
        world.clock.advance(6_000)
        assert b'"custom_models":false' in (laned(world, "acme", ctx_of("acme")) or b"")


async def test_a_grant_shows_at_once_and_so_does_its_end() -> None:
    async with furnished() as world:
        grant = {"feature": "custom_models", "value": True}
        made = await world.must("POST", "/tenants/acme/grants", key="root", body=grant)
        assert (await config(world, "acme"))["features"]["custom_models"] is True
        assert (await config(world, "globex"))["features"]["custom_models"] is False
        await world.must("POST", "/tenants/acme/grants", key="root", body={"feature": "advanced_ai", "value": True})
        await world.must("DELETE", f"/tenants/acme/grants/{made['id']}", key="root")
        assert (await config(world, "acme"))["features"]["custom_models"] is False


async def test_a_blocking_read_waits_for_its_own_tenants_value_and_ends_with_its_key() -> None:
    async with furnished() as world:
        await patch(world, ACME, {"risk": {"depth": 7}})
        tag = header(await world.ask("GET", "/config/acme", key="acme"), b"etag")

        async def waiting() -> asyncio.Task[object]:
            ask = world.ask("GET", "/config/acme?wait_s=5", key="acme", headers={"if-none-match": tag})
            task: asyncio.Task[object] = asyncio.create_task(ask)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not task.done()
            return task

        first = await waiting()
        await patch(world, "/config/layers/tenant/globex", {"risk": {"depth": 1}})
        assert not first.done()
        await patch(world, ACME, {"risk": {"depth": 8}})
        async with asyncio.timeout(2):
            answer = await first
        assert getattr(answer, "status") == 200  # noqa: B009  # the task's type is wider
        tag = header(await world.ask("GET", "/config/acme", key="acme"), b"etag")
        second = await waiting()
        await world.must("DELETE", f"/tenants/acme/keys/{world.key_ids['acme']}", key="root")
        await patch(world, ACME, {"risk": {"depth": 9}})
        async with asyncio.timeout(2):
            assert getattr(await second, "status") == 401  # noqa: B009  # as above


async def test_a_platform_key_changes_the_layers_of_those_it_may_speak_for() -> None:
    async with furnished() as world:
        wanted = {
            "name": "g", "scopes": ["config:admin", "config:write", "tenant:assert"], "assertable_tenants": ["acme"],
        }  # fmt: skip
        world.keys["some"] = (await world.must("POST", "/keys", key="root", body=wanted))["api_key"]
        for tenant, status in (("acme", 200), ("globex", 403)):
            change = {"layer": {"tenant": tenant}, "if_match": "*", "document": {"risk": {"depth": 1}}}
            answer = await world.ask("POST", "/config/changes", key="some", body={"changes": [change]})
            assert answer.status == status, tenant


async def test_the_operator_is_told_which_key_wrote_a_layer_and_a_tenant_that_it_was_the_platform() -> None:
    async with furnished() as world:
        await patch(world, GLOBAL, {"risk": {"depth": 1}})
        assert (await world.must("GET", GLOBAL, key="root"))["author"].startswith("key:")
        explained = await world.must("GET", "/config/acme/explain", key="acme")
        assert explained["values"]["/risk/depth"]["author"] == "platform"
        own = await world.must("GET", "/config/acme/explain", key="root", headers={"x-tenant-id": "acme"})
        assert own["values"]["/risk/depth"]["author"].startswith("key:")


async def test_what_is_locked_while_another_change_is_on_its_way_is_locked_for_it() -> None:
    async with furnished() as world:
        for layer in (GLOBAL, "/config/layers/tier/pro"):
            lock = {"risk": {"mode": "a"}, "$guards": {"lock": ["/risk/mode"]}}
            locked, refused = await asyncio.gather(
                patch(world, layer, lock), patch(world, ACME, {"risk": {"mode": "b"}}, key="acme")
            )
            assert (locked.status, told(refused)["code"]) == (200, "locked")
            await world.ask("PUT", layer, key="root", body={}, headers=ANY)


async def test_a_layer_of_the_platform_is_written_in_its_trail() -> None:
    async with furnished() as world:
        await patch(world, GLOBAL, {"risk": {"depth": 1}})
        trail = await world.must("GET", "/audit?latest=1&limit=5", key="root")
        assert trail["entries"][-1]["type"] == "ConfigurationReloaded"


async def test_a_tenants_layers_are_limited_and_the_platforms_not_by_that() -> None:
    async with furnished() as world:
        for at in range(TENANT_LAYERS_MAX + 1):
            answer = await patch(world, f"{ACME}?service=s{at}", {"risk": {"depth": at % 9}}, key="acme")
            assert answer.status == (200 if at < TENANT_LAYERS_MAX else 429)
            assert (await patch(world, f"/config/layers/service/s{at}", {"risk": {"depth": 1}})).status == 200
        assert (await patch(world, f"{ACME}?service=s0", {"risk": {"depth": 8}}, key="acme")).status == 200


async def test_the_order_holds_without_any_layer_of_a_tenant() -> None:
    async with furnished() as world:
        await patch(world, "/config/layers/service/a", {"risk": {"depth": 1}})
        await patch(world, "/config/layers/environment/prod", {"risk": {"depth": 2}})
        assert (await config(world, "idle", "?service=a&environment=prod"))["risk"]["depth"] == 2
        await patch(world, "/config/layers/tier/free?service=a", {"risk": {"depth": 3}})
        assert (await config(world, "idle", "?service=a&environment=prod"))["risk"]["depth"] == 3
        await patch(world, "/config/layers/service/a?environment=prod", {"risk": {"depth": 4}})
        await patch(world, "/config/layers/tier/free?service=a&environment=prod", {"risk": {"depth": 5}})
        assert (await config(world, "idle", "?service=a&environment=prod"))["risk"]["depth"] == 5


async def test_a_key_that_ended_while_it_waited_is_told_nothing() -> None:
    async with furnished() as world:
        tag = header(await world.ask("GET", "/config/acme", key="acme"), b"etag")
        ask = world.ask("GET", "/config/acme?wait_s=0.1", key="acme", headers={"if-none-match": tag})
        waiting = asyncio.create_task(ask)
        for _ in range(20):
            await asyncio.sleep(0)
        await world.must("DELETE", f"/tenants/acme/keys/{world.key_ids['acme']}", key="root")
        async with asyncio.timeout(5):
            assert (await waiting).status == 401


async def test_a_lower_tier_on_its_way_binds_what_is_written_meanwhile() -> None:
    async with furnished() as world:
        lowered, refused = await asyncio.gather(
            world.ask("PATCH", "/tenants/acme", key="root", body={"tier": "free"}),
            patch(world, ACME, {"rate_limits": {"api_calls_per_hour": 5_000}}, key="acme"),
        )
        assert (lowered.status, told(refused)["code"]) == (200, "out_of_bounds")


async def test_in_open_mode_a_tenant_without_a_record_is_configured_by_its_claimed_tier() -> None:
    async with running(settings=Settings(open=True)) as world:
        for tier, calls in (("pro", 10_000), ("free", 1_000)):
            claims = {"x-tenant-id": "newcomer", "x-subscription-tier": tier}
            answer = await world.must("GET", "/config/newcomer", headers=claims)
            assert answer["config"]["rate_limits"] == {"api_calls_per_hour": calls}
            explained = await world.must("GET", "/config/newcomer/explain", headers=claims)
            assert explained["subscription_tier"] == tier
