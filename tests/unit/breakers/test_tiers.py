"""What a plan says about breakers, and what holds where it says nothing sensible."""

from __future__ import annotations

import pytest

from central_hub.breakers import tiers
from central_hub.breakers.model import PROVABLE_RATE_MAX
from central_hub.plans.document import default_catalogue


@pytest.mark.parametrize(
    ("plan", "rate", "open_s"), [("free", 0.5, 60.0), ("pro", 0.3, 30.0), ("enterprise", 0.1, 10.0)]
)
def test_the_plans_a_hub_starts_with_say_how_strict_each_tier_is(plan: str, rate: float, open_s: float) -> None:
    policy = tiers.policy_of(default_catalogue().plans[plan].entitlements)
    assert (policy.failure_rate, policy.open_s) == (rate, open_s)
    assert policy.shares
    assert policy.early


def test_an_operator_may_say_confidence_and_probes_too() -> None:
    policy = tiers.policy_of({"breaker_confidence": 0.9, "breaker_probes": 3})
    assert (policy.confidence, policy.probes) == (0.9, 3)


@pytest.mark.parametrize("feature", tiers.FEATURES)
@pytest.mark.parametrize("value", ["0.5", None, True, -1, 0, float("nan"), float("inf"), 10**12, [1], {}])
def test_what_no_breaker_can_be_is_the_default(feature: str, value: object) -> None:
    assert tiers.policy_of({feature: value}) == tiers.DEFAULT


def test_a_rate_that_nothing_can_show_to_be_passed_is_the_highest_that_can() -> None:
    assert tiers.policy_of({"breaker_failure_rate": 1}).failure_rate == PROVABLE_RATE_MAX


def test_where_no_plan_is_known_it_opens_on_the_plainest_evidence_and_tries_again_soon() -> None:
    strictest = min(tiers.policy_of({"breaker_failure_rate": rate}).failure_rate for rate in (0.5, 0.3, 0.1))
    assert tiers.DEFAULT.failure_rate >= strictest
    assert tiers.DEFAULT.open_s <= 10
