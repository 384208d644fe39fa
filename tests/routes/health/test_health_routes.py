"""Health's operations through the real pipeline: shapes, refusals, scopes."""

from __future__ import annotations

from central_hub.health.reading import HealthReading
from central_hub.health.routes import operations
from central_hub.health.usecases import Heartbeats
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import PLATFORM
from tests.routes.health.support import Client
from tests.unit.health.support import OTHER, SHARED, World, instance, running
from tests.unit.health.test_usecases import ctx_of
from tests.unit.registry.support import TierTable

HEARTBEAT = "/services/risk/instances/i-1/heartbeat"


def client_of(world: World, ctx: TenantContext | None = None, **options: int) -> Client:
    heartbeats = Heartbeats(world.keeper, world.view, world.loads, world.clock)
    reading = HealthReading(world.keeper, world.view, TierTable(), world.clock, **options)
    return Client(operations(heartbeats, reading), ctx or ctx_of())


PLATFORM_CALLER = TenantContext(
    principal=Principal(id="root", kind=PrincipalKind.KEY, home=PLATFORM, scopes=frozenset({"platform:admin"})),
    tenant_id=None,
    tier="free",
    rank=0,
)


async def test_a_heartbeat_answers_the_lease() -> None:
    async with running() as world:
        await world.register(instance())
        answer = await client_of(world).ask("PUT", HEARTBEAT, {"in_flight": 2})
        assert (answer.status, answer.body) == (200, {"lease": {"ttl_s": 3.0, "kept_by": "heartbeat"}})


async def test_a_heartbeat_needs_no_body() -> None:
    async with running() as world:
        await world.register(instance())
        assert (await client_of(world).ask("PUT", HEARTBEAT)).status == 200


async def test_a_heartbeat_of_nobody_is_404_and_says_what_to_do() -> None:
    async with running() as world:
        answer = await client_of(world).ask("PUT", HEARTBEAT, {})
        assert (answer.status, answer.body["code"]) == (404, "instance_not_found")
        assert "Register it again" in answer.body["next"]


async def test_a_misspelt_field_is_refused_with_a_hint_and_renews_nothing() -> None:
    async with running() as world:
        await world.register(instance())
        answer = await client_of(world).ask("PUT", HEARTBEAT, {"inflight": 2})
        assert (answer.status, answer.body["code"]) == (422, "invalid_body")
        assert "in_flight" in answer.body["detail"]
        assert world.keeper.renewals == 0


async def test_many_heartbeats_at_once() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"))
        beats = [{"service_name": "risk", "instance_id": name} for name in ("i-1", "i-2", "i-3")]
        answer = await client_of(world).ask("POST", "/services/heartbeats", {"instances": beats})
        assert answer.status == 200
        assert answer.body == {
            "renewed": 2,
            "unknown": [{"service_name": "risk", "instance_id": "i-3"}],
            "denied": [],
        }


async def test_heartbeats_need_the_scope_to_write() -> None:
    async with running() as world:
        reader = TenantContext(
            principal=Principal(id="key-1", kind=PrincipalKind.KEY, home=OTHER, scopes=frozenset({"health:read"})),
            tenant_id=None,
            tier="free",
            rank=0,
        )
        client = client_of(world, reader)
        assert (await client.ask("PUT", HEARTBEAT, {})).status == 403
        assert (await client.ask("POST", "/services/heartbeats", {"instances": []})).status == 403


async def test_the_map_of_services_has_the_agreed_shape_and_says_when_it_is_cut() -> None:
    async with running() as world:
        await world.register(instance(), domain=SHARED)
        await world.register(instance(service="second"), domain=SHARED)
        answer = await client_of(world).ask("GET", "/health/services")
        assert answer.body["risk"] == {"status": "unknown", "latency": None, "last_check": None}
        assert "hub-truncated" not in answer.headers
        cut = await client_of(world, listed_max=1).ask("GET", "/health/services")
        assert cut.headers["hub-truncated"] == "true"


async def test_one_service_and_a_missing_one() -> None:
    async with running() as world:
        await world.register(instance())
        client = client_of(world)
        shown = await client.ask("GET", "/health/services/risk")
        assert shown.body["counts"] == {"healthy": 0, "degraded": 0, "unhealthy": 0, "unknown": 1}
        assert shown.body["instances"][0]["instance_id"] == "i-1"
        assert (await client.ask("GET", "/health/services/nope")).status == 404


async def test_a_tenant_may_not_read_the_systems_sums_and_the_platform_may() -> None:
    async with running() as world:
        await world.register(instance())
        assert (await client_of(world).ask("GET", "/health/system")).status == 403
        assert (await client_of(world).ask("GET", "/health/tenant")).body["instances"]["unknown"] == 1
        system = await client_of(world, PLATFORM_CALLER).ask("GET", "/health/system")
        assert system.body["instances"]["unknown"] == 1
        assert "tenant_id" not in system.body


async def test_heartbeats_never_count_against_the_hubs_limits_and_reads_do() -> None:
    async with running() as world:
        await world.register(instance())
        client = client_of(world)
        client.exhaust()
        assert (await client.ask("PUT", HEARTBEAT, {})).status == 200
        assert (await client.ask("POST", "/services/heartbeats", {"instances": []})).status == 200
        assert (await client.ask("GET", "/health/services")).status == 429
