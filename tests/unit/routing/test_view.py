"""The view: the log and a snapshot say the same, an instance takes its offerings along, no domain sees another's."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.registry.model import ServiceUnregistered
from central_hub.routing.model import Offering, OfferingsDeclared, OfferingsWithdrawn
from central_hub.routing.view import RoutingView
from central_hub.tenants.model import TenantShredded

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
SERVICES, INSTANCES = ("chat", "forecast"), ("i-1", "i-2")


def offerings(count: int) -> tuple[Offering, ...]:
    return tuple(Offering(id=f"o{at}", model="m", task="t") for at in range(count))


def applied(fact: Fact, seq: int, domain: DomainId = ACME) -> Applied:
    return Applied(
        pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT, type=type(fact).__name__,
        id="x", time_ms=0, actor=HUB_ACTOR, fact=fact,
    )  # fmt: skip


facts = st.one_of(
    st.builds(
        OfferingsDeclared, service=st.sampled_from(SERVICES), instance_id=st.sampled_from(INSTANCES),
        offerings=st.integers(1, 3).map(offerings),
    ),
    st.builds(OfferingsWithdrawn, service=st.sampled_from(SERVICES), instance_id=st.sampled_from(INSTANCES)),
    st.builds(ServiceUnregistered, service=st.sampled_from(SERVICES), instance_id=st.sampled_from(INSTANCES)),
)  # fmt: skip


@given(st.lists(st.tuples(facts, st.sampled_from([ACME, GLOBEX, SHARED])), max_size=30))
def test_a_snapshot_says_what_the_log_said(history: list[tuple[Fact, DomainId]]) -> None:
    view, again = RoutingView(), RoutingView()
    for seq, (fact, domain) in enumerate(history, 1):
        view.apply(applied(fact, seq, domain))
    for domain in (ACME, GLOBEX, SHARED):
        again.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
        assert again.all_declared(domain) == view.all_declared(domain)
        counted = sum(len(one.offerings) for one in view.all_declared(domain).values())
        assert again.count_offerings(domain) == view.count_offerings(domain) == counted
    assert set(view.domains()) == {domain for domain in (ACME, GLOBEX, SHARED) if view.all_declared(domain)}


def test_an_instance_that_leaves_takes_its_offerings_along() -> None:
    view = RoutingView()
    view.apply(applied(OfferingsDeclared(service="chat", instance_id="i-1", offerings=offerings(2)), 1))
    assert view.declared(GLOBEX, "chat", "i-1") is None
    view.apply(applied(ServiceUnregistered(service="chat", instance_id="i-1"), 2))
    assert view.declared(ACME, "chat", "i-1") is None
    assert view.count_offerings(ACME) == 0


def test_a_shredded_tenant_offers_nothing() -> None:
    view = RoutingView()
    view.apply(applied(OfferingsDeclared(service="chat", instance_id="i-1", offerings=offerings(2)), 1))
    view.apply(applied(TenantShredded(tenant_id="acme"), 2, DomainId("platform")))
    assert view.domains() == ()
