"""Common evidence: it protects those who rarely call, and no tenant alone can make it up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.breakers import tiers
from central_hub.breakers.model import (
    ENDPOINT_OPEN_S,
    ENDPOINT_PROBES_PER_S,
    WITNESS_AGE_S,
    WITNESSED_MAX,
    WITNESSES_MAX,
    Policy,
    Reason,
    State,
    Transition,
)
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import REFUSED, Breaker, breaker

TIERS = {
    "free": tiers.policy_of({"breaker_failure_rate": 0.5, "breaker_open_s": 60}),
    "pro": tiers.policy_of({"breaker_failure_rate": 0.3, "breaker_open_s": 30}),
    "enterprise": tiers.policy_of({"breaker_failure_rate": 0.1, "breaker_open_s": 10}),
}


class Fleet:
    """Tenants who call one service through one process."""

    def __init__(self, names: list[str], policy: Policy) -> None:
        self.told: list[Transition] = []
        self.pool = Pool("svc", "", self.told.append)
        self.of: dict[str, Breaker] = {name: breaker(policy, self.pool, name) for name in names}

    def call(self, name: str, now_s: float, *, failed: bool, sent: bool = True) -> bool:
        held = self.of[name]
        permit = held.allow(now_s)
        if permit == REFUSED:
            return False
        if failed:
            held.failed(permit, now_s, sent=sent)
        else:
            held.succeeded(permit, now_s)
        return True


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("others", [3, 20])
def test_a_tenant_with_a_call_a_minute_is_protected_within_three_seconds(tier: str, others: int) -> None:
    names = [f"busy-{number}" for number in range(others)]
    fleet = Fleet([*names, "rare"], TIERS[tier])
    chance = random.Random(7)
    assert fleet.call("rare", 0.0, failed=False)
    at = [(chance.uniform(0, 60), chance.choice(names)) for _ in range(60 * 10 * others)]
    for when, name in sorted(at):
        fleet.call(name, when, failed=chance.random() < 0.05)
    # It dies: 3 s later the one that calls once a minute is refused, without having failed once.
    for when, name in sorted((60 + when / 20, name) for when, name in at):
        fleet.call(name, when, failed=True)
    assert not fleet.call("rare", 63.0, failed=True)
    assert fleet.told[-1].tenant == "rare"
    assert fleet.told[-1].reason is Reason.ENDPOINT
    assert fleet.told[-1].evidence.failure_percent > 50


def test_what_nobody_accepts_protects_even_beside_a_single_tenant() -> None:
    fleet = Fleet(["busy", "rare"], TIERS["enterprise"])
    fleet.call("rare", 0.0, failed=False)
    now_s = 60.0
    while now_s < 63.0:
        fleet.call("busy", now_s, failed=True, sent=False)
        now_s += 0.05
    assert not fleet.call("rare", 63.0, failed=True)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("others", [1, 2, 10, 100])
def test_a_tenant_whose_calls_all_fail_opens_nothing_for_others(tier: str, others: int) -> None:
    names = [f"t{number}" for number in range(others)]
    fleet = Fleet(["poison", *names], TIERS[tier])
    chance = random.Random(others)
    now_s = 0.0
    for _ in range(30_000):
        now_s += 0.01
        if chance.random() < 0.8:
            fleet.call("poison", now_s, failed=True)
        else:
            assert fleet.call(chance.choice(names), now_s, failed=chance.random() < 0.02)
    assert {one.tenant for one in fleet.told} == {"poison"}
    assert fleet.pool.failing_until_s == 0.0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["poison", "a", "b", "c"]), st.floats(0, 5, allow_nan=False)),
        min_size=20,
        max_size=200,
    )
)
def test_whoever_calls_when_one_tenant_alone_never_makes_common_evidence(calls: list[tuple[str, float]]) -> None:
    pool = Pool("svc", "", lambda _: None)
    now_s = 0.0
    for name, later_s in calls:
        now_s += later_s
        pool.hear(name, now_s, 0b1111111 if name == "poison" else 0b1000000, unsent=0, whole=name == "poison")
        assert pool.failing_until_s == 0.0


def test_two_who_fail_beside_many_who_do_not_open_nothing() -> None:
    fleet = Fleet(["bad-1", "bad-2", *(f"t{number}" for number in range(10))], TIERS["enterprise"])
    now_s = 0.0
    for _ in range(500):
        for name in fleet.of:
            now_s += 0.01
            fleet.call(name, now_s, failed=name.startswith("bad"))
    assert {one.tenant for one in fleet.told} == {"bad-1", "bad-2"}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("pace_s", [0.001, 0.1, 2.0])
def test_a_healthy_service_makes_no_common_evidence(tier: str, pace_s: float) -> None:
    # 1,560 windows of 64 calls at 5 % errors; at 1 in 100,000 each a single trip has a chance of 1.6 %.
    names = [f"t{number}" for number in range(20)]
    fleet = Fleet(names, TIERS[tier])
    chance = random.Random(29)
    now_s = 0.0
    for _ in range(100_000):
        now_s += pace_s
        assert fleet.call(chance.choice(names), now_s, failed=chance.random() < 0.05, sent=chance.random() < 0.5)
        assert not fleet.pool.doubted
    assert fleet.told == []


def test_a_tenant_that_was_just_answered_is_not_shut_out_by_the_others() -> None:
    fleet = Fleet(["fine", "unknown"], TIERS["free"])
    fleet.call("fine", 100.0, failed=False)
    fleet.pool.failing_until_s = 200.0
    assert fleet.call("fine", 101.0, failed=True)  # it finds out itself …
    assert not fleet.call("fine", 101.5, failed=True)  # … and then the others' word counts
    assert not fleet.call("unknown", 101.0, failed=True)


def test_an_answer_of_long_ago_speaks_against_nothing() -> None:
    fleet = Fleet(["a", "b", "c", "rare"], TIERS["free"])
    fleet.call("rare", 100.0, failed=False)
    for step in range(60):
        for name in ("a", "b", "c"):
            fleet.call(name, 100.0 + step * 0.15 + ord(name) / 1e4, failed=True)
    assert fleet.call("rare", 109.5, failed=False)  # its own answer is 9 s old
    fleet.pool.failing_until_s = 200.0
    assert not fleet.call("rare", 109.5 + WITNESS_AGE_S + 0.2, failed=True)


def test_the_evidence_ages_and_probes_are_rationed_over_all_tenants() -> None:
    names = [f"t{number}" for number in range(40)]
    fleet = Fleet(names, TIERS["enterprise"])
    for number, name in enumerate(names[:30]):
        fleet.call(name, 1.0 + number / 100, failed=True)
    until_s = fleet.pool.failing_until_s
    assert until_s > 1.0
    for name in names:
        assert not fleet.call(name, 2.0, failed=True)
    later_s = max(until_s, 2.0 + TIERS["enterprise"].open_s) + 0.1
    let_through = [name for name in names if fleet.of[name].allow(later_s) != REFUSED]
    assert len(let_through) == ENDPOINT_PROBES_PER_S
    assert sum(fleet.of[name].allow(later_s + 1.1) != REFUSED for name in names) == ENDPOINT_PROBES_PER_S
    assert until_s - 1.3 <= ENDPOINT_OPEN_S


def test_probes_that_fail_shut_the_others_out_again() -> None:
    names = [f"t{number}" for number in range(40)]
    fleet = Fleet(names, TIERS["enterprise"])
    now_s, refused, made = 0.0, 0, 0
    for _ in range(4_000):
        now_s += 0.05
        for name in names[int(now_s * 7) % 4 :: 4]:
            let_through = fleet.call(name, now_s, failed=True)
            made, refused = made + let_through, refused + (not let_through)
    # 40 tenants at 5 calls a second for 200 s.
    assert made < 0.06 * (made + refused)


def test_a_service_that_comes_back_is_found_by_a_few_and_then_by_all() -> None:
    names = [f"t{number}" for number in range(40)]
    fleet = Fleet(names, TIERS["enterprise"])
    for number, name in enumerate(names):
        fleet.call(name, number / 50, failed=True)
    now_s = 1.0
    while now_s < 41.0:
        now_s += 0.1
        for name in names:
            fleet.call(name, now_s, failed=False)
    assert all(held.state_at(now_s) is State.CLOSED for held in fleet.of.values())


def test_no_more_tenants_and_outcomes_are_kept_than_the_limits_say() -> None:
    pool = Pool("svc", "", lambda _: None)
    for number in range(WITNESSES_MAX * 3):
        for _ in range(WITNESSED_MAX * 2):
            pool.hear(f"t{number}", 1.0, 1 << 64, unsent=0)
    assert len(pool.witnesses) == WITNESSES_MAX
    assert {one.calls for one in pool.witnesses.values()} == {WITNESSED_MAX}


def test_one_that_calls_much_is_heard_no_more_often_than_one_that_does_not() -> None:
    heard: list[float] = []

    class Listening(Pool):
        def hear(self, tenant: str, now_s: float, outcomes: int, *, unsent: int, whole: bool = False) -> None:
            heard.append(now_s)
            super().hear(tenant, now_s, outcomes, unsent=unsent, whole=whole)

    held = breaker(TIERS["free"], Listening("svc", "", lambda _: None), "busy")
    for step in range(10_000):
        now_s = 1.0 + step / 1_000
        held.succeeded(held.allow(now_s), now_s)
    assert len(heard) <= 101
