"""The view of tenants: what each fact changes, that keys stay in their domain, and that a snapshot is the same view."""

from __future__ import annotations

import msgspec

from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants.model import (
    GatewayAdded,
    GatewayRemoved,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    LegacyCaller,
    LegacyPolicySet,
    TenantChanged,
    TenantResumed,
    TenantSuspended,
)
from central_hub.tenants.view import CHUNK, TenantsView
from tests.unit.tenants.support import ACME, GLOBEX, created, gateway, key_and_text, told

KEY, _ = key_and_text("own")
FOREIGN, _ = key_and_text("foreign", domain=GLOBEX)
OLD = LegacyCaller(caller="old", networks=("10.0.0.0/8",), until_ms=9)


def test_every_change_moves_the_tenants_epoch() -> None:
    view = told(TenantsView(), created("acme"))
    epochs = []
    for seq, fact in enumerate(
        (TenantChanged(name="A", tier="free", previous_tier="pro"), TenantSuspended(reason="unpaid"), TenantResumed())
    ):
        told(view, *[(ACME, fact)] * (seq + 2))
        tenant = view.tenant(ACME)
        assert tenant is not None
        epochs.append((tenant.epoch, tenant.tier, tenant.state.value, tenant.reason))
    assert epochs == [(2, "free", "active", ""), (3, "free", "suspended", "unpaid"), (4, "free", "active", "")]


def test_a_key_is_found_in_its_own_domain_only() -> None:
    view = told(TenantsView(), created("acme"), created("globex"), (ACME, KeyCreated(key=KEY)))
    assert view.key(ACME, KEY.id) == KEY
    assert view.key(GLOBEX, KEY.id) is None
    assert view.key(PLATFORM, KEY.id) is None
    assert view.keys(ACME) == (KEY,)
    assert view.keys(GLOBEX) == ()
    assert view.credential(KEY.id) == KEY


def test_rotating_keeps_the_digest_before_and_revoking_forgets_both() -> None:
    view = told(TenantsView(), (ACME, KeyCreated(key=KEY)))
    told(view, (ACME, KeyRotated(key_id=KEY.id, digest=b"new", previous_until_ms=7)))
    rotated = view.credential(KEY.id)
    assert rotated is not None
    assert (rotated.digest, rotated.previous_digest, rotated.previous_until_ms) == (b"new", KEY.digest, 7)
    assert view.key(ACME, KEY.id) == rotated
    told(view, (ACME, KeyRevoked(key_id=KEY.id)))
    assert view.credential(KEY.id) is None
    assert view.key(ACME, KEY.id) is None


def test_administrators_are_platform_keys_that_have_not_ended() -> None:
    admin = msgspec.structs.replace(KEY, id="admin", domain=PLATFORM, scopes=("platform:admin",))
    ended = msgspec.structs.replace(admin, id="ended", expires_at_ms=1_000)
    abroad = msgspec.structs.replace(admin, id="abroad", domain=ACME)
    reader = msgspec.structs.replace(admin, id="reader", scopes=("metrics:read",))
    view = told(TenantsView(), *[(one.domain, KeyCreated(key=one)) for one in (admin, ended, abroad, reader)])
    assert view.administrators(999) == 2
    assert view.administrators(1_000) == 1


def test_a_gateway_is_found_by_its_issuer_until_it_is_removed() -> None:
    view = told(TenantsView(), (PLATFORM, GatewayAdded(gateway=gateway())))
    assert view.gateway_of_issuer("https://edge") == view.gateway("edge") == gateway()
    told(view, (PLATFORM, GatewayRemoved(gateway_id="edge")))
    assert view.gateway_of_issuer("https://edge") is None
    assert view.gateways() == ()


def test_tenants_are_listed_in_order_of_id_after_a_cursor() -> None:
    view = told(TenantsView(), *[created(name) for name in ("c", "a", "b")])
    assert [tenant.id for tenant in view.tenants_after("", 2)] == ["a", "b"]
    assert [tenant.id for tenant in view.tenants_after("b", 2)] == ["c"]
    assert view.count_tenants() == 3


def _copied(view: TenantsView, *domains: DomainId) -> TenantsView:
    copy = TenantsView()
    for domain in domains:
        copy.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
    return copy


def test_a_restored_view_answers_the_same() -> None:
    facts = [
        created("globex"), created("acme"), (ACME, KeyCreated(key=KEY)), (GLOBEX, KeyCreated(key=FOREIGN)),
        (PLATFORM, GatewayAdded(gateway=gateway(tenants=None))), (PLATFORM, LegacyPolicySet(callers=(OLD,))),
    ]  # fmt: skip
    view = told(TenantsView(), *facts)
    copy = _copied(view, PLATFORM, GLOBEX, ACME, ACME)
    for domain in (ACME, GLOBEX, PLATFORM):
        assert (copy.tenant(domain), copy.keys(domain)) == (view.tenant(domain), view.keys(domain))
    assert [tenant.id for tenant in copy.tenants_after("", 9)] == ["acme", "globex"]
    assert (copy.gateways(), copy.legacy_callers()) == (view.gateways(), (OLD,))
    assert copy.gateway_of_issuer("https://edge") == gateway(tenants=None)
    assert copy.credential(FOREIGN.id) == FOREIGN


def test_one_domains_dump_holds_nothing_of_another() -> None:
    view = told(TenantsView(), created("acme"), created("globex"), (GLOBEX, KeyCreated(key=FOREIGN)))
    told(view, (PLATFORM, GatewayAdded(gateway=gateway())), (PLATFORM, LegacyPolicySet(callers=(OLD,))))
    dumped = b"".join(msgspec.msgpack.encode(chunk) for chunk in view.dump(ACME))
    assert b"acme" in dumped
    assert b"globex" not in dumped
    assert b"foreign" not in dumped
    assert b"edge" not in dumped


def test_a_dump_comes_in_chunks() -> None:
    keys = [msgspec.structs.replace(KEY, id=f"k{one}") for one in range(CHUNK + 1)]
    view = told(TenantsView(), *[(ACME, KeyCreated(key=key)) for key in keys])
    assert len(list(view.dump(ACME))) == 2
    assert _copied(view, ACME).keys(ACME) == tuple(keys)
