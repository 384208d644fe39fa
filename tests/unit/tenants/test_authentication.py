"""Authentication: what each credential proves, what a claim is worth, and when either ends."""

from __future__ import annotations

from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from central_hub.edge.authenticate import CallerRefused
from central_hub.kernel.context import ALL_ACTS, Act, PrincipalKind
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants import authentication
from central_hub.tenants.authentication import (
    RANK_OF_NOBODY,
    counters,
)
from central_hub.tenants.model import (
    GatewayAdded,
    GatewayRemoved,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    TenantChanged,
    TenantResumed,
    TenantSuspended,
)
from central_hub.tenants.secrets import digest_of, format_key
from tests.unit.tenants.support import ACME, GLOBEX, PEPPER, TIERS, Desk, created, gateway, key_and_text, told

SIGNER = Ed25519PrivateKey.generate()
PEM = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
KEY, TEXT = key_and_text("own", scopes=("registry:read", "keys:admin"))
ROOT, ROOT_TEXT = key_and_text("root", domain=PLATFORM, scopes=("platform:admin",), assertable=None)
EDGE, EDGE_TEXT = key_and_text("edge", domain=PLATFORM, scopes=("tenant:assert", "registry:read"), assertable=("acme",))
ANY, ANY_TEXT = key_and_text("any", domain=PLATFORM, scopes=("tenant:assert",), assertable=None)
METER, METER_TEXT = key_and_text("meter", domain=PLATFORM, scopes=("metrics:read",))


def desk(**more: Any) -> Desk:
    keys = [(key.domain, KeyCreated(key=key)) for key in (KEY, ROOT, EDGE, ANY, METER)]
    signer = (PLATFORM, GatewayAdded(gateway=gateway(public_key=PEM)))
    return Desk(created("acme", "pro"), created("globex", "enterprise"), *keys, signer, **more)


def token(at: Desk, **claims: Any) -> str:
    now_s = at.clock.now_ms() // 1_000
    said = {"iss": "https://edge", "aud": "hub", "sub": "user-7", "tid": "acme", "jti": "1", "iat": now_s}
    return jwt.encode({**said, "exp": now_s + 60, **claims}, SIGNER, algorithm="EdDSA")


def test_a_tenants_key_speaks_for_its_tenant_and_says_nothing_more() -> None:
    ctx = desk().ask(TEXT, user_id="u", correlation_id="c", service_name="s")
    assert (ctx.tenant_id, ctx.domain, ctx.tier, ctx.rank) == ("acme", "acme", "pro", TIERS.rank_of("pro"))
    assert (ctx.principal.kind, ctx.principal.scopes) == (PrincipalKind.KEY, {"registry:read", "keys:admin"})
    assert ctx.principal.assertable == frozenset()
    assert (ctx.user_id, ctx.correlation_id, ctx.caller_service, ctx.origin) == ("u", "c", "s", "10.0.0.1")
    assert desk().ask(TEXT, tenant_id="acme") == desk().ask(TEXT)


@pytest.mark.parametrize("named", ["globex", "nobody", "platform", "shared", "ACME"])
def test_a_tenants_key_is_refused_alike_for_any_other_tenant(named: str) -> None:
    with pytest.raises(CallerRefused) as caught:
        desk().ask(TEXT, tenant_id=named)
    assert caught.value.code == "tenant_mismatch"
    assert (caught.value.caller.tenant_id, caught.value.caller.rank) == ("acme", RANK_OF_NOBODY)


def test_a_tenants_key_that_lists_assertable_tenants_asserts_none() -> None:
    widened, text = key_and_text("wide", assertable=("globex",))
    at = Desk(created("acme"), created("globex"), (ACME, KeyCreated(key=widened)))
    assert at.refused(text, tenant_id="globex") == "tenant_mismatch"
    admin, text = key_and_text("wider", scopes=("platform:admin",), assertable=None)
    at = Desk(created("acme"), created("globex"), (ACME, KeyCreated(key=admin)))
    assert at.refused(text, tenant_id="globex") == "tenant_mismatch"


def test_a_gateways_key_asserts_the_tenants_its_entry_names() -> None:
    at = desk()
    assert at.ask(EDGE_TEXT, tenant_id="acme").tier == "pro"
    assert at.refused(EDGE_TEXT, tenant_id="globex") == "tenant_mismatch"
    with pytest.raises(CallerRefused) as caught:
        at.ask(EDGE_TEXT, tenant_id="nobody")
    assert (caught.value.code, caught.value.caller.tenant_id) == ("tenant_mismatch", None)
    assert at.ask(ANY_TEXT, tenant_id="globex").tier == "enterprise"
    assert at.refused(ANY_TEXT, tenant_id="nobody") == "tenant_not_found"


def test_an_assertable_tenant_that_is_gone_is_no_different_from_a_foreign_one() -> None:
    key, text = key_and_text("edge2", domain=PLATFORM, scopes=("tenant:assert",), assertable=("ghost",))
    assert Desk((PLATFORM, KeyCreated(key=key))).refused(text, tenant_id="ghost") == "tenant_mismatch"


@pytest.mark.parametrize("word", ["platform", "shared", "Not A Name"])
def test_no_domain_of_the_hubs_own_is_ever_a_tenant(word: str) -> None:
    at = desk()
    told(at.view, created(word))
    assert at.refused(ROOT_TEXT, tenant_id=word) == "tenant_mismatch"
    with pytest.raises(HubError):
        desk(open_mode=True).ask(tenant_id=word)


def test_the_platform_without_a_tenant_stands_in_shared_at_the_highest_rank() -> None:
    ctx = desk().ask(ROOT_TEXT)
    assert (ctx.tenant_id, ctx.domain, ctx.rank, ctx.tier) == (None, "shared", TIERS.highest_rank, "")
    scopeless, text = key_and_text("none", domain=PLATFORM, scopes=())
    assert Desk((PLATFORM, KeyCreated(key=scopeless))).ask(text).rank == RANK_OF_NOBODY


def test_the_record_decides_the_tier_and_a_differing_claim_is_counted() -> None:
    at = desk()
    assert at.ask(TEXT, tier="enterprise").tier == "pro"
    assert at.ask(TEXT, tier="pro").tier == "pro"
    assert counters(at.authentication)["tier_claims_differing"] == 1


def test_a_tier_that_is_gone_from_the_catalogue_sees_as_nobody() -> None:
    at = Desk(created("acme", "platinum"), (ACME, KeyCreated(key=KEY)))
    assert at.ask(TEXT).rank == RANK_OF_NOBODY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chk_",
        TEXT[:-1],
        format_key(KEY.id, "x" * 43),
        format_key("unknown00000", TEXT[17:60]),
        ROOT_TEXT[:17] + TEXT[17:],
    ],
)
def test_what_is_not_exactly_a_key_of_this_hub_is_refused(text: str) -> None:
    assert desk().refused(text) == "invalid_credential"


def test_another_hubs_pepper_opens_nothing() -> None:
    foreign = msgspec.structs.replace(KEY, digest=digest_of(b"another pepper", TEXT[17:60]))
    assert Desk(created("acme"), (ACME, KeyCreated(key=foreign))).refused(TEXT) == "invalid_credential"


def test_two_credentials_or_another_scheme_are_none() -> None:
    at = desk()
    assert at.refused(TEXT, headers=[("x-api-key", TEXT)]) == "invalid_credential"
    assert at.refused(TEXT, headers=[("txn-token", token(at))]) == "invalid_credential"
    assert at.refused(headers=[("x-api-key", TEXT), ("txn-token", token(at))]) == "invalid_credential"
    assert at.refused(headers=[("authorization", f"Basic {TEXT}")]) == "invalid_credential"
    assert at.refused(headers=[("authorization", TEXT)]) == "invalid_credential"
    assert at.ask(headers=[("x-api-key", TEXT)]).tenant_id == "acme"
    assert at.ask(headers=[("authorization", f"bearer  {TEXT} ")]).tenant_id == "acme"


def test_a_key_ends_at_its_time_on_every_request() -> None:
    ends = msgspec.structs.replace(KEY, expires_at_ms=1_700_000_001_000)
    at = Desk(created("acme"), (ACME, KeyCreated(key=ends)))
    ctx = at.ask(TEXT)
    assert ctx.principal.expires_at_ms == 1_700_000_001_000
    at.clock.advance(999)
    assert at.authentication.current(ctx) is ctx
    at.clock.advance(1)
    assert at.refused(TEXT) == "invalid_credential"
    with pytest.raises(HubError, match="expired"):
        at.authentication.current(ctx)


def _rotated(at: Desk, *, until_ms: int) -> str:
    secret = "r" * 43
    told(at.view, (ACME, KeyRotated(key_id=KEY.id, digest=digest_of(PEPPER, secret), previous_until_ms=until_ms)))
    return format_key(KEY.id, secret)


def test_both_secrets_of_a_rotated_key_live_until_the_grace_is_over() -> None:
    at = desk()
    until = at.clock.now_ms() + 1_000
    before = at.ask(TEXT)
    fresh_text = _rotated(at, until_ms=until)
    fresh, old = at.ask(fresh_text), at.ask(TEXT)
    assert (fresh.principal.expires_at_ms, old.principal.expires_at_ms) == (0, until)
    assert fresh.principal.proof != old.principal.proof
    assert at.authentication.current(before).principal.expires_at_ms == until
    assert at.refused(format_key(KEY.id, "s" * 43)) == "invalid_credential"
    at.clock.advance(1_000)
    assert at.refused(TEXT) == "invalid_credential"
    assert at.authentication.current(fresh) is fresh
    for stale in (before, old):
        with pytest.raises(HubError):
            at.authentication.current(stale)
    assert at.refused(format_key(KEY.id, "s" * 43)) == "invalid_credential"


def test_a_rotated_keys_old_secret_does_not_outlive_the_key() -> None:
    ends = msgspec.structs.replace(KEY, expires_at_ms=1_700_000_000_500)
    at = Desk(created("acme"), (ACME, KeyCreated(key=ends)))
    _rotated(at, until_ms=at.clock.now_ms() + 1_000)
    assert at.ask(TEXT).principal.expires_at_ms == 1_700_000_000_500


def test_a_secret_replaced_without_grace_ends_what_it_opened() -> None:
    at = desk()
    ctx = at.ask(TEXT)
    assert at.authentication.current(ctx) is ctx
    _rotated(at, until_ms=at.clock.now_ms())
    assert at.refused(TEXT) == "invalid_credential"
    with pytest.raises(HubError, match="replaced"):
        at.authentication.current(ctx)


def test_what_was_proven_is_remembered_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "PROVEN_MAX", 2)
    keys = [key_and_text(f"k{one}") for one in range(4)]
    at = Desk(created("acme"), *[(ACME, KeyCreated(key=key)) for key, _ in keys])
    for _, text in keys:
        at.authentication.current(at.ask(text))
        assert len(at.authentication._proven) <= 2
        assert len(at.authentication._standing) <= 2
    for key, text in keys:
        told(at.view, (ACME, KeyRevoked(key_id=key.id)))
        assert at.refused(text) == "invalid_credential"


def test_a_revoked_key_ends_what_it_opened() -> None:
    at = desk()
    ctx = at.ask(TEXT)
    told(at.view, (ACME, KeyRevoked(key_id=KEY.id)))
    assert at.refused(TEXT) == "invalid_credential"
    with pytest.raises(HubError, match="revoked"):
        at.authentication.current(ctx)


def test_a_suspended_tenants_callers_may_only_look_and_the_operator_everything() -> None:
    at = desk()
    before = at.ask(TEXT)
    told(at.view, (ACME, TenantSuspended(reason="unpaid")))
    reading = {Act.READ, Act.GOVERN}
    for ctx in (at.ask(TEXT), at.ask(EDGE_TEXT, tenant_id="acme"), at.ask(headers=[("txn-token", token(at))])):
        assert (ctx.tenant_id, ctx.state, ctx.acts) == ("acme", "suspended", reading)
    with pytest.raises(HubError, match="suspended"):
        at.authentication.current(before)
    operator = at.ask(ROOT_TEXT, tenant_id="acme")
    assert operator.acts == ALL_ACTS
    told(at.view, *[(ACME, TenantSuspended(reason="still"))] * 5)
    assert at.authentication.current(operator).state == "suspended"
    told(at.view, *[(ACME, TenantResumed())] * 7)
    assert at.ask(TEXT).acts == ALL_ACTS
    assert at.authentication.current(before).epoch == 7


def test_an_open_context_follows_its_tenants_tier_and_keeps_its_identity_otherwise() -> None:
    at = desk()
    ctx = at.ask(TEXT)
    assert at.authentication.current(ctx) is ctx
    told(at.view, *[(ACME, TenantChanged(name="acme", tier="free", previous_tier="pro"))] * 9)
    now = at.authentication.current(ctx)
    assert (now.tier, now.rank, now.epoch) == ("free", TIERS.rank_of("free"), 9)
    assert now.principal == ctx.principal


def test_a_context_without_a_tenant_follows_its_credential() -> None:
    at = desk()
    ctx = at.ask(ROOT_TEXT)
    until_ms = at.clock.now_ms() + 1_000
    told(at.view, (PLATFORM, KeyRotated(key_id=ROOT.id, digest=b"new", previous_until_ms=until_ms)))
    now = at.authentication.current(ctx)
    assert (now.principal.expires_at_ms, now.tenant_id, now.state) == (until_ms, None, "")
    assert (now.rank, now.acts) == (TIERS.highest_rank, ALL_ACTS)


def test_a_context_of_a_tenant_that_is_gone_ends() -> None:
    at, empty = desk(), desk()
    ctx = msgspec.structs.replace(at.ask(ANY_TEXT, tenant_id="acme"), tenant_id=DomainId("gone"))
    with pytest.raises(HubError) as caught:
        empty.authentication.current(ctx)
    assert caught.value.code == "tenant_mismatch"
    signed = at.ask(headers=[("txn-token", token(at))])
    with pytest.raises(HubError):
        at.authentication.current(msgspec.structs.replace(signed, tenant_id=DomainId("gone")))


def test_a_signed_token_says_tenant_user_and_nothing_about_scopes() -> None:
    at = desk()
    ctx = at.ask(headers=[("txn-token", token(at, scope="platform:admin", tier="enterprise"))], user_id="root")
    assert (ctx.tenant_id, ctx.user_id, ctx.tier) == ("acme", "user-7", "pro")
    assert (ctx.principal.id, ctx.principal.kind) == ("gateway:edge", PrincipalKind.GATEWAY)
    assert ctx.principal.scopes == {"registry:read"}
    assert at.authentication.tier_claims_differing == 1


def test_a_signed_token_and_the_headers_name_one_tenant() -> None:
    at = desk()
    lines = [("txn-token", token(at))]
    assert at.ask(headers=lines, tenant_id="acme").tenant_id == "acme"
    assert at.refused(headers=lines, tenant_id="globex") == "tenant_mismatch"
    assert at.refused(headers=[("txn-token", token(at, tid="globex"))]) == "tenant_mismatch"
    assert at.refused(headers=[("txn-token", token(at, tid="platform"))]) == "tenant_mismatch"


def test_a_gateway_for_any_tenant_is_told_of_a_missing_one() -> None:
    at = Desk(created("acme"), (PLATFORM, GatewayAdded(gateway=gateway(public_key=PEM, tenants=None))))
    assert at.ask(headers=[("txn-token", token(at))]).tenant_id == "acme"
    assert at.refused(headers=[("txn-token", token(at, tid="nobody"))]) == "tenant_not_found"


def test_a_signed_token_serves_one_command() -> None:
    at = desk()
    lines = [("txn-token", token(at))]
    for method in ("GET", "HEAD", "POST"):
        at.ask(headers=lines, method=method)
    assert at.refused(headers=lines, method="DELETE") == "token_replayed"


def test_a_removed_gateway_ends_what_it_opened_and_its_tokens_end_does_not() -> None:
    at = desk()
    ctx = at.ask(headers=[("txn-token", token(at))])
    at.clock.advance(3_600_000)
    assert at.authentication.current(ctx) is ctx
    told(at.view, (PLATFORM, GatewayRemoved(gateway_id="edge")))
    with pytest.raises(HubError, match="gateway was removed"):
        at.authentication.current(ctx)


def test_assuming_a_tenant_asks_the_same_questions() -> None:
    at = desk()
    edge, own = at.ask(EDGE_TEXT, user_id="u", correlation_id="c", service_name="s"), at.ask(TEXT)
    assumed = at.authentication.assume(edge, "acme")
    assert (assumed.tenant_id, assumed.user_id, assumed.correlation_id, assumed.caller_service) == (
        "acme",
        "u",
        "c",
        "s",
    )
    assert assumed.origin == "10.0.0.1"
    for ctx, named in ((edge, "globex"), (own, "globex"), (own, "nobody")):
        assert not at.authentication.may_assert(ctx, named)
        with pytest.raises(HubError) as caught:
            at.authentication.assume(ctx, named)
        assert caught.value.code == "tenant_mismatch"
    assert at.authentication.may_assert(own, "acme")
    assert at.authentication.may_assert(edge, "acme")
    assert at.authentication.may_assert(at.ask(ROOT_TEXT), "globex")
    assert not at.authentication.may_assert(at.ask(METER_TEXT), "acme")
    assert at.authentication.tier_claims_differing == 0


def test_assuming_does_not_claim_the_tier_before() -> None:
    at = desk()
    acme = at.ask(ANY_TEXT, tenant_id="acme")
    assert at.authentication.assume(acme, "globex").tier == "enterprise"
    assert at.authentication.tier_claims_differing == 0
    assert at.authentication.assume(acme, "globex").domain == GLOBEX
