"""Commands about tenants, keys and gateways: what they write, once, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants import usecases
from central_hub.tenants.model import LegacyCaller, State
from central_hub.tenants.secrets import digest_of, parse_key
from central_hub.tenants.states import Move
from central_hub.tenants.usecases import NewKey, NewTenant
from tests.unit.tenants.support import ACME, GLOBEX, OPERATOR, PEPPER, Office, ctx_of, gateway, opened

PEM = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"


async def refusal(command: Any) -> str:
    with pytest.raises(HubError) as caught:
        await command
    return caught.value.code


async def written(office: Office, domain: DomainId = ACME) -> list[str]:
    page = await office.audit.page(domain, cursor=None, limit=500)
    return [entry.type for entry in page.entries]


async def test_a_tenant_is_created_once_under_a_free_name_and_a_known_tier() -> None:
    async with opened() as office:
        made = (await office.tenants.create(OPERATOR, NewTenant(id="acme", name="Acme", tier="pro"))).tenant
        assert (made.id, made.name, made.tier, made.state) == ("acme", "Acme", "pro", State.ACTIVE)
        for tenant_id, tier, code in (
            ("acme", "free", "tenant_exists"),
            ("fresh", "platinum", "unknown_tier"),
            ("register", "free", "reserved_name"),
            ("shared", "free", "reserved_name"),
            ("platform", "free", "reserved_name"),
            ("hub-x", "free", "reserved_name"),
            ("Acme", "free", "invalid_name"),
        ):
            create = office.tenants.create(OPERATOR, NewTenant(id=tenant_id, name="n", tier=tier))
            assert await refusal(create) == code
        assert await written(office) == ["TenantCreated"]
        assert office.view.count_tenants() == 1


async def test_a_hundred_at_once_create_one() -> None:
    async with opened() as office:
        creating = [
            office.tenants.create(OPERATOR, NewTenant(id="acme", name=str(one), tier="pro")) for one in range(100)
        ]
        done = await asyncio.gather(*creating, return_exceptions=True)
        assert sum(not isinstance(one, HubError) for one in done) == 1
        assert await written(office) == ["TenantCreated"]


async def test_there_is_a_limit_on_tenants_and_on_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecases, "TENANTS_MAX", 1)
    monkeypatch.setattr(usecases, "KEYS_PER_DOMAIN_MAX", 2)
    async with opened() as office:
        await office.tenant()
        assert await refusal(office.tenant("globex")) == "limit_reached"
        done = await asyncio.gather(*[office.key() for _ in range(5)], return_exceptions=True)
        assert sum(isinstance(one, str) for one in done) == 2
        await office.tenants.revoke_key(OPERATOR, ACME, office.view.keys(ACME)[0].id)
        await office.key()
        assert await refusal(office.key()) == "limit_reached"


async def test_what_is_the_same_already_writes_nothing() -> None:
    async with opened() as office:
        await office.tenant()
        await office.tenants.change(OPERATOR, "acme", name=None, tier=None)
        await office.tenants.change(OPERATOR, "acme", name="acme", tier="pro")
        await office.life.move(OPERATOR, "acme", Move.RESUME)
        assert await written(office) == ["TenantCreated"]
        await office.tenants.change(OPERATOR, "acme", name="Acme", tier=None)
        await office.life.move(OPERATOR, "acme", Move.SUSPEND, reason="unpaid")
        await office.life.move(OPERATOR, "acme", Move.SUSPEND)
        tenant = office.tenants.get("acme")
        assert (tenant.name, tenant.tier, tenant.reason) == ("Acme", "pro", "unpaid")
        await office.life.move(OPERATOR, "acme", Move.RESUME)
        assert office.tenants.get("acme").state is State.ACTIVE
        assert await written(office) == ["TenantCreated", "TenantChanged", "TenantSuspended", "TenantResumed"]


async def test_what_is_not_there_is_not_found() -> None:
    async with opened() as office:
        assert await refusal(office.tenants.change(OPERATOR, "acme", name="n", tier=None)) == "tenant_not_found"
        assert await refusal(office.life.move(OPERATOR, "acme", Move.SUSPEND)) == "tenant_not_found"
        assert await refusal(office.key(ACME)) == "tenant_not_found"
        assert await refusal(office.tenants.rotate_key(OPERATOR, ACME, "none", grace_s=0)) == "key_not_found"
        await office.tenants.revoke_key(OPERATOR, ACME, "none")
        await office.tenants.remove_gateway(OPERATOR, "none")
        assert await written(office) == await written(office, PLATFORM) == []


async def test_another_domains_key_can_be_neither_seen_rotated_nor_revoked() -> None:
    async with opened() as office:
        await office.tenant()
        await office.tenant("globex")
        key_id = await office.key(GLOBEX)
        with pytest.raises(HubError):
            office.tenants.get_key(ACME, key_id)
        assert await refusal(office.tenants.rotate_key(ctx_of(), ACME, key_id, grace_s=0)) == "key_not_found"
        await office.tenants.revoke_key(ctx_of(), ACME, key_id)
        assert office.view.credential(key_id) is not None
        assert await written(office, GLOBEX) == ["TenantCreated", "KeyCreated"]


async def test_a_key_is_shown_once_and_kept_as_a_digest() -> None:
    async with opened() as office:
        await office.tenant()
        wanted = NewKey(name="k", scopes=("registry:read",), expires_at_ms=office.clock.now_ms() + 1)
        minted = await office.tenants.create_key(ctx_of(), ACME, wanted, key="once")
        parsed = parse_key(minted.secret)
        assert parsed is not None
        kept = office.tenants.get_key(ACME, minted.key_id)
        assert (parsed[0], digest_of(PEPPER, parsed[1])) == (kept.id, kept.digest)
        assert (kept.created_by, kept.expires_at_ms) == ("key:k", office.clock.now_ms() + 1)
        again = await office.tenants.create_key(ctx_of(), ACME, wanted, key="once")
        assert (again.key_id, again.secret) == (minted.key_id, "")
        assert len(office.view.keys(ACME)) == 1


async def test_a_key_is_not_made_when_it_would_end_before_it_begins() -> None:
    async with opened() as office:
        await office.tenant()
        assert await refusal(office.key(expires_at_ms=office.clock.now_ms())) == "invalid_expiry"
        assert await written(office) == ["TenantCreated"]


async def test_nobody_mints_or_rotates_a_key_that_can_do_more_than_they() -> None:
    async with opened() as office:
        await office.tenant()
        shared = await office.key(ACME, "registry:shared")
        more = NewKey(name="k", scopes=("registry:shared",))
        assert await refusal(office.tenants.create_key(ctx_of(), ACME, more)) == "scope_not_grantable"
        assert await refusal(office.tenants.rotate_key(ctx_of(), ACME, shared, grace_s=0)) == "scope_not_grantable"
        assert await refusal(office.key(ACME, "platform:admin")) == "unknown_scope"
        assert await refusal(office.key(ACME, assertable_tenants=("globex",))) == "invalid_assertable_tenants"


async def test_a_credential_of_one_environment_stays_in_it() -> None:
    bound = ctx_of(id="key:bound", environment="staging")
    async with opened() as office:
        await office.tenant()
        unbound = await office.key()
        made = await office.tenants.create_key(bound, ACME, NewKey(name="k", scopes=("registry:read",)))
        assert office.tenants.get_key(ACME, made.key_id).environment == "staging"
        await office.tenants.rotate_key(bound, ACME, made.key_id, grace_s=0)
        assert office.tenants.get_key(ACME, made.key_id).environment == "staging"
        assert await refusal(office.tenants.rotate_key(bound, ACME, unbound, grace_s=0)) == "environment_not_grantable"
        wanted = NewKey(name="k", scopes=("registry:read",), environment="production")
        assert await refusal(office.tenants.create_key(bound, ACME, wanted)) == "environment_not_grantable"


async def test_rotating_leaves_the_secret_before_alive_for_its_grace() -> None:
    async with opened() as office:
        await office.tenant()
        key_id = await office.key()
        before = office.tenants.get_key(ACME, key_id).digest
        minted = await office.tenants.rotate_key(OPERATOR, ACME, key_id, grace_s=60, key="once")
        kept = office.tenants.get_key(ACME, key_id)
        assert (kept.previous_digest, kept.previous_until_ms) == (before, office.clock.now_ms() + 60_000)
        parsed = parse_key(minted.secret)
        assert parsed is not None
        assert digest_of(PEPPER, parsed[1]) == kept.digest
        assert (await office.tenants.rotate_key(OPERATOR, ACME, key_id, grace_s=60, key="once")).secret == ""


async def test_the_hub_hears_of_its_first_administrator_and_of_no_other_key() -> None:
    async with opened() as office:
        await office.tenant()
        await office.key()
        await office.key(PLATFORM, "metrics:read")
        assert office.administered == 0
        await office.key(PLATFORM, "platform:admin")
        assert office.administered == 1


async def test_a_gateway_is_added_replaced_and_removed() -> None:
    async with opened() as office:
        added = await office.tenants.add_gateway(OPERATOR, gateway(public_key=PEM))
        assert added.created_at_ms == office.clock.now_ms()
        await office.tenants.add_gateway(OPERATOR, gateway(public_key=PEM, issuer="https://new"))
        assert office.view.gateway_of_issuer("https://edge") is None
        twin = gateway(id="twin", issuer="https://new", public_key=PEM)
        assert await refusal(office.tenants.add_gateway(OPERATOR, twin)) == "gateway_exists"
        await office.tenants.remove_gateway(OPERATOR, "edge")
        await office.tenants.remove_gateway(OPERATOR, "edge")
        assert await written(office, PLATFORM) == ["GatewayAdded", "GatewayRemoved", "GatewayAdded", "GatewayRemoved"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"id": "No Name"}, "invalid_name"),
        ({"public_key": "secret"}, "invalid_gateway"),
        ({"algorithm": "HS256"}, "invalid_gateway"),
        ({"scopes": ("platform:admin",)}, "unknown_scope"),
        ({"scopes": ("tenants:admin",)}, "unknown_scope"),
        ({"scopes": ("tenant:assert",)}, "unknown_scope"),
        ({"scopes": ()}, "unknown_scope"),
    ],
)
async def test_a_gateway_that_could_do_more_or_prove_nothing_is_refused(fields: Any, code: str) -> None:
    async with opened() as office:
        assert await refusal(office.tenants.add_gateway(OPERATOR, gateway(**{"public_key": PEM, **fields}))) == code
        assert await written(office, PLATFORM) == []


async def test_there_is_a_limit_on_gateways_but_replacing_one_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecases, "GATEWAYS_MAX", 1)
    async with opened() as office:
        for _ in range(2):
            await office.tenants.add_gateway(OPERATOR, gateway(public_key=PEM))
        other = gateway(id="other", issuer="https://other", public_key=PEM)
        assert await refusal(office.tenants.add_gateway(OPERATOR, other)) == "limit_reached"


async def test_the_legacy_policy_is_replaced_whole() -> None:
    async with opened() as office:
        old = LegacyCaller(caller="old", networks=("10.0.0.0/8",), until_ms=office.clock.now_ms() + 1)
        for _ in range(2):
            assert await office.tenants.set_legacy(OPERATOR, [old]) == (old,)
        assert await office.tenants.set_legacy(OPERATOR, []) == ()
        assert await written(office, PLATFORM) == ["LegacyPolicySet", "LegacyPolicySet"]
        assert await refusal(office.tenants.set_legacy(OPERATOR, [old, old])) == "invalid_legacy_policy"


async def test_the_same_idempotency_key_means_another_command_elsewhere() -> None:
    async with opened() as office:
        for name in ("acme", "globex"):
            await office.tenants.create(OPERATOR, NewTenant(id=name, name=name, tier="pro"), key="k")
        wanted = NewKey(name="k", scopes=("registry:read",))
        minted = [await office.tenants.create_key(OPERATOR, one, wanted, key="k") for one in (ACME, GLOBEX)]
        assert all(one.secret for one in minted)
        other = await office.tenants.create_key(ctx_of(), ACME, wanted, key="k")
        assert other.secret
        assert len(office.view.keys(ACME)) == 2
