"""Verdict rules as tables: hysteresis, strain, damping, late, mass silence, own fault."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.health import model, rules
from central_hub.health.model import UNJUDGED, Sign, Standing
from central_hub.registry.model import Status

H, D, U, X = Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.UNKNOWN
SIGNS = {".": Sign.PASS, "w": Sign.WARN, "f": Sign.FAIL, "r": Sign.REFUSED}
SHORT = {H: "h", D: "d", U: "u", X: "x"}


def play(signs: str, *, step_ms: float = 1_000, standing: Standing = UNJUDGED) -> tuple[str, Standing]:
    """Fold signs a step apart; returns the status after each."""
    shown = ""
    for count, sign in enumerate(signs):
        standing = rules.observed(
            standing, SIGNS[sign], now_ms=1_000 + count, at_ms=1_000 + count * step_ms, latency_ms=5.0
        )
        shown += SHORT[standing.status]
    return shown, standing


@pytest.mark.parametrize(
    ("signs", "statuses"),
    [
        (".", "h"),
        ("f", "x"),
        ("fff", "xxu"),
        ("rr", "xu"),
        ("r.r.r", "xhhhh"),
        ("..ff.ff.", "hhhhhhhh"),
        ("..fff..", "hhhhuuh"),
        ("..fff.f..", "hhhhuuuuh"),
        ("..frf", "hhhhu"),
        ("w", "d"),
        (".w.", "hdh"),
        ("rr..", "xuuh"),
    ],
)
def test_statuses_follow_signs_with_hysteresis(signs: str, statuses: str) -> None:
    assert play(signs)[0] == statuses


def test_a_verdict_names_its_reason_and_since_when() -> None:
    _, standing = play("..rr")
    assert (standing.status, standing.reason, standing.since_ms) == (U, model.REASON_REFUSED, 1_003)
    _, healthy = play("..", standing=standing)
    assert (healthy.reason, healthy.latency_ms) == ("", 5.0)


def test_an_instance_that_flaps_is_held_back_until_it_was_steady() -> None:
    shown, standing = play("..rr" + "..rr" * 3)
    assert standing.suppressed
    assert shown.count("h") > 0
    held, standing = play("." * 30, standing=standing)
    assert set(held) == {"u"}
    assert standing.reason == model.REASON_FLAPPING
    released = rules.observed(standing, Sign.PASS, now_ms=5, at_ms=standing.penalty_at_ms + 156_000)
    assert (released.status, released.suppressed) == (H, False)


def test_a_suppressed_instance_still_gets_worse_at_once() -> None:
    standing = Standing(status=D, suppressed=True, penalty=4_000, penalty_at_ms=1_000, passes=2)
    assert play("rr", standing=standing)[0] == "du"


def test_suppression_ends_within_the_stated_time_of_the_last_flap() -> None:
    assert rules.decayed(model.PENALTY_MAX, 156_000) < model.PENALTY_REUSE
    assert rules.decayed(model.PENALTY_MAX, 154_000) > model.PENALTY_REUSE
    assert rules.decayed(1_000.0, model.PENALTY_HALF_LIFE_MS) == pytest.approx(500.0)


@given(st.text("..wfr", min_size=1, max_size=200), st.floats(1, 100_000))
def test_whatever_comes_the_standing_stays_within_its_bounds(signs: str, step_ms: float) -> None:
    _, standing = play(signs, step_ms=step_ms)
    assert 0 <= standing.penalty <= model.PENALTY_MAX
    assert 0 <= standing.fails <= model.FALL
    assert 0 <= standing.passes <= model.RISE
    assert not standing.protected


@given(st.text("..wfr", max_size=60))
def test_enough_steady_time_heals_everything(signs: str) -> None:
    _, standing = play(signs)
    assert play("..", standing=play(".", standing=standing, step_ms=1)[1], step_ms=400_000)[0][-1] == "h"


def report(standing: Standing, *loads: float) -> str:
    shown = ""
    for load in loads:
        standing = rules.reported(standing, load=load, latency_ms_p95=None, now_ms=9, at_ms=9.0)
        shown += SHORT[standing.status]
    return shown


def test_strain_must_last_before_it_degrades_and_before_it_is_forgiven() -> None:
    healthy = play("..")[1]
    assert report(healthy, 0.99, 0.99, 0.5, 0.99, 0.99, 0.99) == "hhhhhd"
    assert report(healthy, 0.99, 0.99, 0.99, 0.9, 0.9, 0.9, 0.9) == "hhddddd"
    assert report(healthy, 0.99, 0.99, 0.99, 0.5, 0.5, 0.5) == "hhdddh"


def test_latency_degrades_like_load() -> None:
    standing = play("..")[1]
    for _ in range(model.STRAIN):
        standing = rules.reported(standing, load=None, latency_ms_p95=2_500.0, now_ms=9, at_ms=9.0)
    assert (standing.status, standing.reason) == (D, model.REASON_STRAINED)


def test_an_unhealthy_instance_is_not_improved_by_a_report() -> None:
    assert report(play("..fff")[1], 0.99, 0.99, 0.99, 0.1, 0.1, 0.1) == "uuuuuu"


@pytest.mark.parametrize(
    ("silent", "gap", "ttl", "late"),
    [
        (1_000, 1_000, 3_000, False),
        (1_549, 1_000, 3_000, False),
        (1_550, 1_000, 3_000, True),
        (1_400, 10, 3_000, False),
        (1_500, 10, 3_000, True),
        (2_999, 5_000, 3_000, False),
        (3_000, 5_000, 3_000, True),
        (1_900, 0, 3_000, False),
        (2_000, 0, 3_000, True),
    ],
)
def test_late_is_measured_against_the_instances_own_habit(silent: float, gap: float, ttl: float, late: bool) -> None:
    assert rules.is_late(silent, gap, ttl) is late


@pytest.mark.parametrize(
    ("late", "total", "mass"), [(2, 2, False), (3, 3, True), (3, 6, True), (3, 7, False), (4, 7, True), (0, 0, False)]
)
def test_a_mass_silence_needs_several_and_half(late: int, total: int, mass: bool) -> None:
    assert rules.is_mass_silence(late, total) is mass


@pytest.mark.parametrize(
    ("answered", "silent", "services", "own"),
    [(0, 5, 2, True), (1, 50, 9, False), (0, 4, 2, False), (0, 9, 1, False)],
)
def test_the_prober_blames_itself_only_when_nothing_unrelated_answers(
    answered: int, silent: int, services: int, own: bool
) -> None:
    assert rules.is_own_fault(answered, silent, services) is own


@pytest.mark.parametrize(
    ("ttl", "protection"), [(1_000, 30_000), (3_000, 30_000), (10_000, 100_000), (3_600_000, 600_000)]
)
def test_protection_ends(ttl: float, protection: float) -> None:
    assert rules.protection_ms(ttl) == protection


@pytest.mark.parametrize(
    ("targets", "interval"),
    [(1, 500), (500, 500), (2_000, 2_000), (10_000, 10_000), (20_000, 10_000), (40_000, 20_000)],
)
def test_few_targets_are_probed_often_and_many_never_above_the_rate(targets: int, interval: float) -> None:
    assert rules.probe_interval_ms(targets) == interval
    assert targets * 1_000 / interval <= model.PROBES_PER_S


def test_phases_are_spread_evenly() -> None:
    buckets = [0] * 20
    for n in range(10_000):
        buckets[int(rules.phase_of("acme", "risk", f"i-{n}") * 20)] += 1
    assert min(buckets) > 400
    assert max(buckets) < 600


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((3, 0, 0, 0), H),
        ((3, 0, 0, 2), H),
        ((0, 0, 0, 2), X),
        ((0, 0, 0, 0), X),
        ((3, 0, 1, 0), D),
        ((0, 2, 0, 0), D),
        ((0, 0, 1, 1), D),
        ((0, 0, 2, 0), U),
    ],
)
def test_a_groups_status_follows_its_members(counts: tuple[int, ...], status: Status) -> None:
    assert rules.status_of_group(counts) is status


def test_turns_stay_spread_when_the_interval_changes() -> None:
    phases = [rules.phase_of("acme", "risk", f"i-{n}") for n in range(2_000)]
    # Everyone was asked in the first tenth of a second, while they were few; now they are many.
    turns = [rules.next_probe_ms(100.0 * n / 2_000, 10_000.0, phase) for n, phase in enumerate(phases)]
    assert all(100.0 * n / 2_000 < turn <= 100.0 * n / 2_000 + 10_000.0 for n, turn in enumerate(turns))
    slots = Counter(int(turn // 1_000) for turn in turns)
    assert max(slots.values()) < 1.3 * 2_000 / 10


@given(st.floats(0, 1e12), st.floats(500, 60_000), st.floats(0, 1, exclude_max=True))
def test_the_next_turn_is_one_interval_after_the_last(after_ms: float, interval_ms: float, phase: float) -> None:
    first = rules.next_probe_ms(after_ms, interval_ms, phase)
    assert after_ms - 1e-3 <= first <= after_ms + interval_ms + 1e-3
    second = rules.next_probe_ms(first + interval_ms / 2, interval_ms, phase)
    assert second - first == pytest.approx(interval_ms, rel=1e-3)
