"""Verdicts: what probes decide, how many there may be, and what a view folds and gives back."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.breakers.model import Evidence, Reason, State
from central_hub.breakers.verdicts import (
    EVERYONE_PROBES_PER_TENANT,
    IDLE_MS,
    LEASE_MS,
    BreakerProbesLeased,
    BreakerProbesTried,
    SharedBreakerRecovered,
    SharedBreakerTripped,
    Verdict,
    accepted,
    decided,
    is_idle,
    leasable,
    state_of,
    tripped,
    with_lease,
    with_outcome,
)
from central_hub.breakers.view import BreakersView
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.tenants.model import TenantShredded

ACME = DomainId("acme")
TRIPPED = SharedBreakerTripped(
    service="risk", route_class="", previous=State.CLOSED, reason=Reason.FAILURES,
    evidence=Evidence(calls=6, failures=6), until_ms=31_000, probes=5, fails_at=2,
)  # fmt: skip


def verdict() -> Verdict:
    return tripped(TRIPPED, 1_000)


def leased(held: Verdict, tenant: str, count: int, now_ms: int, *, everyone: bool = False) -> tuple[Verdict, int]:
    granted = leasable(held, tenant, count, now_ms, everyone=everyone)
    if not granted:
        return held, 0
    fact = BreakerProbesLeased(
        service="risk", route_class="", tenant=tenant, count=granted, until_ms=now_ms + LEASE_MS
    )  # fmt: skip
    return with_lease(held, fact, now_ms), granted


def test_a_verdict_refuses_and_then_lets_few_try() -> None:
    assert state_of(None, 5) is State.CLOSED
    assert [state_of(verdict(), at_ms) for at_ms in (30_999, 31_000)] == [State.OPEN, State.HALF_OPEN]
    assert leasable(verdict(), "acme", 3, 30_999, everyone=False) == 0
    held, granted = leased(verdict(), "acme", 3, 31_000)
    assert granted == 3
    held, granted = leased(held, "acme", 3, 31_001)
    assert granted == 2
    assert leased(held, "acme", 1, 31_002)[1] == 0
    assert leased(held, "acme", 9, 31_001 + LEASE_MS)[1] == 5, "those that never came back can be leased again"


def test_enough_probes_close_it_and_two_failures_open_it_again() -> None:
    held = verdict()
    for number in range(4):
        assert decided(held, 31_000, everyone=False) is None, number
        held = with_outcome(held, "acme", 1, 0, 31_000)
    assert decided(held, 31_000, everyone=False) is Reason.PROBES_SUCCEEDED
    held = with_outcome(with_outcome(verdict(), "acme", 2, 1, 31_000), "acme", 0, 1, 31_000)
    assert decided(held, 31_000, everyone=False) is Reason.PROBES_FAILED


def test_outcomes_count_only_for_probes_that_were_leased() -> None:
    held, _ = leased(verdict(), "acme", 2, 31_000)
    assert accepted(held, "acme", 5, 5) == (0, 2)
    assert accepted(held, "acme", 5, 1) == (1, 1)
    assert accepted(held, "globex", 5, 0) == (0, 0)
    assert accepted(with_outcome(held, "acme", 2, 0, 31_000), "acme", 1, 0) == (0, 0)


def test_one_tenant_decides_nothing_for_everyone() -> None:
    held, granted = leased(verdict(), "poison", 5, 31_000, everyone=True)
    assert granted == EVERYONE_PROBES_PER_TENANT
    held = with_outcome(held, "poison", 0, 2, 31_000)
    assert decided(held, 31_000, everyone=True) is None
    assert leased(held, "poison", 1, 31_000, everyone=True)[1] == 0
    held, granted = leased(held, "acme", 5, 31_000, everyone=True)
    assert granted == 2
    assert decided(with_outcome(held, "acme", 2, 0, 31_000), 31_000, everyone=True) is Reason.PROBES_SUCCEEDED
    assert decided(with_outcome(held, "acme", 0, 2, 31_000), 31_000, everyone=True) is Reason.PROBES_FAILED


def test_probes_of_one_tenant_are_not_anothers() -> None:
    held, _ = leased(verdict(), "a", 2, 31_000, everyone=True)
    held, granted = leased(held, "b", 2, 31_000, everyone=True)
    assert granted == 2
    held = with_outcome(held, "b", 2, 0, 31_000)
    assert [(one.tenant, one.count) for one in held.leased] == [("a", 2)]


def test_a_round_of_everyones_probes_is_forgotten() -> None:
    held = with_outcome(leased(verdict(), "poison", 2, 31_000, everyone=True)[0], "poison", 0, 2, 31_000)
    assert leasable(held, "poison", 5, 41_000, everyone=True) == 0
    assert leasable(held, "poison", 5, 41_001, everyone=True) == EVERYONE_PROBES_PER_TENANT


def test_a_verdict_that_nobody_tries_is_idle() -> None:
    held, _ = leased(verdict(), "acme", 1, 31_000)
    assert not is_idle(held, 31_000 + LEASE_MS + IDLE_MS)
    assert is_idle(held, 31_001 + LEASE_MS + IDLE_MS)
    assert is_idle(verdict(), 31_001 + IDLE_MS)
    assert not is_idle(with_outcome(held, "acme", 0, 1, 60_000), 60_000 + IDLE_MS)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", SHARED]), st.integers(1, 6), st.integers(0, 3)), max_size=40))
def test_never_are_more_probes_out_than_there_are(asks: list[tuple[str, int, int]]) -> None:
    for everyone in (False, True):
        held, now_ms = verdict(), 31_000
        for tenant, wanted, later in asks:
            now_ms += later * 2_000
            held, _ = leased(held, tenant, wanted, now_ms, everyone=everyone)
            out = [one for one in held.leased if now_ms < one.until_ms]
            assert sum(one.count for one in out) <= held.probes
            if everyone:
                for name in "abc":
                    assert sum(one.count for one in out if one.tenant == name) <= EVERYONE_PROBES_PER_TENANT


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20))
def test_a_poison_tenant_keeps_nothing_shut(outcomes: list[tuple[int, int]]) -> None:
    held = verdict()
    for succeeded, failed in outcomes:
        held = with_outcome(held, "poison", succeeded, failed, 31_000)
    assert decided(held, 31_000, everyone=True) is not Reason.PROBES_FAILED


def told(view: BreakersView, domain: DomainId, *facts: Fact, at_ms: int = 1_000) -> BreakersView:
    for seq, fact in enumerate(facts, start=1):
        view.apply(
            Applied(
                pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT,
                type=type(fact).__name__, id=str(seq), time_ms=at_ms, actor=HUB_ACTOR, fact=fact,
            )
        )  # fmt: skip
    return view


def test_a_view_holds_what_is_in_force_by_domain() -> None:
    view = told(BreakersView(), ACME, TRIPPED)
    assert view.verdict(ACME, ("risk", "")) == verdict()
    assert view.verdict(DomainId("globex"), ("risk", "")) is None
    assert view.verdict(SHARED, ("risk", "")) is None
    assert (view.count, list(view.domains(PLATFORM))) == (1, [ACME])
    assert (view.domains(ACME), view.domains(DomainId("globex"))) == ([ACME], [])
    told(view, ACME, SharedBreakerRecovered(service="risk", route_class="", reason=Reason.ANSWERED))
    assert (view.count, list(view.domains(PLATFORM))) == (0, [])


def test_a_view_gives_back_what_it_dumped() -> None:
    lease = BreakerProbesLeased(service="risk", route_class="", tenant="acme", count=2, until_ms=41_000)
    tried = BreakerProbesTried(service="risk", route_class="", tenant="acme", succeeded=1, failed=0)
    many = [msgspec.structs.replace(TRIPPED, route_class=f"c-{number}") for number in range(150)]
    view = told(BreakersView(), ACME, TRIPPED, lease, tried, *many)
    found = view.verdict(ACME, ("risk", ""))
    assert found is not None
    assert [one.count for one in found.leased] == [1]
    assert [(one.succeeded, one.failed) for one in found.tried] == [(1, 0)]
    again = BreakersView()
    again.restore(ACME, [msgspec.msgpack.encode(chunk) for chunk in view.dump(ACME)])
    assert again.verdicts(ACME) == view.verdicts(ACME)
    assert list(view.dump(SHARED)) == []


def test_probes_of_a_verdict_that_is_over_change_nothing() -> None:
    lease = BreakerProbesLeased(service="risk", route_class="", tenant="acme", count=2, until_ms=41_000)
    tried = BreakerProbesTried(service="risk", route_class="", tenant="acme", succeeded=1, failed=0)
    recovered = SharedBreakerRecovered(service="risk", route_class="", reason=Reason.ANSWERED)
    assert told(BreakersView(), ACME, lease, tried, recovered).count == 0


def test_a_tenant_that_is_shredded_leaves_nothing() -> None:
    view = told(BreakersView(), ACME, TRIPPED)
    told(view, DomainId("platform"), TenantShredded(tenant_id="acme"))
    assert view.count == 0
