"""The pipeline: the order of its steps and what each refusal tells."""

from typing import Any

import msgspec
import pytest

from central_hub.edge.guard import Claims
from central_hub.edge.operations import Call, Headers, Operation, Reply, Table
from central_hub.edge.pipeline import Answer, BodyTooLarge, Pipeline, Request
from central_hub.edge.protection import RateProtection
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.seq import HubSeq


class _Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    tenant_id: str | None = None


class _Callers:
    """Three callers: a tenant's key `a`, the platform's key `root`, and anyone without a key."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        given = headers.get("authorization")
        if given == "Bearer a":
            principal = Principal(
                id="a", kind=PrincipalKind.KEY, home=DomainId("acme"), scopes=frozenset({"thing:read"})
            )
            return TenantContext(
                principal=principal, tenant_id=TenantId("acme"), tier="pro", rank=1,
                correlation_id=claims.correlation_id or "",
            )  # fmt: skip
        if given == "Bearer root":
            principal = Principal(
                id="root", kind=PrincipalKind.KEY, home=PLATFORM, scopes=frozenset({"platform:admin"}), assertable=None
            )
            return TenantContext(principal=principal, tenant_id=None, tier="", rank=0)
        principal = Principal(id="", kind=PrincipalKind.ANONYMOUS, home=PLATFORM, scopes=frozenset())
        return TenantContext(principal=principal, tenant_id=None, tier="", rank=0)

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        return ctx.principal.assertable is None or tenant_id in ctx.principal.assertable

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        if not self.may_assert(ctx, tenant_id):
            raise HubError("tenant_mismatch", Kind.DENIED, "no")
        return msgspec.structs.replace(ctx, tenant_id=TenantId(tenant_id))

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        self.noted.append(f"{operation}:{error.code}")
        return "decision"

    def position_of(self, ctx: TenantContext) -> HubSeq:
        return HubSeq("inc", 1, 2)

    @property
    def may_be_behind(self) -> bool:
        return False

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        return True


async def _thing(call: Call) -> Reply:
    if call.body is not None and call.body.name == "boom":
        raise RuntimeError("secret detail")
    return Reply(body={"tenant": call.ctx.tenant_id})


def _row(name: str, method: str, path: str, **more: Any) -> Operation:
    more.setdefault("scope", "thing:read")
    return Operation(id=name, method=method, path=path, handler=_thing, summary="", tag="t", **more)


@pytest.fixture
def callers() -> _Callers:
    return _Callers()


@pytest.fixture
def pipeline(callers: _Callers) -> Pipeline:
    table = Table(
        [
            _row("get_thing", "GET", "/things", query=_Thing),
            _row("put_thing", "POST", "/things", body=_Thing, body_bytes_max=64),
            _row("admin_thing", "DELETE", "/things", scope="thing:admin"),
            _row("tenant_thing", "GET", "/tenants/{tenant_id}/things", tenant_param="tenant_id"),
            _row("own_thing", "GET", "/own", needs_tenant=True),
            _row("open_thing", "GET", "/open", scope=None, public=True),
        ]
    )
    return Pipeline(table, callers, callers, callers, RateProtection(ManualClock()))


async def _ask(pipeline: Pipeline, line: str, *, key: str = "a", body: bytes = b"", **headers: str) -> Answer:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if key:
        raw.append((b"authorization", f"Bearer {key}".encode()))

    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise BodyTooLarge
        return body

    return await pipeline.answer(
        Request(method, path, target.encode(), query.encode(), Headers(raw), "127.0.0.1", read)
    )


def _code(answer: Answer) -> str:
    return str(msgspec.json.decode(answer.body)["code"])


async def test_an_answer_carries_position_tier_and_correlation(pipeline: Pipeline) -> None:
    answer = await _ask(pipeline, "GET /things", x_correlation_id="c-1")
    assert answer.status == 200
    assert dict(answer.headers)[b"hub-seq"] == b"inc.1.2"
    assert dict(answer.headers)[b"hub-tier"] == b"pro"
    assert dict(answer.headers)[b"x-correlation-id"] == b"c-1"


async def test_malformed_headers_are_refused_before_authentication(pipeline: Pipeline) -> None:
    answer = await _ask(pipeline, "GET /things", key="", x_tenant_id="a,b")
    assert (answer.status, _code(answer)) == (400, "invalid_header")


async def test_anonymous_gets_401_with_a_decision_where_a_scope_is_needed(
    pipeline: Pipeline, callers: _Callers
) -> None:
    answer = await _ask(pipeline, "GET /things", key="")
    assert (answer.status, _code(answer)) == (401, "credential_required")
    assert msgspec.json.decode(answer.body)["decision_id"] == "decision"
    assert b"www-authenticate" in dict(answer.headers)
    assert callers.noted == ["get_thing:credential_required"]
    assert (await _ask(pipeline, "GET /open", key="")).status == 200


async def test_a_missing_scope_is_403(pipeline: Pipeline) -> None:
    assert _code(await _ask(pipeline, "DELETE /things")) == "scope_missing"


async def test_a_tenant_claimed_in_query_or_body_must_be_the_callers(pipeline: Pipeline) -> None:
    assert _code(await _ask(pipeline, "GET /things?tenant_id=other")) == "tenant_mismatch"
    json = {"content_type": "application/json"}
    assert _code(await _ask(pipeline, "POST /things", body=b'{"tenant_id":"other"}', **json)) == "tenant_mismatch"
    assert (await _ask(pipeline, "POST /things", body=b'{"tenant_id":"acme"}', **json)).status == 200


async def test_two_tenants_in_one_request_are_400(pipeline: Pipeline) -> None:
    answer = await _ask(pipeline, "GET /things?tenant_id=other", x_tenant_id="acme")
    assert (answer.status, _code(answer)) == (400, "tenant_disagrees")


async def test_another_tenants_path_looks_like_a_missing_one(pipeline: Pipeline) -> None:
    other = await _ask(pipeline, "GET /tenants/other/things")
    missing = await _ask(pipeline, "GET /tenants/nobody/things")
    assert (other.status, _code(other)) == (404, "tenant_not_found")
    assert other.body == missing.body
    assert (await _ask(pipeline, "GET /tenants/acme/things")).status == 200
    assert (await _ask(pipeline, "GET /tenants/other/things", key="root")).body == b'{"tenant":"other"}'


async def test_an_operation_that_needs_a_tenant_says_so(pipeline: Pipeline) -> None:
    assert _code(await _ask(pipeline, "GET /own", key="root")) == "tenant_required"


async def test_an_operation_that_needs_a_tenant_serves_one(pipeline: Pipeline) -> None:
    assert (await _ask(pipeline, "GET /own")).body == b'{"tenant":"acme"}'


async def test_the_hubs_own_limits_come_after_the_scope_and_before_the_body(callers: _Callers) -> None:
    table = Table([_row("put_thing", "POST", "/things", body=_Thing), _row("admin", "POST", "/all", scope="thing:all")])
    protection = RateProtection(ManualClock(), reads_per_s=1.0, writes_per_s=1.0)
    pipeline = Pipeline(table, callers, callers, callers, protection)
    assert _code(await _ask(pipeline, "POST /all")) == "scope_missing"
    codes = [_code(await _ask(pipeline, "POST /things", body=b"{", content_type="application/json")) for _ in range(9)]
    assert codes[-1] == "too_many_requests"
    assert "too_many_requests" not in codes[:2]
    # A refusal costs the hub as much as an answer, so it is counted like one.
    assert _code(await _ask(pipeline, "POST /all")) == "too_many_requests"


async def test_a_read_that_is_sent_as_post_spends_what_reads_may(callers: _Callers) -> None:
    table = Table([_row("ask_thing", "POST", "/things", body=_Thing)])
    protection = RateProtection(ManualClock(), reads_per_s=1.0, writes_per_s=1_000.0)
    pipeline = Pipeline(table, callers, callers, callers, protection)
    body = msgspec.json.encode({"name": "a"})
    for _ in range(9):
        await _ask(pipeline, "POST /things", body=body, content_type="application/json")
    assert protection.refusals == {name: 6 * (name == "hub_reads_per_second") for name in protection.refusals}


async def test_what_is_not_let_in_is_left_again(callers: _Callers) -> None:
    table = Table([_row("put_thing", "POST", "/things", body=_Thing)])
    protection = RateProtection(ManualClock())
    pipeline = Pipeline(table, callers, callers, callers, protection)
    await _ask(pipeline, "POST /things", body=b"{", content_type="application/json")
    ctx = callers.authenticate(Headers([(b"authorization", b"Bearer a")]), Claims(), origin="", method="POST")
    assert protection.share(ctx).in_flight == 0


async def test_a_wrong_method_names_the_right_ones(pipeline: Pipeline) -> None:
    answer = await _ask(pipeline, "PUT /things")
    assert answer.status == 405
    assert dict(answer.headers)[b"allow"] == b"DELETE, GET, HEAD, POST"
    assert _code(await _ask(pipeline, "GET /nowhere")) == "no_such_path"


async def test_a_path_that_is_right_but_for_its_last_slash_is_told(pipeline: Pipeline) -> None:
    mended = msgspec.json.decode((await _ask(pipeline, "GET /things/")).body)["next"]
    assert mended == "Mind the slash at the end: /things"
    assert "openapi.json" in msgspec.json.decode((await _ask(pipeline, "GET /nowhere/")).body)["next"]


async def test_bodies_are_bounded_and_json_only(pipeline: Pipeline) -> None:
    json = {"content_type": "application/json"}
    assert (await _ask(pipeline, "POST /things", body=b"{" + b" " * 64 + b"}", **json)).status == 413
    assert (await _ask(pipeline, "POST /things", body=b"{}", content_length="65", **json)).status == 413
    assert (await _ask(pipeline, "POST /things", body=b"{}")).status == 415
    assert (await _ask(pipeline, "POST /things", body=b"", **json)).status == 422


async def test_a_bug_becomes_a_500_that_tells_nothing(pipeline: Pipeline) -> None:
    answer = await _ask(pipeline, "POST /things", body=b'{"name":"boom"}', content_type="application/json")
    assert answer.status == 500
    assert b"secret" not in answer.body


@pytest.mark.parametrize("key", ["", "x" * 129, "a\tb"])
async def test_an_idempotency_key_is_bounded_and_printable(pipeline: Pipeline, key: str) -> None:
    answer = await _ask(pipeline, "GET /things", idempotency_key=key)
    assert (answer.status, _code(answer)) == (400, "invalid_idempotency_key")
