"""Who is exposed, what may follow on what, what the gates make of what was seen."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.rollouts.model import STAGES_MAX, Change, Evidence, Gates, Rates, Rollout, Stage, State, Unit
from central_hub.rollouts.rules import (
    ERRORS_MIN,
    MOVES,
    Move,
    Outcome,
    bounds,
    bucket,
    check_stages,
    concerns,
    instance_stratum,
    instance_target,
    is_exposed,
    judge,
    led_to,
    raised,
)

TIERS = ("free", "pro", "enterprise")


def rollout(**more: Any) -> Rollout:
    given: dict[str, Any] = {
        "id": "r-1", "changes": (), "unit": Unit.INSTANCE, "gates": Gates(), "reason": "", "author": "op",
        "stages": (Stage(percent=10, bake_s=5), Stage(percent=100, bake_s=5)), "started_ms": 0, "stage": 1,
        **more,
    }  # fmt: skip
    return Rollout(**given)


# -- exposure -----------------------------------------------------------------------------------

FLEETS = st.lists(
    st.tuples(st.sampled_from(["acme", "globex", "idle"]), st.sampled_from(["risk", "orders"]), st.integers(0, 60)),
    unique=True,
    max_size=120,
)
TIER_OF = {"acme": "pro", "globex": "enterprise", "idle": "free"}


def targets(rollout_id: str, fleet: list[tuple[str, str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for tenant, service, number in fleet:
        stratum = instance_stratum(TIER_OF[tenant], service)
        found.setdefault(stratum, []).append(bucket(rollout_id, instance_target(tenant, service, f"i-{number}")))
    return found


def exposed(one: Rollout, fleet: list[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    return {each for each in fleet if is_exposed(one, each[0], TIER_OF[each[0]], each[1], f"i-{each[2]}")}


@given(st.text("abcdef0123", min_size=1, max_size=8), FLEETS, st.lists(st.floats(0.5, 99), min_size=1, max_size=6))
def test_exposure_only_grows_and_stays_within_the_declared_share(
    rollout_id: str, fleet: list[tuple[str, str, int]], shares: list[float]
) -> None:
    one = rollout(id=rollout_id, stages=tuple(Stage(percent=share) for share in sorted(shares)))
    before: set[tuple[str, str, int]] = set()
    for at, share in enumerate(sorted(shares), start=1):
        thresholds = raised(one, share, targets(rollout_id, fleet))
        one = msgspec.structs.replace(one, stage=at, thresholds=thresholds)
        now = exposed(one, fleet)
        assert before <= now
        assert len(now) == min(len(fleet), max(1, math.floor(len(fleet) * share / 100)))
        before = now


@given(FLEETS, FLEETS, st.floats(0.5, 99))
def test_who_joins_later_takes_nobodys_exposure_away(
    fleet: list[tuple[str, str, int]], joining: list[tuple[str, str, int]], share: float
) -> None:
    one = rollout(stages=(Stage(percent=share),))
    one = msgspec.structs.replace(one, thresholds=raised(one, share, targets(one.id, fleet)))
    before = exposed(one, fleet)
    together = list({*fleet, *joining})
    grown = msgspec.structs.replace(one, thresholds=raised(one, share, targets(one.id, together)))
    assert before <= exposed(grown, together)
    assert exposed(one, together) <= exposed(grown, together)


def test_every_kind_of_target_is_among_the_first() -> None:
    fleet = [("acme", "risk", n) for n in range(40)] + [("globex", "risk", 1), ("idle", "orders", 1)]
    one = rollout()
    one = msgspec.structs.replace(one, thresholds=raised(one, 10, targets(one.id, fleet)))
    assert {tenant for tenant, _, _ in exposed(one, fleet)} == {"acme", "globex", "idle"}
    assert len(exposed(one, fleet)) == 4


def test_a_stage_reaches_whom_it_names_and_nobody_before_it_began() -> None:
    stages = (
        Stage(instances=("i-1", "orders/i-2")),
        Stage(tenants=("globex",), percent=1),
        Stage(tiers=("free",), percent=1),
        Stage(percent=100),
    )
    asked = [("acme", "risk", 1), ("acme", "risk", 2), ("acme", "orders", 2), ("globex", "risk", 9), ("idle", "x", 9)]
    reached = [len(exposed(rollout(stages=stages, stage=stage), asked)) for stage in range(5)]
    assert reached == [0, 2, 3, 4, 5]


def test_who_does_not_say_which_instance_it_is_comes_with_everyone() -> None:
    one = rollout(thresholds={"pro/risk": 2**48})
    assert is_exposed(one, "acme", "pro", "risk", "i-1")
    assert not is_exposed(one, "acme", "pro", "risk", "")
    assert is_exposed(msgspec.structs.replace(one, stage=2), "acme", "pro", "", "")


@pytest.mark.parametrize("state", [State.COMPLETED, State.ROLLED_BACK, State.ABORTED])
def test_nobody_is_exposed_to_what_is_over(state: State) -> None:
    assert not is_exposed(rollout(state=state, stage=2), "acme", "pro", "risk", "i-1")
    assert is_exposed(rollout(state=State.PAUSED, stage=2), "acme", "pro", "risk", "i-1")


def test_tenants_are_exposed_whole() -> None:
    one = rollout(unit=Unit.TENANT)
    tenants = {"pro": [bucket(one.id, f"t-{n}") for n in range(50)]}
    one = msgspec.structs.replace(one, thresholds=raised(one, 10, tenants))
    reached = [n for n in range(50) if is_exposed(one, f"t-{n}", "pro", "", "")]
    assert len(reached) == 5
    assert all(is_exposed(one, f"t-{n}", "pro", "any", "i") for n in reached)
    assert not any(is_exposed(one, f"t-{n}", "free", "", "") for n in range(50))


# -- moves --------------------------------------------------------------------------------------

TABLE = {
    #                enter       complete     roll_back      pause       resume      promote     abort
    State.RUNNING: ("running", "completed", "rolled_back", "paused", "stays", "running", "aborted"),
    State.PAUSED: ("stays", "stays", "rolled_back", "stays", "running", "running", "aborted"),
    State.COMPLETED: ("stays", "stays", "stays", "refused", "refused", "refused", "aborted"),
    State.ROLLED_BACK: ("stays", "stays", "stays", "refused", "refused", "refused", "stays"),
    State.ABORTED: ("stays", "stays", "stays", "refused", "refused", "refused", "stays"),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", Move)
def test_every_state_answers_every_move(state: State, move: Move) -> None:
    expected = TABLE[state][list(Move).index(move)]
    assert MOVES[state][move].value == expected
    one = rollout(state=state)
    if expected == Outcome.REFUSED:
        with pytest.raises(HubError, match="rollout_ended"):
            led_to(one, move)
    else:
        assert led_to(one, move) == (None if expected == Outcome.STAYS else State(expected))


# -- strategies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "tenant", "reason"),
    [
        ((), "", "1 to"),
        ((Stage(percent=100),) * (STAGES_MAX + 1), "", "1 to"),
        ((Stage(percent=50), Stage(percent=10), Stage(percent=100)), "", "no less"),
        ((Stage(), Stage(percent=100)), "", "somebody"),
        ((Stage(percent=50),), "", "everyone"),
        ((Stage(tiers=("gold",)), Stage(percent=100)), "", "among"),
        ((Stage(tiers=("pro",)), Stage(percent=100)), "acme", "own rollout"),
        ((Stage(tenants=("globex",)), Stage(percent=100)), "acme", "own rollout"),
    ],
)
def test_stages_that_do_not_lead_to_everyone_are_refused(stages: tuple[Stage, ...], tenant: str, reason: str) -> None:
    with pytest.raises(HubError, match=f"invalid_rollout.*{reason}"):
        check_stages(stages, TIERS, tenant)


def test_stages_that_lead_to_everyone_are_taken() -> None:
    check_stages((Stage(percent=100),), TIERS, "")
    check_stages((Stage(tiers=("pro",)), Stage(percent=20), Stage(percent=100)), TIERS, "")
    check_stages((Stage(tenants=("acme",)), Stage(percent=100)), TIERS, "acme")


# -- gates --------------------------------------------------------------------------------------


def judged(one: Rollout | None = None, *, elapsed_s: float = 1, settled_s: float = 0, **seen: Any) -> tuple[str, str]:
    verdict = judge(one or rollout(), Evidence(**seen), elapsed_s=elapsed_s, settled_s=settled_s)
    return ("" if verdict.move is None else verdict.move.value), verdict.gate


def test_a_stage_is_left_once_enough_acknowledged_and_its_time_is_over() -> None:
    fine: dict[str, Any] = {"exposed": 20, "acknowledged": 19, "others": 180}
    assert judged(settled_s=4.9, **fine) == ("", "")
    assert judged(settled_s=5, **fine) == ("enter", "")
    assert judged(rollout(stage=2), settled_s=5, **fine) == ("complete", "")
    assert judged(rollout(state=State.PAUSED), settled_s=5, **fine) == ("", "")
    assert judged(exposed=20, acknowledged=18, settled_s=5) == ("", "")
    assert judged(rollout(stage=0)) == ("enter", "")


def test_silence_is_a_failure_only_when_the_time_is_over() -> None:
    assert judged(exposed=2, acknowledged=1, elapsed_s=10) == ("", "")
    assert judged(exposed=2, acknowledged=1, elapsed_s=10.1) == ("roll_back", "acknowledgements")


def test_a_refusal_is_one_too_many_unless_it_is_allowed() -> None:
    assert judged(exposed=2, acknowledged=1, refused=1) == ("roll_back", "refusals")
    assert judged(rollout(gates=Gates(refused_max=1)), exposed=2, acknowledged=1, refused=1) == ("", "")
    paused = rollout(state=State.PAUSED)
    assert judged(paused, exposed=2, acknowledged=1, refused=1) == ("roll_back", "refusals")


def test_failing_counts_beyond_the_share_of_the_others_that_fail() -> None:
    assert judged(exposed=2, acknowledged=2, failing=1, others=18) == ("roll_back", "health")
    assert judged(exposed=4, acknowledged=4, failing=1, others=16, others_failing=4) == ("", "")
    assert judged(exposed=20, acknowledged=20, failing=1) == ("roll_back", "health")
    assert judged(exposed=4, acknowledged=4, failing=1, others=16, others_failing=3) == ("roll_back", "health")
    assert judged(rollout(gates=Gates(failing_max=1)), exposed=2, acknowledged=2, failing=1, others=18) == ("", "")


def test_an_error_rate_must_certainly_be_above_the_others() -> None:
    others: dict[str, Any] = {"exposed": 2, "acknowledged": 2, "compared_with": "others", "compared_requests": 2_000}
    assert judged(requests=200, errors=60, compared_errors=40, **others) == ("roll_back", "errors")
    assert judged(requests=200, errors=8, compared_errors=40, **others) == ("", "")
    assert judged(requests=200, errors=60, compared_errors=600, **others) == ("", "")
    assert judged(requests=ERRORS_MIN - 1, errors=ERRORS_MIN - 1, compared_errors=0, **others) == ("", "")
    wide = rollout(gates=Gates(error_rise_percent=50))
    assert judged(wide, requests=200, errors=60, compared_errors=40, **others) == ("", "")


def test_without_anything_to_compare_with_most_requests_must_fail() -> None:
    alone: dict[str, Any] = {"exposed": 2, "acknowledged": 2}
    assert judged(requests=100, errors=95, **alone) == ("roll_back", "errors")
    assert judged(requests=100, errors=40, **alone) == ("", "")


def test_what_harms_one_kind_only_is_not_drowned_by_the_others() -> None:
    together: dict[str, Any] = {
        "exposed": 10, "acknowledged": 10, "requests": 1_000, "errors": 50,
        "compared_with": "others", "compared_requests": 9_000, "compared_errors": 270,
    }  # fmt: skip
    fine = Rates(kind="pro/risk", requests=920, errors=18, compared_requests=8_000, compared_errors=240)
    harmed = Rates(kind="enterprise/risk", requests=80, errors=32, compared_requests=1_000, compared_errors=30)
    assert judged(**together) == ("", "")
    assert judged(**together, kinds=(fine, harmed)) == ("roll_back", "errors")
    assert judged(**together, kinds=(fine,)) == ("", "")


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_rate_lies_between_its_bounds(errors: int, more: int) -> None:
    requests = errors + more
    least, most = bounds(errors, requests)
    assert 0 <= least <= most <= 1
    if requests:
        assert least - 1e-9 <= errors / requests <= most + 1e-9
        wider = bounds(errors * 10, requests * 10)
        assert wider[1] - wider[0] <= most - least + 1e-9


@pytest.mark.parametrize(
    ("layer", "concerned"),
    [
        (("", "", "", ""), True),
        (("pro", "", "", ""), True),
        (("free", "", "", ""), False),
        (("", "acme", "", ""), True),
        (("", "globex", "", ""), False),
        (("", "", "risk", "staging"), True),
        (("", "", "orders", ""), False),
    ],
)
def test_a_rollout_concerns_those_to_whom_a_layer_of_it_applies(
    layer: tuple[str, str, str, str], concerned: bool
) -> None:
    one = rollout(changes=(Change(layer=layer, before=0, document={}),))
    assert concerns(one, "acme", "pro", "risk") is concerned
