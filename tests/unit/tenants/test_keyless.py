"""Authentication without a key of one's own: the first hour, nobody, callers of before tenants, an open hub."""

from __future__ import annotations

import pytest

from central_hub.edge.authenticate import CallerRefused
from central_hub.kernel.context import Act, PrincipalKind
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants.authentication import (
    BOOTSTRAP_LIFETIME_MS,
    COUNTED_CALLERS_MAX,
    RANK_OF_NOBODY,
    counters,
)
from central_hub.tenants.model import (
    LegacyCaller,
    LegacyPolicySet,
    TenantSuspended,
)
from tests.unit.tenants.support import ACME, TIERS, Desk, created
from tests.unit.tenants.test_authentication import TEXT, desk

BOOTSTRAP = "chb_" + "b" * 43


def test_the_bootstrap_token_is_the_platforms_for_an_hour() -> None:
    at = desk()
    assert at.refused(BOOTSTRAP) == "invalid_credential"
    at.authentication.begin_bootstrap(BOOTSTRAP)
    ctx = at.ask(BOOTSTRAP)
    assert (ctx.principal.kind, ctx.principal.home) == (PrincipalKind.BOOTSTRAP, PLATFORM)
    assert ctx.principal.scopes == {"platform:admin"}
    assert at.refused(BOOTSTRAP[:-1] + "c") == "invalid_credential"
    at.clock.jump_wall(10 * BOOTSTRAP_LIFETIME_MS)
    assert at.ask(BOOTSTRAP) == ctx
    at.clock.advance(BOOTSTRAP_LIFETIME_MS)
    assert at.refused(BOOTSTRAP) == "invalid_credential"


def test_the_first_platform_key_ends_the_bootstrap_token_and_what_it_opened() -> None:
    at = desk()
    at.authentication.begin_bootstrap(BOOTSTRAP)
    ctx = at.ask(BOOTSTRAP)
    assert at.authentication.current(ctx) is ctx
    at.authentication.end_bootstrap()
    assert at.refused(BOOTSTRAP) == "invalid_credential"
    with pytest.raises(HubError, match="bootstrap"):
        at.authentication.current(ctx)


def test_without_a_credential_a_caller_is_nobody_and_a_claim_is_refused_alike() -> None:
    at = desk()
    ctx = at.ask()
    assert (ctx.principal.kind, ctx.tenant_id, ctx.rank) == (PrincipalKind.ANONYMOUS, None, RANK_OF_NOBODY)
    assert ctx.principal.scopes == frozenset()
    assert {at.refused(tenant_id=named) for named in ("acme", "nobody")} == {"credential_required"}


OLD = LegacyCaller(caller="old", networks=("10.0.0.0/24", "fd00::/8"), until_ms=1_700_000_001_000)
OLDER = LegacyCaller(caller="older", networks=("10.0.1.0/24",), until_ms=1_700_000_009_000)


def test_a_caller_of_before_tenants_is_known_by_its_network_until_its_date() -> None:
    at = Desk((PLATFORM, LegacyPolicySet(callers=(OLD, OLDER))))
    ctx = at.ask(origin="10.0.0.7")
    assert (ctx.principal.id, ctx.principal.kind, ctx.legacy) == ("legacy:old", PrincipalKind.LEGACY, True)
    assert (ctx.principal.scopes, ctx.principal.home) == ({"registry:read", "health:read"}, "")
    assert (ctx.tenant_id, ctx.rank, ctx.principal.expires_at_ms) == (None, RANK_OF_NOBODY, OLD.until_ms)
    assert at.ask(origin="fd00::1").principal.id == "legacy:old"
    assert at.ask(origin="10.0.1.7").principal.id == "legacy:older"
    for origin in ("10.0.2.1", "::1", "unix", ""):
        assert at.ask(origin=origin).principal.kind is PrincipalKind.ANONYMOUS
    assert at.refused(origin="10.0.0.7", tenant_id="acme") == "credential_required"
    assert counters(at.authentication)["legacy_calls"] == 4
    at.clock.advance(1_000)
    assert at.ask(origin="10.0.0.7").principal.kind is PrincipalKind.ANONYMOUS
    with pytest.raises(HubError, match="expired"):
        at.authentication.current(ctx)


def test_legacy_callers_are_counted_up_to_a_limit() -> None:
    at = Desk((PLATFORM, LegacyPolicySet(callers=(OLD,))))
    at.authentication.legacy_calls.update({f"c{one}": 1 for one in range(COUNTED_CALLERS_MAX)})
    at.ask(origin="10.0.0.7")
    assert at.authentication.legacy_calls["old"] == 0


def test_an_open_hub_takes_claims_as_given() -> None:
    at = Desk(created("acme", "pro"), open_mode=True)
    ctx = at.ask(tenant_id="visitor", tier="enterprise")
    assert (ctx.principal.kind, ctx.tenant_id, ctx.tier) == (PrincipalKind.OPEN, "visitor", "enterprise")
    assert ctx.principal.home == "visitor"
    assert not ctx.principal.holds("platform:admin")
    assert at.ask(tenant_id="visitor").tier == "free"
    assert at.ask(tenant_id="acme", tier="enterprise").tier == "pro"
    nobody = at.ask(tier="pro")
    assert (nobody.tenant_id, nobody.tier, nobody.rank) == (None, "pro", TIERS.rank_of("pro"))
    assert nobody.principal.home == PLATFORM
    assert at.refused(tenant_id="visitor", tier="platinum") == "unknown_tier"
    assert at.refused(tier="platinum") == "unknown_tier"


def test_an_open_hub_refuses_what_came_from_elsewhere_before_anything_else() -> None:
    at = Desk(open_mode=True)
    assert at.refused(headers=[("via", "1.1 proxy")]) == "insecure_request"
    assert at.refused("chk_wrong", headers=[("origin", "http://evil")]) == "insecure_request"
    assert desk().ask(TEXT, headers=[("via", "1.1 proxy")]).tenant_id == "acme"


def test_what_an_open_hub_refuses_is_nobodys_in_particular() -> None:
    with pytest.raises(HubError) as refused:
        Desk(open_mode=True).ask(tenant_id="visitor", tier="platinum")
    assert not isinstance(refused.value, CallerRefused)
    with pytest.raises(CallerRefused):
        desk().ask(TEXT, tenant_id="globex")


def test_an_open_hub_lets_a_suspended_tenant_only_look() -> None:
    at = Desk(created("acme"), (ACME, TenantSuspended()), open_mode=True)
    assert at.ask(tenant_id="acme").acts == {Act.READ, Act.GOVERN}


def test_an_open_context_of_a_tenant_without_a_record_stays() -> None:
    at = Desk(open_mode=True)
    ctx = at.ask(tenant_id="visitor")
    assert at.authentication.current(ctx) is ctx


def test_assuming_keeps_the_tier_that_an_open_caller_claimed() -> None:
    at = Desk(open_mode=True)
    assert at.authentication.assume(at.ask(tier="pro"), "visitor").tier == "pro"
