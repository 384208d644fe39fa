"""What many processes saw: when it is enough, and that no single one of them decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from central_hub.breakers import tiers
from central_hub.breakers.bounds import failures_needed, tail
from central_hub.breakers.ledger import CALLS_JUDGED_MAX, CALLS_JUDGED_MIN, Ledger, is_above
from central_hub.breakers.model import FALSE_TRIPS_MAX, HEALTHY_RATE, Policy, Reason
from central_hub.breakers.verdicts import CALLERS_PER_LEDGER_MAX

TIERS = [
    tiers.policy_of({"breaker_failure_rate": rate, "breaker_open_s": seconds})
    for rate, seconds in ((0.5, 60), (0.3, 30), (0.1, 10))
]
FREE = TIERS[0]


def test_two_processes_that_fail_open_and_one_does_not() -> None:
    ledger = Ledger()
    ledger.add("a", 1.0, calls=1_000, failures=1_000, slow=0)
    assert ledger.judge(1.0, FREE) is None
    ledger.add("b", 1.1, calls=5, failures=5, slow=0)
    assert ledger.judge(1.1, FREE) is None, "five are not enough"
    ledger.add("b", 1.3, calls=1, failures=1, slow=0)
    judged = ledger.judge(1.3, FREE)
    assert judged is not None
    assert judged[0] is Reason.FAILURES
    assert (judged[1].calls, judged[1].failures) == (6, 6)


def test_answers_of_others_speak_against_it() -> None:
    ledger = Ledger()
    for caller in "ab":
        ledger.add(caller, 1.0, calls=6, failures=6, slow=0)
    assert ledger.judge(1.0, FREE) is not None
    ledger.add("c", 1.0, calls=50, failures=0, slow=0)
    assert ledger.judge(1.0, FREE) is None


def test_what_is_older_than_ten_seconds_says_nothing() -> None:
    ledger = Ledger()
    for caller in "ab":
        ledger.add(caller, 1.0, calls=6, failures=6, slow=0)
    assert ledger.judge(11.0, FREE) is not None
    assert ledger.judge(11.1, FREE) is None
    assert ledger.evidence(11.1).calls == 0


def test_answers_of_before_speak_against_nothing() -> None:
    aged, fresh = Ledger(), Ledger()
    for caller in "ab":
        for ledger, age_s in ((aged, 1.5), (fresh, 0.0)):
            ledger.add(caller, 20.0, calls=30, failures=0, slow=0, age_s=age_s)
            ledger.add(caller, 20.1, calls=8, failures=8, slow=0)
    assert aged.judge(20.1, FREE) is not None
    assert fresh.judge(20.1, FREE) is None


def test_slow_calls_open_too() -> None:
    ledger = Ledger()
    for caller in "ab":
        ledger.add(caller, 1.0, calls=8, failures=0, slow=8)
    judged = ledger.judge(1.0, FREE)
    assert judged is not None
    assert judged[0] is Reason.SLOW


def test_what_is_kept_of_processes_is_bounded() -> None:
    ledger = Ledger()
    for number in range(CALLERS_PER_LEDGER_MAX + 5):
        ledger.add(f"p-{number}", 1.0, calls=1, failures=0, slow=0)
    assert ledger.callers == CALLERS_PER_LEDGER_MAX
    ledger.clear()
    assert ledger.callers == 0


@given(
    failing=st.integers(0, 10_000),
    others=st.lists(st.tuples(st.integers(0, 40), st.floats(0, 12)), max_size=30),
    policy=st.sampled_from(TIERS),
)
def test_one_process_alone_never_opens(failing: int, others: list[tuple[int, float]], policy: Policy) -> None:
    ledger = Ledger()
    for number, (calls, at_s) in enumerate(sorted(others, key=lambda one: one[1])):
        ledger.add(f"p-{number}", at_s, calls=calls, failures=0, slow=0)
    ledger.add("poison", 12.0, calls=failing, failures=failing, slow=failing)
    assert ledger.judge(12.0, policy) is None


@given(calls=st.integers(0, 5_000), counted=st.integers(0, 5_000), policy=st.sampled_from(TIERS))
def test_more_failures_never_speak_against_it(calls: int, counted: int, policy: Policy) -> None:
    counted = min(counted, calls)
    if is_above(calls, counted, policy.failure_rate, policy.confidence):
        assert counted / calls > policy.failure_rate
        assert is_above(calls, min(calls, counted + 1), policy.failure_rate, policy.confidence)


def test_a_healthy_service_opens_no_tiers_breaker() -> None:
    for policy in TIERS:
        for calls in range(CALLS_JUDGED_MIN, CALLS_JUDGED_MAX + 1):
            needed = failures_needed(calls, policy.failure_rate, policy.confidence)
            chance = tail(calls, needed, HEALTHY_RATE) if needed <= calls else 0.0
            assert chance <= FALSE_TRIPS_MAX, (policy.failure_rate, calls)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20))
def test_the_latest_outcomes_have_the_rate_of_all(seen: list[tuple[int, int]]) -> None:
    ledger = Ledger()
    for number, (good, bad) in enumerate(seen):
        ledger.add(f"p-{number}", 5.0, calls=good + bad, failures=bad, slow=0)
    outcomes = ledger.latest(5.0)
    calls, failures = sum(one + two for one, two in seen), sum(two for _, two in seen)
    held = outcomes.bit_length() - 1
    assert held == min(6, calls)
    shown = (outcomes & ((1 << held) - 1)).bit_count()
    assert abs(shown - (failures * held / calls if calls else 0)) <= 0.5
