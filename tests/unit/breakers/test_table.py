"""All breakers of a process: made when asked for, bounded, the idle ones forgotten."""

from __future__ import annotations

import pytest

from central_hub.breakers.model import SWEPT_MAX, WINDOW_CALLS_MAX, Policy, State, Transition, Window
from central_hub.breakers.rules import Breaker
from central_hub.breakers.table import Breakers
from central_hub.kernel.errors import HubError

PLAIN = Policy(window_size=5, minimum_calls=5, open_s=5.0)


def a_table(policy: Policy = PLAIN, **limits: int) -> tuple[Breakers, list[Transition]]:
    told: list[Transition] = []
    return Breakers(lambda *_: policy, told.append, **limits), told


def fail(held: Breaker, times: int, now_s: float = 1.0) -> None:
    for _ in range(times):
        held.failed(held.allow(now_s), now_s)


def test_tenants_services_and_route_classes_have_breakers_of_their_own() -> None:
    table, told = a_table()
    keys = [(t, s, r) for t in ("acme", "globex") for s in ("risk", "data") for r in ("", "reports")]
    assert len({id(table.of(*key)) for key in keys}) == len(keys) == table.count
    fail(table.of("acme", "risk", "reports"), 5)
    states = {key: table.of(*key).state_at(1.0) for key in keys}
    assert {key for key, state in states.items() if state is State.OPEN} == {("acme", "risk", "reports")}
    assert (told[0].tenant, told[0].service, told[0].route_class) == ("acme", "risk", "reports")


def test_a_breaker_is_found_again() -> None:
    table, _ = a_table()
    assert table.of("acme", "risk") is table.of("acme", "risk")
    assert [held.pool.service for held in table.of_tenant("acme")] == ["risk"]
    assert table.known("acme", "risk") == [table.of("acme", "risk")]
    assert table.known("acme", "data") == []


def test_the_idle_are_forgotten_and_those_that_are_not_closed_stay() -> None:
    table, _ = a_table()
    table.of("quiet", "risk").succeeded(1, 1.0)
    fail(table.of("open", "risk"), 5)
    table.of("busy", "risk").succeeded(1, 990.0)
    assert table.sweep(1_000.0, 900.0) == 1
    assert sorted(held.tenant for tenant in ("quiet", "open", "busy") for held in table.of_tenant(tenant)) == [
        "busy",
        "open",
    ]
    assert (table.count, table.forgotten) == (2, 1)


def test_a_step_of_forgetting_looks_at_so_many_and_the_next_goes_on() -> None:
    table, _ = a_table()
    for number in range(3 * SWEPT_MAX):
        table.of(f"t{number}", f"s{number % 2}")
    gone = [table.sweep(10_000.0, 900.0) for _ in range(10)]
    assert max(gone) <= SWEPT_MAX
    assert sum(gone) == 3 * SWEPT_MAX
    assert table.count == 0
    assert table.sweep(10_000.0, 900.0) == 0
    assert not table._groups


def test_one_that_was_made_again_after_it_was_forgotten_is_counted_once() -> None:
    table, _ = a_table()
    for _ in range(3):
        table.of("acme", "risk")
        assert table.sweep(10_000.0, 900.0) == 1
    assert (table.count, table.forgotten) == (0, 3)


def test_those_in_use_do_not_keep_the_idle_from_being_found() -> None:
    table, _ = a_table()
    for number in range(2 * SWEPT_MAX):
        table.of(f"t{number}", "risk").succeeded(1, 9_999.0)
    for number in range(10):
        table.of(f"idle{number}", "risk")
    assert sum(table.sweep(10_000.0, 900.0) for _ in range(4)) == 10


def test_past_the_limit_a_closed_one_makes_room() -> None:
    table, _ = a_table(breakers_max=3)
    fail(table.of("first", "risk"), 5)
    for name in ("second", "third", "fourth"):
        table.of(name, "risk")
    assert table.count == 3
    assert list(table.of_tenant("first"))
    assert not list(table.of_tenant("second"))


def test_past_the_limit_of_pools_the_oldest_makes_room() -> None:
    table, _ = a_table(pools_max=2)
    for name in ("one", "two", "three"):
        table.of("acme", name)
    assert [held.pool.service for held in table.of_tenant("acme")] == ["two", "three"]
    assert (table.count, table.forgotten) == (2, 1)


def test_another_policy_holds_at_once_and_evidence_stays() -> None:
    policies = {"acme": PLAIN}
    table = Breakers(lambda tenant, *_: policies[tenant], lambda _: None)
    held = table.of("acme", "risk")
    fail(held, 4)
    policies["acme"] = Policy(window_size=3, minimum_calls=3)
    table.renew("acme")
    assert held.evidence_at(1.0).calls == 3
    fail(held, 1)
    assert held.state_at(1.0) is State.OPEN


def test_a_policy_with_another_window_begins_anew() -> None:
    policies = {"acme": PLAIN}
    table = Breakers(lambda tenant, *_: policies[tenant], lambda _: None)
    fail(table.of("acme", "risk"), 4)
    policies["acme"] = Policy(window=Window.SECONDS, window_size=3, minimum_calls=2)
    table.renew_service("risk")
    held = table.of("acme", "risk")
    assert held.evidence_at(1.0).calls == 0
    fail(held, 2)
    assert held.state_at(1.0) is State.OPEN


def test_what_is_given_back_twice_makes_no_second_probe() -> None:
    table, _ = a_table(Policy(window_size=5, minimum_calls=5, open_s=5.0, probes=1))
    held = table.of("acme", "risk")
    fail(held, 5)
    permit = held.allow(6.0)
    held.release(permit)
    held.release(permit)
    assert held.allow(6.0)
    assert not held.allow(6.0)


def test_what_is_closed_cannot_be_half_opened() -> None:
    table, _ = a_table()
    with pytest.raises(HubError) as refused:
        table.of("acme", "risk").move(State.HALF_OPEN, 1.0)
    assert refused.value.code == "illegal_transition"


@pytest.mark.parametrize(
    "members",
    [
        {"failure_rate": 0},
        {"failure_rate": 1.1},
        {"failure_rate": 0.95, "confidence": 0.9},
        {"slow_rate": 0},
        {"slow_rate": 1.0, "slow_call_s": 1.0, "confidence": 0.9},
        {"confidence": 0.4},
        {"confidence": 1.0},
        {"window_size": 0},
        {"window_size": WINDOW_CALLS_MAX + 1},
        {"window": Window.SECONDS, "window_size": 3_601},
        {"window": Window.SECONDS, "window_size": 10, "confidence": 0.9},
        {"minimum_calls": 0},
        {"slow_call_s": 0},
        {"open_s": 0},
        {"open_s": 86_401},
        {"open_factor": 0.5},
        {"open_max_s": 1.0},
        {"probes": 0},
        {"probes": 1_001},
        {"probe_wait_s": -1},
        {"probe_wait_to": State.DISABLED},
        {"forget_s": -1},
        {"failure_rate": float("nan")},
    ],
)
def test_a_policy_that_no_breaker_can_have_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"has to be|needs"):
        Policy(**members)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", list(State))
def test_each_state_is_seen_as_one_of_three(kind: State) -> None:
    assert kind.seen_as in ("CLOSED", "OPEN", "HALF_OPEN")
