"""Heartbeats: who may send them, what they carry, and what they cost nothing of."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.health.model import HEARTBEAT_BATCH_MAX
from central_hub.health.schemas import BatchBeat, Heartbeat, HeartbeatBatch
from central_hub.health.usecases import BATCH_SLICE, Heartbeats
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.registry.model import Status
from tests.unit.health.support import ACME, OTHER, RANKS, World, instance, running


def ctx_of(
    tenant: str | None = "acme", *, principal: str = "key-1", scopes: tuple[str, ...] = (), tier: str = "free"
) -> TenantContext:
    home = SHARED if tenant is None else DomainId(tenant)
    return TenantContext(
        principal=Principal(
            id=principal,
            kind=PrincipalKind.KEY,
            home=home,
            scopes=frozenset({"registry:write", "health:read", *scopes}),
        ),
        tenant_id=None if tenant is None else TenantId(tenant),
        tier=tier,
        rank=RANKS[tier],
    )


def heartbeats_of(world: World) -> Heartbeats:
    return Heartbeats(world.keeper, world.view, world.loads, world.clock)


def beat(instance_id: str, service: str = "risk", **said: float) -> BatchBeat:
    return msgspec.convert({"service_name": service, "instance_id": instance_id, **said}, BatchBeat)


async def test_a_heartbeat_renews_and_answers_the_lease() -> None:
    async with running() as world:
        await world.register(instance())
        world.pass_time(2_500)
        lease = heartbeats_of(world).beat(ctx_of(), "risk", "i-1", None)
        assert (lease.ttl_s, lease.kept_by) == (3.0, "heartbeat")
        world.pass_time(2_500)
        assert world.kept().leaving is None


async def test_what_a_heartbeat_reports_reaches_the_loads() -> None:
    async with running() as world:
        await world.register(instance())
        heartbeats_of(world).beat(
            ctx_of(), "risk", "i-1", Heartbeat(in_flight=3, load=0.5, latency_ms_p95=12.0, acked_seq=7)
        )
        load = world.loads.of(ACME, "risk", "i-1")
        assert load is not None
        assert (load.in_flight, load.load, load.latency_ms_p95, load.acked_seq) == (3, 0.5, 12.0, 7)
        assert world.kept().group.latency_ms == 12.0


async def test_an_unknown_instance_is_told_to_register_again() -> None:
    async with running() as world:
        with pytest.raises(HubError) as refused:
            heartbeats_of(world).beat(ctx_of(), "risk", "i-1", None)
        assert (refused.value.code, refused.value.kind) == ("instance_not_found", Kind.NOT_FOUND)


async def test_another_tenants_instance_looks_exactly_like_a_missing_one() -> None:
    async with running() as world:
        await world.register(instance(), domain=OTHER)
        refusals = []
        for instance_id in ("i-1", "i-2"):
            with pytest.raises(HubError) as refused:
                heartbeats_of(world).beat(ctx_of(), "risk", instance_id, None)
            refusals.append((refused.value.code, refused.value.message.replace(instance_id, "X")))
        assert refusals[0] == refusals[1]


async def test_only_the_registrant_or_the_domains_admin_may_renew() -> None:
    async with running() as world:
        await world.register(instance())
        beats = heartbeats_of(world)
        with pytest.raises(HubError) as refused:
            beats.beat(ctx_of(principal="key-2"), "risk", "i-1", None)
        assert refused.value.code == "not_owner"
        beats.beat(ctx_of(principal="key-2", scopes=("registry:admin",)), "risk", "i-1", None)


async def test_a_tenants_admin_may_not_renew_a_shared_instance_but_its_registrant_may() -> None:
    async with running() as world:
        await world.register(instance(), domain=SHARED)
        beats = heartbeats_of(world)
        beats.beat(ctx_of(), "risk", "i-1", None)
        with pytest.raises(HubError) as refused:
            beats.beat(ctx_of(principal="key-2", scopes=("registry:admin",)), "risk", "i-1", None)
        assert refused.value.code == "not_owner"


async def test_a_shared_instance_above_the_callers_tier_is_as_good_as_missing() -> None:
    async with running() as world:
        await world.register(instance(subscription_requirements=("pro",)), domain=SHARED)
        with pytest.raises(HubError) as refused:
            heartbeats_of(world).beat(ctx_of(principal="key-2"), "risk", "i-1", None)
        assert refused.value.code == "instance_not_found"


async def test_a_batch_renews_each_on_its_own() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"), instance("theirs", owner="key-9"))
        world.pass_time(2_000)
        answer = await heartbeats_of(world).beat_many(
            ctx_of(), [beat("i-1"), beat("i-2", in_flight=4), beat("theirs"), beat("gone"), beat("i-1", "nope")]
        )
        assert answer.renewed == 2
        assert [ref.instance_id for ref in answer.denied] == ["theirs"]
        assert [(ref.service_name, ref.instance_id) for ref in answer.unknown] == [("risk", "gone"), ("nope", "i-1")]
        world.pass_time(2_000)
        assert world.kept("i-1").leaving is None
        assert world.kept("theirs").leaving is not None


async def test_a_batch_longer_than_a_slice_is_renewed_whole() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(BATCH_SLICE + 50)]
        await world.register(*(instance(name) for name in names))
        answer = await heartbeats_of(world).beat_many(ctx_of(), [beat(name) for name in names])
        assert answer.renewed == len(names)
        assert world.keeper.population.instances[0] == len(names)


async def test_heartbeats_work_while_the_store_is_down() -> None:
    async with running() as world:
        await world.register(instance())
        world.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "down")
        heartbeats_of(world).beat(ctx_of(), "risk", "i-1", None)
        assert world.kept().standing.status is Status.HEALTHY


@pytest.mark.parametrize(
    "said",
    [
        '{"in_flight": -1}',
        '{"load": -0.1}',
        '{"latency_ms_p95": 1e9}',
        '{"acked_seq": -1}',
        '{"inflight": 1}',
        '{"in_flight": 1.5}',
    ],
)
def test_a_report_out_of_bounds_is_refused(said: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(said, type=Heartbeat)


def test_a_batch_has_a_limit() -> None:
    one = {"service_name": "risk", "instance_id": "i"}
    assert (
        len(msgspec.convert({"instances": [one] * HEARTBEAT_BATCH_MAX}, HeartbeatBatch).instances)
        == HEARTBEAT_BATCH_MAX
    )
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"instances": [one] * (HEARTBEAT_BATCH_MAX + 1)}, HeartbeatBatch)
