"""How much evidence a trip needs, and how rarely a healthy service trips a breaker."""

from __future__ import annotations

import math
import random

import pytest

from central_hub.breakers import tiers
from central_hub.breakers.bounds import failures_needed, false_trips, patient_confidence, spans, tail
from central_hub.breakers.model import FALSE_TRIPS_MAX, HEALTHY_RATE, Policy
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import breaker

RATES = {"free": 0.5, "pro": 0.3, "enterprise": 0.1}


def test_the_bound_is_the_one_of_clopper_and_pearson() -> None:
    # Its own definition, by bisection: the rate at which so many failures are as unlikely as the doubt.
    for n, rate, confidence in ((6, 0.5, 0.95), (20, 0.3, 0.99), (64, 0.1, 0.99999), (64, 0.5, 0.95)):
        least = failures_needed(n, rate, confidence)
        assert _lower_bound(n, least, confidence) > rate >= _lower_bound(n, least - 1, confidence)


def test_published_values() -> None:
    # 95 % two-sided is 97.5 % one-sided; 10 of 20: 0.2720 (Newcombe 1998 and every table since).
    assert _lower_bound(20, 10, 0.975) == pytest.approx(0.27196, abs=1e-4)
    assert tail(10, 3, 0.5) == pytest.approx(0.9453125)
    assert failures_needed(5, 0.5, 0.95) == 5
    assert failures_needed(4, 0.5, 0.95) == 5  # not even four of four show it


def test_more_confidence_never_needs_less() -> None:
    for n in range(1, 65):
        needed = [failures_needed(n, 0.3, confidence) for confidence in (0.5, 0.9, 0.99, 0.9999)]
        assert needed == sorted(needed)


@pytest.mark.parametrize("tier", RATES)
def test_false_trips_are_at_most_one_in_a_hundred_thousand_windows(tier: str) -> None:
    rate = RATES[tier]
    policy = tiers.policy_of({"breaker_failure_rate": rate})
    assert policy.confidence == patient_confidence(policy.window_size, rate)
    # An upper bound, exact for every span: see `false_trips`.
    assert false_trips(policy.window_size, rate, policy.confidence, HEALTHY_RATE) <= FALSE_TRIPS_MAX == 1e-5


@pytest.mark.parametrize("percent", range(10, 100, 5))
def test_whatever_rate_an_operator_writes_false_trips_stay_rare(percent: int) -> None:
    policy = tiers.policy_of({"breaker_failure_rate": percent / 100})
    assert false_trips(policy.window_size, policy.failure_rate, policy.confidence) <= FALSE_TRIPS_MAX


def test_the_bound_on_false_trips_is_above_the_truth() -> None:
    # Worked out in full for a small window: every sequence of 12 calls, with its probability.
    size, rate, confidence, base = 12, 0.1, 0.9, 0.2
    looked_at = spans(size, rate, confidence)
    truth = 0.0
    for outcomes in range(1 << size):
        tripped = any(
            outcomes >> (size - at) & 1
            and any(n <= at and (outcomes >> (size - at) & ((1 << n) - 1)).bit_count() >= k for n, k in looked_at)
            for at in range(1, size + 1)
        )
        failures = outcomes.bit_count()
        truth += tripped * base**failures * (1 - base) ** (size - failures)
    assert 0.01 < truth <= false_trips(size, rate, confidence, base)


def test_the_plain_rule_would_trip_on_a_healthy_service() -> None:
    policy = Policy(failure_rate=0.1, window_size=20, minimum_calls=20)
    assert _trips(policy, windows=400, seed=3) > 40


@pytest.mark.parametrize("tier", RATES)
def test_no_false_trip_in_many_windows(tier: str) -> None:
    # 20,000 windows at 1e-5 each: more than two of them have a chance of 1 in 1,000.
    assert _trips(tiers.policy_of({"breaker_failure_rate": RATES[tier]}), windows=20_000, seed=11) <= 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tier", RATES)
def test_false_trips_in_a_million_windows_are_as_rare_as_promised(tier: str) -> None:
    # At the promised 1e-5 more than 23 in a million windows would have a chance of 1 in 10,000.
    trips = _trips(tiers.policy_of({"breaker_failure_rate": RATES[tier]}), windows=1_000_000, seed=12)
    assert trips <= 23


@pytest.mark.parametrize(("tier", "failing"), [("free", 0.8), ("pro", 0.6), ("enterprise", 0.4)])
def test_a_service_that_fails_too_often_is_found_out_within_two_windows(tier: str, failing: float) -> None:
    policy = tiers.policy_of({"breaker_failure_rate": RATES[tier]})
    chance = random.Random(5)
    late = 0
    for _ in range(300):
        held = breaker(policy, Pool("svc", "", lambda _: None), "t")
        for _ in range(2 * policy.window_size):
            if held.trip is None:
                _call(held, 1.0, chance.random() < failing)
        late += held.trip is None
    assert late <= 3


def _call(held, now_s: float, failed: bool) -> None:
    permit = held.allow(now_s)
    if failed:
        held.failed(permit, now_s)
    else:
        held.succeeded(permit, now_s)


def _trips(policy: Policy, *, windows: int, seed: int) -> int:
    """Return how often a breaker opens in so many windows of calls to a service that fails as a healthy one does."""
    policy = Policy(**{name: getattr(policy, name) for name in policy.__struct_fields__} | {"shares": False})
    chance = random.Random(seed)
    told: list[object] = []
    held = breaker(policy, Pool("svc", "", told.append), "t")
    log_ok, left = math.log(1 - HEALTHY_RATE), windows * policy.window_size
    while left > 0:
        # The number of successes before a failure is geometric: one draw for twenty calls.
        successes = int(math.log(1 - chance.random()) / log_ok)
        left -= successes + 1
        for _ in range(min(successes, policy.window_size)):  # more than the window says nothing more
            held.succeeded(held.generation, 1.0)
        held.failed(held.generation, 1.0)
        if held.trip is not None:
            held = breaker(policy, held.pool, "t")
    return len(told)


def _lower_bound(n: int, failures: int, confidence: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if tail(n, failures, middle) > 1 - confidence else (middle, high)
    return low
