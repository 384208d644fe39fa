"""The view of quotas: sums are the sums of leases, and a snapshot loses nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.quotas.metered import MeteredView
from central_hub.quotas.model import (
    Ending,
    TenantBudgetReserved,
    TenantResourcesAllocated,
    TenantResourcesFreed,
    UsageEvent,
    UsageRecorded,
)
from central_hub.quotas.view import CHUNK, QuotasView
from central_hub.tenants.model import TenantShredded
from tests.unit.quotas.house import ACME, GLOBEX


def applied_of(domain: DomainId, seq: int, fact: Fact) -> Applied:
    return Applied(
        pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT, type=type(fact).__name__,
        id=str(seq), time_ms=seq, actor=HUB_ACTOR, fact=fact,
    )  # fmt: skip


class Fold:
    """A view and the positions of its domains."""

    def __init__(self) -> None:
        self.view = QuotasView()
        self.seq: dict[DomainId, int] = {}

    def tell(self, domain: DomainId, fact: Fact) -> None:
        seq = self.seq[domain] = self.seq.get(domain, 0) + 1
        self.view.apply(applied_of(domain, seq, fact))

    def allocate(self, domain: DomainId, lease_id: str, amount: int = 1, resource: str = "cpu") -> None:
        fact = TenantResourcesAllocated(
            lease_id=lease_id, resource=resource, amount=amount, ttl_ms=1_000, holder="key:1"
        )
        self.tell(domain, fact)

    def free(self, domain: DomainId, *lease_ids: str) -> None:
        self.tell(domain, TenantResourcesFreed(lease_ids=lease_ids, reason=Ending.RELEASED))


def test_a_lease_carries_its_position_as_fencing_token() -> None:
    fold = Fold()
    fold.allocate(ACME, "a")
    fold.allocate(ACME, "b")
    tokens = [lease.fencing_token for lease in fold.view.leases_after(ACME, 0, 10)]
    assert tokens == [1, 2]


def test_domains_do_not_see_each_other() -> None:
    fold = Fold()
    fold.allocate(ACME, "a", 5)
    fold.allocate(GLOBEX, "b", 7)
    assert (fold.view.used(ACME, "cpu"), fold.view.used(GLOBEX, "cpu")) == (5, 7)
    assert fold.view.lease(GLOBEX, "a") is None
    assert fold.view.domains() == (ACME, GLOBEX)
    fold.free(ACME, "a")
    assert fold.view.domains() == (GLOBEX,)


def test_a_page_is_of_one_resource_when_that_is_asked_for() -> None:
    fold = Fold()
    for number in range(6):
        fold.allocate(ACME, f"l{number}", resource="cpu" if number % 2 else "gpu")
    found = fold.view.leases_after(ACME, 2, 2, "cpu")
    assert [lease.id for lease in found] == ["l3", "l5"]


def test_nothing_is_left_of_a_tenant_that_was_shredded() -> None:
    fold = Fold()
    for domain in (ACME, GLOBEX):
        fold.allocate(domain, f"of-{domain}")
        fold.tell(domain, TenantBudgetReserved(name="calls", period_start_ms=0, amount=5, reserved=5))
    fold.tell(PLATFORM, TenantShredded(tenant_id="acme"))
    assert fold.view.domains() == (GLOBEX,)
    assert fold.view.reserved(ACME, "calls") is None
    assert list(fold.view.dump(ACME)) == []
    assert len(list(fold.view.dump(GLOBEX))) == 2
    metered = MeteredView()
    for seq, (domain, fact) in enumerate(
        (
            (ACME, UsageRecorded(tier="pro", events=(UsageEvent(id="1", meter="a", quantity=1, at_ms=0),))),
            (PLATFORM, TenantShredded(tenant_id="acme")),
        ),
        start=1,
    ):
        metered.apply(applied_of(domain, seq, fact))
        assert metered.meters(ACME) == (("a",) if seq == 1 else ())


Step = tuple[bool, int, int]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(1, 9)), max_size=60))
def test_what_is_used_is_the_sum_of_what_is_held_and_survives_a_snapshot(steps: list[Step]) -> None:
    fold, held = Fold(), {}
    for number, (allocates, at, amount) in enumerate(steps):
        if allocates:
            held[f"l{number}"] = (("cpu", "gpu")[at % 2], amount)
            fold.allocate(ACME, f"l{number}", amount, ("cpu", "gpu")[at % 2])
        elif held:
            gone = sorted(held)[at % len(held)]
            del held[gone]
            fold.free(ACME, gone)
    copy = QuotasView()
    copy.restore(ACME, [msgspec.msgpack.encode(chunk) for chunk in fold.view.dump(ACME)])
    for view in (fold.view, copy):
        for resource in ("cpu", "gpu"):
            assert view.used(ACME, resource) == sum(amount for of, amount in held.values() if of == resource)
        assert view.count_leases(ACME) == len(held)
    assert copy.leases_after(ACME, 0, 100) == fold.view.leases_after(ACME, 0, 100)


def test_a_snapshot_comes_in_chunks() -> None:
    fold = Fold()
    for number in range(CHUNK + 1):
        fold.allocate(ACME, f"l{number}")
    assert len(list(fold.view.dump(ACME))) == 2
