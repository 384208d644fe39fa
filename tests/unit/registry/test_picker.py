"""The pick, with its arithmetic written out."""

from __future__ import annotations

from collections import Counter

import pytest

from central_hub.registry.model import Status
from central_hub.registry.picker import RAMP_MS, SLOTS, Candidate, is_eligible, lay_out, pick, win_probabilities
from tests.unit.registry.support import instance

OLD = RAMP_MS * 10


def candidate(name: str, *, status: Status = Status.HEALTHY, **fields: object) -> Candidate:
    load = {key: fields.pop(key) for key in ("in_flight", "latency_ms", "load") if key in fields}
    return Candidate(instance=instance(instance_id=name, **fields), status=status, **load)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("costs", "shares", "chances"),
    [
        # One candidate: 1 x (1 + 2 x 0) = 1.
        ([5.0], [1.0], [1.0]),
        # Equal costs: 0.5 x (0.5 + 0.5) each.
        ([1.0, 1.0], [0.5, 0.5], [0.5, 0.5]),
        # The cheaper of two wins unless the other is drawn twice: 0.5 x (0.5 + 2 x 0.5) = 0.75.
        ([1.0, 2.0], [0.5, 0.5], [0.75, 0.25]),
        # Three: 1/3 x (1/3 + 2 x 2/3) = 5/9; 1/3 x (1/3 + 2 x 1/3) = 3/9; 1/3 x 1/3 = 1/9.
        ([1.0, 2.0, 3.0], [1 / 3] * 3, [5 / 9, 3 / 9, 1 / 9]),
        # A tie below a dearer one: 0.25 x (0.5 + 2 x 0.5) = 0.375 each; 0.5 x 0.5 = 0.25.
        ([1.0, 1.0, 9.0], [0.25, 0.25, 0.5], [0.375, 0.375, 0.25]),
    ],
)
def test_power_of_two_choices_worked_out(costs: list[float], shares: list[float], chances: list[float]) -> None:
    assert win_probabilities(costs, shares) == pytest.approx(chances)
    assert sum(win_probabilities(costs, shares)) == pytest.approx(1.0)


def test_the_table_has_every_slot_and_each_share_to_one_slot() -> None:
    table = lay_out([5 / 9, 3 / 9, 1 / 9])
    # 142.2, 85.3 and 28.4 slots: the one that is missing goes to the largest remainder, 28.44.
    assert Counter(table) == {0: 142, 1: 85, 2: 29}
    assert len(table) == SLOTS


def test_more_candidates_than_slots_still_lay_out() -> None:
    table = lay_out([1 / 400] * 400)
    assert len(table) == SLOTS
    assert max(table) > 255 or len(set(table)) == SLOTS


def test_cost_is_queue_times_latency_over_headroom_and_what_is_unreported_is_the_mean() -> None:
    chosen = pick(
        [
            candidate("a", in_flight=3, latency_ms=10.0, load=0.5),  # (1 + 3) x 10 / 0.5 = 80
            candidate("b", in_flight=1, latency_ms=30.0, load=0.0),  # (1 + 1) x 30 / 1 = 60
            candidate("c"),  # (1 + 2) x 20 / 0.75 = 80
            candidate(
                "d", in_flight=2, latency_ms=20.0, load=2.0
            ),  # (1 + 2) x 20 / 0.05 = 1200; mean load is (0.5+0+2)/3
        ],
        now_ms=OLD,
    )
    assert chosen.costs[0] == pytest.approx(80)
    assert chosen.costs[1] == pytest.approx(60)
    assert chosen.costs[2] == pytest.approx(3 * 20 / (1 - 2.5 / 3))
    assert chosen.costs[3] == pytest.approx(1200)


def test_a_new_instance_ramps_up_over_thirty_seconds() -> None:
    young, old = candidate("young", active_since_ms=OLD - 15_000), candidate("old")
    chosen = pick([young, old], now_ms=OLD)
    # Shares 0.5 and 1 of 1.5; costs are equal, so the shares are the probabilities.
    assert chosen.chances == pytest.approx((1 / 3, 2 / 3))
    assert not chosen.settled
    assert pick([young, old], now_ms=OLD + 15_000).chances == pytest.approx((0.5, 0.5))
    assert pick([young, old], now_ms=OLD + 15_000).settled


def test_the_youngest_still_gets_a_tenth_and_a_clock_set_back_punishes_nobody() -> None:
    fresh = candidate("fresh", active_since_ms=OLD)
    assert pick([fresh, candidate("old")], now_ms=OLD).chances == pytest.approx((0.1 / 1.1, 1 / 1.1))
    assert pick([fresh], now_ms=OLD - 5_000).settled


def test_weights_and_standing_scale_the_share() -> None:
    chosen = pick(
        [candidate("a", weight=300), candidate("b", weight=100), candidate("c", status=Status.DEGRADED)], now_ms=OLD
    )
    # 300 + 100 + 100 x 0.2 = 420.
    assert chosen.chances == pytest.approx((300 / 420, 100 / 420, 20 / 420))


def test_the_callers_zone_comes_first_while_somebody_well_is_there() -> None:
    here, there = candidate("here", zone="eu"), candidate("there", zone="us")
    assert pick([here, there], now_ms=OLD, near="eu").chances == pytest.approx((1.0, 0.0))
    assert pick([here, there], now_ms=OLD, near="eu").zone == "eu"
    assert pick([here, there], now_ms=OLD, near="asia").chances == pytest.approx((0.5, 0.5))
    limping = candidate("here", zone="eu", status=Status.DEGRADED)
    assert pick([limping, there], now_ms=OLD, near="eu").zone == ""


def test_confidence_is_standing_times_ramp_times_root_of_relative_cost() -> None:
    chosen = pick(
        [
            candidate("best", latency_ms=10.0),  # 1 x (1 + 1) / 2 x sqrt(10 / 10) = 1
            candidate("slow", latency_ms=40.0),  # sqrt(10 / 40) = 0.5
            candidate("new", latency_ms=10.0, status=Status.UNKNOWN, active_since_ms=OLD - 15_000),  # 0.7 x 0.75
        ],
        now_ms=OLD,
    )
    assert chosen.confidences == pytest.approx((1.0, 0.5, 0.525))


def test_unhealthy_and_draining_are_not_eligible_and_unknown_is() -> None:
    assert is_eligible(instance(), Status.UNKNOWN)
    assert is_eligible(instance(), Status.DEGRADED)
    assert not is_eligible(instance(), Status.UNHEALTHY)
    assert not is_eligible(instance(draining=True), Status.HEALTHY)


def test_nobody_to_pick() -> None:
    assert pick([], now_ms=OLD).draw(7) is None


def test_every_draw_finds_its_candidate() -> None:
    chosen = pick([candidate("a", latency_ms=1.0), candidate("b", latency_ms=2.0)], now_ms=OLD)
    drawn = Counter(chosen.draw(byte) for byte in range(SLOTS))
    assert drawn == {0: 192, 1: 64}
