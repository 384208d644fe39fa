"""Whatever happens, and whichever way the clock goes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.breakers import tiers
from central_hub.breakers.model import Policy, State, Transition, Window
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import REFUSED, breaker

POLICIES = (
    tiers.DEFAULT,
    Policy(window_size=5, minimum_calls=3, open_s=5.0, probes=3, probe_wait_s=7.0, slow_call_s=1.0, automatic=True),
    Policy(window=Window.SECONDS, window_size=4, minimum_calls=3, open_s=5.0, probes=3, shares=True, early=True),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["allow", "ok", "fail", "unsent", "release", "twice", "look"]),
        st.sampled_from([0.0, 0.05, 1.0, 4.0, 12.0, 1_000.0, -0.5, -3.0, -500.0, -1e6]),
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(POLICIES), STEPS)
def test_limits_hold_and_every_change_follows_from_the_one_before(
    policy: Policy, steps: list[tuple[str, float]]
) -> None:
    told: list[Transition] = []
    held = breaker(policy, Pool("svc", "", told.append), "t")
    now_s, permits, generation = 1e6, [1], 1
    for what, later_s in steps:
        now_s += later_s
        trip = held.trip
        refuses = trip is not None and trip.state is State.OPEN and now_s < trip.until_s
        if what == "allow":
            permit = held.allow(now_s)
            assert not (refuses and permit), "an open breaker refuses until its time is over"
            if permit != REFUSED:
                permits.append(permit)
        elif what == "look":
            assert held.peek(now_s) == held.state_at(now_s)
        elif permits:
            permit = permits[-1] if what == "twice" else permits.pop()
            if what == "ok" or what == "twice":
                held.succeeded(permit, now_s, 2.0)
            elif what == "release":
                held.release(permit)
            else:
                held.failed(permit, now_s, sent=what == "fail")
        assert held.generation >= generation
        generation = held.generation
        seen = held.evidence_at(now_s)
        assert seen.slow_failures <= min(seen.slow, seen.failures) <= seen.calls
        if policy.window is Window.CALLS:
            assert seen.calls <= policy.window_size
        if held.trip is not None and held.trip.state is State.HALF_OPEN:
            assert 0 <= held.trip.permits <= policy.probes
            assert seen.calls <= policy.probes
    assert all(before.after is after.before for before, after in pairwise(told))
    assert not told or told[0].before is State.CLOSED
