"""What tenants say of their types, folded; and the same again from a snapshot."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.events.model import (
    VERSIONS_MAX,
    Compatibility,
    EventTypeRegistered,
    EventTypeRetired,
    EventTypesPolicySet,
    UnknownTypes,
)
from central_hub.events.view import CHUNK, EventsView
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants.model import TenantShredded
from tests.unit.events.house import ACME
from tests.unit.flags.support import applied

GLOBEX = DomainId("globex")
NAMES = [f"com.t{at}" for at in range(CHUNK + 5)]


def described(name: str, version: int = 1, text: bytes = b"{}") -> EventTypeRegistered:
    return EventTypeRegistered(type=name, version=version, schema=text, compatibility=Compatibility.FULL)


def folded(*facts: Fact, domain: DomainId = ACME) -> EventsView:
    view = EventsView()
    for at, fact in enumerate(facts, start=1):
        view.apply(applied(domain, fact, at))
    return view


def restored(view: EventsView, domain: DomainId = ACME) -> EventsView:
    fresh = EventsView()
    fresh.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
    return fresh


def test_versions_follow_one_another_and_the_oldest_goes() -> None:
    view = folded(*(described("com.a", at, b"x" * at) for at in range(1, VERSIONS_MAX + 4)))
    kept = view.types(ACME)["com.a"]
    assert [one.version for one in kept] == list(range(4, VERSIONS_MAX + 4))
    assert view.schema_bytes(ACME) == sum(one.version for one in kept)
    assert view.types(GLOBEX) == {}
    view.apply(applied(ACME, EventTypeRetired(type="com.a"), 99))
    assert (dict(view.types(ACME)), view.schema_bytes(ACME)) == ({}, 0)


def test_a_shredded_tenant_says_nothing() -> None:
    view = folded(described("com.a"), EventTypesPolicySet(unknown=UnknownTypes.REFUSED))
    view.apply(applied(PLATFORM, TenantShredded(tenant_id=ACME)))
    assert (dict(view.types(ACME)), view.unknown(ACME)) == ({}, UnknownTypes.ALLOWED)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=4)), max_size=2 * CHUNK))
def test_a_snapshot_brings_the_same_back(said: list[tuple[str, bytes]]) -> None:
    view = folded(*(described(name, at, text) for at, (name, text) in enumerate(said, start=1)))
    again = restored(view)
    assert dict(again.types(ACME)) == dict(view.types(ACME))
    assert (again.unknown(ACME), again.schema_bytes(ACME)) == (view.unknown(ACME), view.schema_bytes(ACME))
    assert list(again.dump(ACME)) == list(view.dump(ACME))
