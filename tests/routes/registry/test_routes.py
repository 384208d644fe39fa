"""The registry's operations through the pipeline: status, shapes, refusals, over the same steps a request takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from central_hub.edge.guard import Claims
from central_hub.edge.operations import Headers, Table
from central_hub.edge.pipeline import Answer, Pipeline, Request
from central_hub.edge.protection import RateProtection
from central_hub.edge.streams import Sink
from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.kernel.seq import HubSeq
from central_hub.registry.routes import RegistryRoutes, operations
from central_hub.registry.schemas import (
    DiscoveryAnswer,
    DrainAnswer,
    LegacyServiceAnswer,
    LegacyServicesAnswer,
    Registered,
    ServiceAnswer,
    ServicesAnswer,
)
from tests.unit.registry.house import House, opened
from tests.unit.registry.support import ctx_of
from tests.unit.registry.test_watch_model import MemorySink
from tests.unit.registry.test_watching import events_of

BODY = {"name": "risk", "host": "10.0.0.1", "port": 8080, "instance_id": "i-1", "lease_ttl_s": 30}
SCOPES = ("registry:read", "registry:write", "registry:shared", "registry:admin")


class BearerNames:
    """Believes `Bearer tenant/tier/scope,scope`; nothing is anonymous; `other` may be asserted by nobody."""

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        given = headers.get("authorization")
        if given is None:
            return ctx_of(None, kind=PrincipalKind.ANONYMOUS, principal="anonymous", scopes=frozenset())
        tenant, tier, scopes = given.removeprefix("Bearer ").split("/")
        held = frozenset(scopes.split(","))
        return ctx_of(
            tenant or None, tier=tier, scopes=held, principal=f"key-{tenant}", caller=claims.service_name or ""
        )

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        if ctx.tenant_id is None and tenant_id == "acme":
            return msgspec.structs.replace(ctx, tenant_id=TenantId(tenant_id))
        raise HubError("tenant_mismatch", Kind.DENIED, "That tenant is not this caller's to speak for.")

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        return False


class Nobody:
    """Notes no denial."""

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        return "decision"


class Stand:
    """Where a caller stands, from the runner."""

    def __init__(self, house: House) -> None:
        self._house = house

    def position_of(self, ctx: TenantContext) -> HubSeq:
        runner = self._house.runner
        return HubSeq("inc1", runner.position(ctx.domain), runner.position(DomainId("shared")))

    @property
    def may_be_behind(self) -> bool:
        return False

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        return True


class NoConfiguration:
    """Values of configuration are another feature's."""

    def admit(self, ctx: TenantContext, wanted: str, instance: str = "") -> Callable[[Sink], Callable[[], None]]:
        raise AssertionError(f"{ctx.tenant_id} asks for {wanted}")


class NoBreakers:
    """Verdicts about breakers are another feature's."""

    def admit(self, ctx: TenantContext, names: frozenset[str] | None) -> Callable[[Sink], Callable[[], None]]:
        raise AssertionError(f"{ctx.tenant_id} asks about {names}")


class Hub:
    """A house behind the pipeline."""

    def __init__(self, house: House) -> None:
        self.house = house
        bearer = BearerNames()
        routes = RegistryRoutes(
            registry=house.registry, reading=house.reading, dependencies=house.dependencies, watch=house.watch,
            loads=house.loads, authenticate=bearer, config=NoConfiguration(), breakers=NoBreakers(),
        )  # fmt: skip
        self.pipeline = Pipeline(Table(operations(routes)), bearer, Nobody(), Stand(house), RateProtection(house.clock))

    async def raw(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        who: str | None = "acme/free/" + ",".join(SCOPES[:2]),
        **headers: str,
    ) -> Answer:
        path, _, query = target.partition("?")
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if who is not None:
            lines.append((b"authorization", f"Bearer {who}".encode()))
        if body is not None:
            lines.append((b"content-type", b"application/json"))

        async def read_body(limit: int) -> bytes:
            return b"" if body is None else json.dumps(body).encode()

        return await self.pipeline.answer(
            Request(method, path, target.encode(), query.encode(), Headers(lines), "127.0.0.1", read_body)
        )

    async def call(self, method: str, target: str, body: object = None, **more: Any) -> tuple[int, Any]:
        answer = await self.raw(method, target, body, **more)
        return answer.status, json.loads(answer.body) if answer.body else None


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with opened() as house:
        yield Hub(house)


OTHER = "other/free/registry:read,registry:write"
OPERATOR = "/enterprise/" + ",".join(SCOPES)
INSTANCE = "/services/risk/instances/i-1"

EVERY = [
    ("POST", "/services/register", BODY),
    ("POST", "/services/register/batch", {"instances": [BODY]}),
    ("GET", "/services/", None),
    ("GET", "/services/risk", None),
    ("GET", INSTANCE, None),
    ("GET", "/services/discover/risk", None),
    ("GET", "/services/discover", None),
    ("POST", "/services/discover", {}),
    ("POST", f"{INSTANCE}/drain", None),
    ("POST", f"{INSTANCE}/undrain", None),
    ("DELETE", INSTANCE, None),
    ("GET", "/dependencies", None),
    ("GET", "/watch?services=risk", None),
]


@pytest.mark.parametrize(("method", "target", "body"), EVERY)
async def test_anonymous_callers_and_wrong_scopes_get_nowhere(hub: Hub, method: str, target: str, body: object) -> None:
    await hub.call("POST", "/services/register", BODY)
    before = hub.house.runner.pos
    status, problem = await hub.call(method, target, body, who=None)
    assert (status, problem["code"]) == (401, "credential_required")
    status, problem = await hub.call(method, target, body, who="acme/free/health:read")
    assert (status, problem["code"]) == (403, "scope_missing")
    assert hub.house.runner.pos == before


async def test_registering_answers_201_in_the_contracts_shape(hub: Hub) -> None:
    status, answer = await hub.call("POST", "/services/register", BODY)
    assert status == 201
    assert answer["lease"]["ttl_s"] == 30
    assert {"service_name", "instance_id", "tenant_id", "tenant_namespace", "lease", "seq"} <= set(answer)
    msgspec.convert(answer, Registered)
    assert (await hub.call("POST", "/services/register", BODY)) == (201, answer)


async def test_the_least_a_first_user_sent_is_enough(hub: Hub) -> None:
    status, answer = await hub.call(
        "POST", "/services/register", {"name": "risk", "host": "localhost", "port": 8001}, who=OPERATOR
    )
    assert (status, answer["tenant_id"], answer["tenant_namespace"]) == (201, None, None)
    assert answer["warnings"]


async def test_an_unknown_field_is_refused_with_the_one_that_was_meant(hub: Hub) -> None:
    status, problem = await hub.call("POST", "/services/register", {**BODY, "tagz": []})
    assert status == 422
    assert "Did you mean 'tags'?" in problem["detail"]


@pytest.mark.parametrize("body", [{}, [], {"name": "risk"}, {**BODY, "port": "x"}, {**BODY, "port": 0}])
async def test_a_malformed_registration_changes_nothing(hub: Hub, body: object) -> None:
    status, _ = await hub.call("POST", "/services/register", body)
    assert status == 422
    assert hub.house.runner.pos == 0


async def test_a_tenant_that_is_not_the_callers_is_403_wherever_it_is_named(hub: Hub) -> None:
    for method, target, body in (
        ("POST", "/services/register", {**BODY, "tenant_id": "other"}),
        ("GET", "/services/discover/risk?tenant_id=other", None),
        ("GET", "/services/?tenant_id=nobody", None),
        ("POST", "/services/discover", {"tenant_context": {"tenant_id": "other"}}),
    ):
        status, problem = await hub.call(method, target, body)
        assert (status, problem["code"]) == (403, "tenant_mismatch")


async def test_a_batch_answers_item_by_item(hub: Hub) -> None:
    items = [BODY, {**BODY, "port": 0}, {**BODY, "instance_id": "i-2", "tenant_id": "other"}]
    status, answer = await hub.call("POST", "/services/register/batch", {"instances": items})
    assert (status, answer["registered"], answer["refused"]) == (200, 1, 2)
    assert [one["status"] for one in answer["results"]] == [201, 422, 403]


async def test_listing_one_service_one_instance_and_discovery_have_their_shapes(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    _, listing = await hub.call("GET", "/services/")
    msgspec.convert(listing, ServicesAnswer)
    _, one = await hub.call("GET", "/services/risk")
    msgspec.convert(one, ServiceAnswer)
    assert listing["services"]["risk"] == one
    _, found = await hub.call("GET", "/services/discover/risk?explain=1")
    msgspec.convert(found, DiscoveryAnswer)
    assert found["explain"]["method"] == "power_of_two_choices"
    _, by_query = await hub.call("GET", "/services/discover?service_name=risk")
    _, by_body = await hub.call("POST", "/services/discover", {"service_name": "risk"})
    assert by_query == by_body
    assert (await hub.call("GET", "/services/discover"))[1] == listing
    assert (await hub.call("POST", "/services/discover"))[1] == listing
    _, instance = await hub.call("GET", INSTANCE)
    assert {**one["instances"][0], "service_name": "risk", "domain": "tenant"} == instance


async def test_the_legacy_listing_has_its_shape(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY, who=OPERATOR)
    for method, target, body in (
        ("GET", "/services/?legacy_mode=true", None),
        ("GET", "/services/discover?legacy_mode=true", None),
        ("POST", "/services/discover", {"legacy_mode": True}),
    ):
        _, listing = await hub.call(method, target, body)
        shown = msgspec.convert(listing, LegacyServicesAnswer)
        assert list(shown.services) == ["risk"]
        assert listing["services"]["risk"].keys() == set(LegacyServiceAnswer.__struct_fields__)


async def test_filters_come_through_the_query(hub: Hub) -> None:
    await hub.call("POST", "/services/register", {**BODY, "tags": ["a", "b"], "metadata": {"type": "x"}})
    for query, count in (("tag=a&tag=b&metadata.type=x", 1), ("tag=c", 0), ("healthy=true", 0), ("metadata.type=y", 0)):
        _, one = await hub.call("GET", f"/services/risk?{query}")
        assert len(one["instances"]) == count
    status, problem = await hub.call("GET", "/services/risk?tagz=1")
    assert (status, problem["code"]) == (400, "invalid_query")


async def test_another_tenant_gets_the_same_404_as_for_nothing(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    for target in ("/services/risk", "/services/discover/risk", INSTANCE):
        foreign = await hub.raw("GET", target, who=OTHER)
        missing = await hub.raw("GET", target.replace("risk", "none"), who=OTHER)
        assert foreign.status == missing.status == 404
        assert foreign.body.replace(b"risk", b"none") == missing.body


async def test_if_none_match_gets_a_304_until_something_changes(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    for target in ("/services/risk", "/services/discover/risk"):
        first = dict((await hub.raw("GET", target)).headers)
        again = await hub.raw("GET", target, if_none_match=f'"x", {first[b"etag"].decode()}')
        assert (again.status, again.body) == (304, b"")
    etag = dict((await hub.raw("GET", "/services/risk")).headers)[b"etag"].decode()
    await hub.call("POST", "/services/register", {**BODY, "version": "2"})
    assert (await hub.raw("GET", "/services/risk", if_none_match=etag)).status == 200


async def test_draining_is_202_and_says_who_has_seen_it_and_undraining_takes_it_back(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    status, drained = await hub.call("POST", f"{INSTANCE}/drain")
    assert (status, drained["draining"]) == (202, True)
    msgspec.convert(drained, DrainAnswer)
    hub.house.loads.report(DomainId("acme"), "risk", "i-1", at_ms=0.0, in_flight=4, acked_seq=drained["seq"])
    _, again = await hub.call("POST", f"{INSTANCE}/drain")
    assert (again["in_flight"], again["acknowledged"]["instances"]) == (4, ["risk/i-1"])
    _, found = await hub.call("GET", "/services/discover/risk")
    assert (found["recommended_endpoint"], found["reason"]) == (None, "all_draining")
    status, back = await hub.call("POST", f"{INSTANCE}/undrain")
    assert (status, back["draining"]) == (200, False)
    assert (await hub.call("POST", "/services/risk/instances/none/drain"))[0] == 404


async def test_deleting_is_204_twice_and_for_what_another_tenant_owns(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    assert await hub.call("DELETE", INSTANCE, who=OTHER) == (204, None)
    assert (await hub.call("GET", INSTANCE))[0] == 200
    for _ in range(2):
        assert await hub.call("DELETE", INSTANCE) == (204, None)
    assert (await hub.call("GET", INSTANCE))[0] == 404


async def test_a_shared_service_above_the_tier_is_403_with_the_way_up(hub: Hub) -> None:
    await hub.call("POST", "/services/register", {**BODY, "subscription_requirements": ["pro"]}, who=OPERATOR)
    for target in ("/services/risk", "/services/discover/risk"):
        status, problem = await hub.call("GET", target)
        assert (status, problem["code"], problem["upgrade_to"]) == (403, "tier_too_low", "pro")
    assert (await hub.call("GET", "/services/"))[1] == {"services": {}, "truncated": False}


async def test_waiting_beyond_the_head_is_410(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    status, problem = await hub.call("GET", "/services/discover/risk?wait_seq=99&wait_s=1")
    assert (status, problem["code"]) == (410, "position_gone")


async def test_the_graph_knows_who_asked(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    await hub.call("GET", "/services/discover/risk", x_service_name="gateway")
    _, graph = await hub.call("GET", "/dependencies")
    edge = {"caller": "gateway", "service": "risk", "declared": False, "lookups": 1, "known": True}
    assert graph == {"edges": [edge], "truncated": False}
    assert (await hub.call("GET", "/dependencies", who=OTHER))[1]["edges"] == []


async def test_a_watch_streams_and_resumes_from_its_last_event(hub: Hub) -> None:
    await hub.call("POST", "/services/register", BODY)
    answer = await hub.raw("GET", "/watch?services=risk")
    assert dict(answer.headers)[b"content-type"] == b"text/event-stream"
    assert answer.stream is not None
    sink = MemorySink()
    ended = answer.stream(sink)
    events = events_of(sink)
    assert [event for event, _, _ in events] == ["snapshot", "sync"]
    ended()
    assert hub.house.watch.watchers == 0
    await hub.call("POST", "/services/register", {**BODY, "version": "2"})
    again = await hub.raw("GET", "/watch?services=risk", last_event_id=events[-1][2])
    assert again.stream is not None
    sink = MemorySink()
    again.stream(sink)
    assert [event for event, _, _ in events_of(sink)] == ["delta", "sync"]
    assert (await hub.call("GET", "/watch?services=NO"))[0] == 400
    assert (await hub.call("GET", "/watch"))[0] == 400


async def test_a_retry_with_the_same_idempotency_key_registers_once(hub: Hub) -> None:
    body = {key: value for key, value in BODY.items() if key != "instance_id"}
    first = await hub.call("POST", "/services/register", body, idempotency_key="k-1")
    assert await hub.call("POST", "/services/register", body, idempotency_key="k-1") == first
    assert len((await hub.call("GET", "/services/risk"))[1]["instances"]) == 1
