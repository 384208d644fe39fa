"""What one tenant may have of the hub: limits from its plan, counted, given back, and looked at again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.edge import protection, shares
from central_hub.edge.protection import UNPROVEN, UNPROVEN_PER_S, RateProtection
from central_hub.edge.shares import BURST_S, FRESH_MS, LIMITS, Bucket, HubBusy, HubLimits, Share, limits_of, too_fast
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.fairness import QUEUED, WEIGHT_MAX
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId


def ctx_of(
    tenant: str = "", *, kind: PrincipalKind = PrincipalKind.KEY, tier: str = "free", origin: str = "10.0.0.1"
) -> TenantContext:
    home = DomainId(tenant) if tenant else PLATFORM
    principal = Principal(id="k", kind=kind, home=home, scopes=frozenset())
    return TenantContext(
        principal=principal, tenant_id=TenantId(tenant) if tenant else None, tier=tier, rank=0, origin=origin
    )


@given(st.dictionaries(st.sampled_from(LIMITS), st.floats(0, 1e9)))
def test_a_plan_never_grants_more_than_the_ceiling_nor_less_than_it_says(granted: dict[str, float]) -> None:
    ceiling = HubLimits()
    found = limits_of(granted, ceiling)
    fields = dict(zip(LIMITS, found.__struct_fields__, strict=True))
    for name, field in fields.items():
        value, most = getattr(found, field), getattr(ceiling, field)
        if name == shares.WRITE_WEIGHT:
            assert 1 <= value <= WEIGHT_MAX
        else:
            assert value <= most
            assert value >= math.floor(min(most, granted.get(name, most)))


def test_a_plan_that_says_nothing_leaves_everything_to_the_ceiling() -> None:
    assert limits_of({}, HubLimits(reads_per_s=7.0)) == HubLimits(reads_per_s=7.0)


def test_limits_are_looked_at_again_within_a_second_and_at_once_when_told() -> None:
    clock, granted = ManualClock(), {shares.IN_FLIGHT: 5.0}
    hub = RateProtection(clock, granted=lambda domain, tier: granted)
    share = hub.admit(ctx_of("acme"), writes=False)
    granted[shares.IN_FLIGHT] = 3.0
    hub.admit(ctx_of("acme"), writes=False)
    assert share.limits.in_flight == 5
    clock.advance(int(FRESH_MS))
    hub.admit(ctx_of("acme"), writes=False)
    assert share.limits.in_flight == 3
    granted[shares.IN_FLIGHT] = 9.0
    share.leave()
    hub.changed(DomainId("acme"))
    hub.changed(DomainId("globex"))
    hub.changed(None)
    hub.admit(ctx_of("acme"), writes=False)
    assert share.limits.in_flight == 9


def test_another_tier_is_another_set_of_limits_and_the_same_bucket() -> None:
    hub = RateProtection(ManualClock(), granted=lambda domain, tier: {shares.READS: 1.0 if tier == "free" else 50.0})
    for _ in range(int(BURST_S) + 1):
        hub.admit(ctx_of("acme"), writes=False)
    with pytest.raises(HubBusy, match="too_many_requests"):
        hub.admit(ctx_of("acme"), writes=False)
    with pytest.raises(HubBusy):
        hub.admit(ctx_of("acme", tier=""), writes=False)  # a caller without a tier does not change the tenant's
    share = hub.share(ctx_of("acme", tier="pro"))
    assert share is hub.share(ctx_of("acme", tier="pro"))
    share.revise(0.0)
    assert share.limits.reads_per_s == 50.0


def test_requests_in_flight_are_counted_and_given_back() -> None:
    share = Share(lambda tier: HubLimits(in_flight=2))
    share.admit(0.0, writes=False)
    assert share.enter(0.0, writes=True)
    assert not share.enter(0.0, writes=False)
    with pytest.raises(HubBusy, match="too_many_in_flight") as refused:
        share.admit(0.0, writes=False)
    assert refused.value.share is share
    share.leave()
    assert share.enter(0.0, writes=False)
    assert share.refusals == {shares.IN_FLIGHT: 1}


def test_who_waits_for_a_change_counts_as_a_watch_and_not_as_in_flight() -> None:
    share = Share(lambda tier: HubLimits(watches=1))
    share.admit(0.0, writes=False)
    with share.waiting():
        assert (share.watches, share.in_flight) == (1, 0)
        with pytest.raises(HubBusy, match="too_many_waiters"), share.waiting():
            raise AssertionError("let in")
        with pytest.raises(HubBusy, match="too_many_watchers"):
            share.check_watch()
    assert (share.watches, share.in_flight) == (0, 1)
    share.check_watch()


def test_retry_after_is_whole_seconds_and_grows_with_those_who_are_held() -> None:
    share = Share(lambda tier: HubLimits(reads_per_s=10.0))
    while share.enter(0.0, writes=False):
        pass
    waits: list[int | None] = []
    for share.held in (0, 25, 100, 10_000_000):
        with pytest.raises(HubBusy) as refused:
            share.admit(0.0, writes=False)
        waits.append(refused.value.retry_after_s)
    assert waits == [1, 3, 11, shares.RETRY_S_MAX]
    assert too_fast("x", 0.25, 100.0).fields["window_s"] == 4


def test_refusals_of_other_kinds_are_counted_where_they_come_from() -> None:
    clock = ManualClock()
    hub = RateProtection(clock, reads_per_s=1.0)
    for _ in range(int(BURST_S) + 1):
        hub.charge(ctx_of("acme"), "10.0.0.1")
    with pytest.raises(HubBusy):
        hub.charge(ctx_of("acme"), "10.0.0.1")
    hub.charge(ctx_of("globex"), "10.0.0.1")
    hub.charge(None, "10.0.0.1")
    assert hub.refusals[shares.READS] == 1


def test_who_proves_nothing_uses_up_only_what_is_for_such_callers_at_that_address() -> None:
    hub = RateProtection(ManualClock())
    for number in range(int(UNPROVEN_PER_S * BURST_S) + 1):
        hub.charge(None if number % 2 else ctx_of(kind=PrincipalKind.ANONYMOUS), "10.0.0.1")
    with pytest.raises(HubBusy, match="too_many_requests") as refused:
        hub.charge(None, "10.0.0.1")
    assert refused.value.fields["violated-policies"] == [UNPROVEN]
    assert hub.refusals[UNPROVEN] == 1
    hub.charge(None, "10.0.0.2")
    hub.admit(ctx_of(origin="10.0.0.1"), writes=False)
    hub.admit(ctx_of("acme", origin="10.0.0.1"), writes=False)


def test_shares_nobody_uses_are_forgotten_and_those_in_use_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "KEYS_MAX", 3)
    hub = RateProtection(ManualClock())
    busy = hub.admit(ctx_of("busy"), writes=False)
    for number in range(20):
        hub.admit(ctx_of(f"t{number}"), writes=False).leave()
        hub.charge(None, f"10.0.1.{number}")
    assert len(hub._shares) <= 3  # pyright: ignore[reportPrivateUsage]
    assert len(hub._unproven) <= 3  # pyright: ignore[reportPrivateUsage]
    assert hub.share(ctx_of("busy")) is busy


def test_the_queue_of_writes_asks_for_weight_and_room() -> None:
    hub = RateProtection(ManualClock(), granted=lambda domain, tier: {shares.WRITE_WEIGHT: 8, QUEUED: 5})
    acme = DomainId("acme")
    assert (hub.weight_of(acme), hub.queued_max(acme)) == (1, shares.QUEUED_WRITES_MAX)
    share = hub.share(ctx_of("acme"))
    assert (hub.weight_of(acme), hub.queued_max(acme)) == (8, 5)
    hub.refused(acme)
    hub.refused(DomainId("unknown"))
    assert (share.refusals[QUEUED], hub.refusals[QUEUED]) == (1, 2)


def test_a_bucket_goes_on_at_another_rate_and_forgets_nothing() -> None:
    bucket = Bucket(10.0, burst_s=1.0)
    while not bucket.take(0.0):
        pass
    assert bucket.taken(0.0) == 11
    bucket.change(100.0, math.inf)
    assert bucket.take(0.0) > 0
    assert bucket.take(200.0) == 0.0
