"""Subscriptions folded from facts, dumped and restored."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from central_hub.kernel.facts import Fact, FactTypes, encode_fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.subscriptions.model import (
    FACTS,
    Cause,
    Filter,
    Letter,
    PausedBecause,
    Status,
    Subscription,
    SubscriptionChanged,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionDeliveryParked,
    SubscriptionLettersEnded,
    SubscriptionMoved,
    SubscriptionPaused,
    SubscriptionReplayAsked,
    SubscriptionResumed,
    Terms,
)
from central_hub.subscriptions.view import SubscriptionsView
from central_hub.tenants.model import TenantShredded

ACME, GLOBEX = DomainId("acme"), DomainId("globex")


def subscription(name: str = "orders", **fields: object) -> Subscription:
    return Subscription(id=f"sub_{name}", name=name, filter=Filter(), terms=Terms(), **fields)  # type: ignore[arg-type]


def folded(*facts: Fact, domain: DomainId = ACME) -> SubscriptionsView:
    view = SubscriptionsView()
    for seq, fact in enumerate(facts, 11):
        applied = Applied(
            pos=seq, domain=domain, domain_seq=seq, streams=("x",), category=Category.FACT,
            type=type(fact).__name__, id=f"r{seq}", time_ms=seq, actor=HUB_ACTOR, fact=fact,
        )  # fmt: skip
        view.apply(applied)
    return view


def letter(seq: int) -> Letter:
    return Letter(seq=seq, cause=Cause.REJECTED, attempts=1, at_ms=5)


HISTORY: Sequence[Fact] = (
    SubscriptionCreated(subscription=subscription(from_seq=3)),
    SubscriptionChanged(subscription_id="sub_orders", filter=Filter(types=("a",)), terms=Terms(), description="d"),
    SubscriptionPaused(subscription_id="sub_orders", reason=PausedBecause.DEAD_LETTERS),
    SubscriptionResumed(subscription_id="sub_orders"),
    SubscriptionDeliveryParked(subscription_id="sub_orders", name="orders", letter=letter(4)),
    SubscriptionDeliveryParked(subscription_id="sub_orders", name="orders", letter=letter(5)),
    SubscriptionReplayAsked(subscription_id="sub_orders", at_ms=((5, 77),)),
    SubscriptionMoved(subscription_id="sub_orders", from_seq=2),
    SubscriptionLettersEnded(subscription_id="sub_orders", seqs=(4,), cause=Cause.ACKNOWLEDGED),
)


def test_facts_are_folded() -> None:
    view = folded(*HISTORY)
    found = view.named(ACME, "orders")
    assert found is not None
    assert (found.from_seq, found.era, found.status, found.filter.types) == (2, 18, Status.ACTIVE, ("a",))
    assert {one.seq: one.replay_at_ms for one in view.letters(ACME, found.id).values()} == {5: 77}
    assert view.subscription(ACME, "sub_orders") == found
    assert (view.named(GLOBEX, "orders"), view.count(GLOBEX), view.letters(GLOBEX, found.id)) == (None, 0, {})


def test_one_that_is_told_of_what_is_new_begins_at_its_own_creation() -> None:
    view = folded(SubscriptionCreated(subscription=subscription(from_now=True)))
    found = view.named(ACME, "orders")
    assert found is not None
    assert (found.from_seq, found.era) == (11, 11)


def test_what_is_deleted_or_shredded_is_gone_with_its_letters() -> None:
    for last in (SubscriptionDeleted(subscription_id="sub_orders"), TenantShredded(tenant_id="acme")):
        view = folded(*HISTORY, last)
        assert (view.domains(), view.letters(ACME, "sub_orders"), view.named(ACME, "orders")) == ((), {}, None)


def test_dump_and_restore_keep_everything() -> None:
    view = folded(*HISTORY, SubscriptionCreated(subscription=subscription("risk")))
    again = SubscriptionsView()
    again.restore(ACME, [msgspec.msgpack.encode(one) for one in view.dump(ACME)])
    assert again.subscriptions(ACME) == view.subscriptions(ACME)
    assert again.letters(ACME, "sub_orders") == view.letters(ACME, "sub_orders")
    assert again.named(ACME, "risk") == view.named(ACME, "risk")
    assert list(view.dump(GLOBEX)) == []


def test_every_fact_survives_the_log() -> None:
    types = FactTypes(FACTS)
    for fact in (*HISTORY, SubscriptionDeleted(subscription_id="x")):
        assert types.decode(type(fact).__name__, encode_fact(fact)) == fact
    assert {type(fact) for fact in HISTORY} | {SubscriptionDeleted} == set(FACTS)
