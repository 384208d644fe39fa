"""Whom the lane answers: callers that the edge itself would serve, and nobody in doubt."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.edge.authenticate import CallerRefused
from central_hub.edge.guard import Claims
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.operations import Headers
from central_hub.edge.shares import HubLimits, Share
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId, TenantId

KEY = (b"authorization", b"Bearer k")


def ctx_of(kind: PrincipalKind = PrincipalKind.KEY, *scopes: str) -> TenantContext:
    held = frozenset(scopes or ("registry:read",))
    principal = Principal(id="k", kind=kind, home=DomainId("acme"), scopes=held)
    return TenantContext(principal=principal, tenant_id=TenantId("acme"), tier="pro", rank=2)


class Prover:
    """Proves everyone to be the caller that a test set."""

    def __init__(self, ctx: TenantContext | HubError) -> None:
        self.ctx = ctx
        self.claims: list[Claims] = []

    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        self.claims.append(claims)
        if isinstance(self.ctx, HubError):
            raise self.ctx
        return self.ctx

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        return ctx

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        return True


def share_of(ctx: TenantContext) -> Share:
    return Share(lambda tier: HubLimits())


def answered(ctx: TenantContext | HubError, *lines: tuple[bytes, bytes], open_mode: bool = False) -> bool:
    auth = PipelineAuth(Prover(ctx), share_of, open_mode=open_mode)
    return auth.authorize(list(lines), "10.0.0.1") is not None


@pytest.mark.parametrize("kind", PrincipalKind)
def test_only_keys_gateways_and_open_callers_are_answered(kind: PrincipalKind) -> None:
    served = kind in (PrincipalKind.KEY, PrincipalKind.GATEWAY, PrincipalKind.OPEN)
    assert answered(ctx_of(kind), KEY) == served


def test_without_a_credential_only_an_open_hub_answers() -> None:
    assert not answered(ctx_of())
    assert answered(ctx_of(PrincipalKind.OPEN), open_mode=True)
    assert answered(ctx_of(PrincipalKind.OPEN), KEY, open_mode=True)


def test_the_scope_is_asked_for() -> None:
    assert not answered(ctx_of(PrincipalKind.KEY, "config:read"), KEY)


def test_what_the_guard_or_authentication_refuses_is_left_to_the_framework() -> None:
    assert not answered(ctx_of(), KEY, (b"x-tenant-id", b"a,b"))
    assert not answered(ctx_of(), KEY, (b"x_tenant_id", b"acme"))
    refusal = HubError("tenant_mismatch", Kind.DENIED, "no")
    assert not answered(refusal, KEY)
    assert not answered(CallerRefused(refusal, ctx_of()), KEY)


def test_a_tier_claim_that_differs_is_counted_by_the_framework_only() -> None:
    assert answered(ctx_of(), KEY, (b"x-subscription-tier", b"pro"))
    assert not answered(ctx_of(), KEY, (b"x-subscription-tier", b"enterprise"))
    prover = Prover(ctx_of())
    PipelineAuth(prover, share_of).authorize([KEY, (b"x-subscription-tier", b"free")], "10.0.0.1")
    assert [claims.tier for claims in prover.claims] == [None]


def test_what_is_remembered_of_a_caller_ends_with_its_key() -> None:
    ends = msgspec.structs.replace(ctx_of(), principal=msgspec.structs.replace(ctx_of().principal, expires_at_ms=7))
    principal = PipelineAuth(Prover(ends), share_of).authorize([KEY], "10.0.0.1")
    assert principal is not None
    assert principal.expires_at_ms == 7
