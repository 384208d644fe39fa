"""Turns: round the tenants, within the limits, and those that fail among themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.ids import DomainId
from central_hub.webhooks.lines import Line
from central_hub.webhooks.model import FAILING_IN_FLIGHT_MAX, IN_FLIGHT_MAX, IN_FLIGHT_PER_TENANT_MAX, Webhook
from central_hub.webhooks.rules import Failing
from central_hub.webhooks.turns import Turns


def line(tenant: str, number: int = 0, *, failing: bool = False) -> Line:
    webhook = Webhook(id=f"wh_{tenant}_{number}", url="https://a.example", events=(), sealed_by="k", sealed=b"s")
    made = Line(DomainId(tenant), webhook, None, 0)
    made.failing = Failing(failures=int(failing))
    return made


def test_turns_go_round_the_tenants() -> None:
    turns = Turns(most_per_tenant=9)
    for tenant in ("a", "b"):
        for number in range(3):
            turns.add(line(tenant, number))
    order = [one.webhook.id for _ in range(6) if (one := turns.take())]
    assert order == ["wh_a_0", "wh_b_0", "wh_a_1", "wh_b_1", "wh_a_2", "wh_b_2"]
    assert turns.take() is None


def test_who_waits_keeps_its_place() -> None:
    turns = Turns()
    first, second = line("a"), line("b")
    turns.add(first)
    turns.add(second)
    turns.add(first)
    assert turns.take() is first


def test_a_tenant_has_its_places_and_no_more() -> None:
    turns = Turns()
    for number in range(IN_FLIGHT_PER_TENANT_MAX + 1):
        turns.add(line("a", number))
    taken = [turns.take() for _ in range(IN_FLIGHT_PER_TENANT_MAX)]
    assert None not in taken
    assert turns.take() is None
    other = line("b")
    turns.add(other)
    assert turns.take() is other
    assert taken[0] is not None
    turns.give_back(taken[0])
    assert turns.take() is not None


def test_those_that_fail_never_have_all_the_places() -> None:
    turns = Turns()
    for number in range(IN_FLIGHT_MAX):
        turns.add(line(f"failing-{number}", failing=True))
    taken = 0
    while turns.take() is not None:
        taken += 1
    assert taken == FAILING_IN_FLIGHT_MAX
    for number in range(IN_FLIGHT_MAX):
        turns.add(line(f"well-{number}"))
    while turns.take() is not None:
        taken += 1
    assert taken == turns.under_way == IN_FLIGHT_MAX


def test_who_is_discarded_has_no_turn() -> None:
    turns = Turns()
    gone, failing = line("a"), line("b", failing=True)
    for one in (gone, failing):
        turns.add(one)
        turns.discard(one)
        turns.discard(one)
    assert turns.take() is None


STEPS = st.lists(st.tuples(st.sampled_from(["add", "take", "give", "discard"]), st.integers(0, 11)), max_size=80)


@given(STEPS)
def test_the_limits_hold_whatever_happens(steps: list[tuple[str, int]]) -> None:
    turns = Turns(most=5, most_failing=2, most_per_tenant=2)
    lines = [line(f"t{number % 4}", number, failing=number % 3 == 0) for number in range(12)]
    waiting: set[Line] = set()
    taken: list[Line] = []
    for step, number in steps:
        one = lines[number]
        if step == "add" and one not in taken:
            turns.add(one)
            waiting.add(one)
        elif step == "discard":
            turns.discard(one)
            waiting.discard(one)
        elif step == "give" and taken:
            turns.give_back(taken.pop())
        elif step == "take":
            got = turns.take()
            may = {each for each in waiting if sum(other.domain == each.domain for other in taken) < 2}
            failing = sum(bool(each.failing.failures) for each in taken)
            may = {each for each in may if not (each.failing.failures and failing >= 2)} if len(taken) < 5 else set()
            assert (got in may) if may else (got is None)
            if got is not None:
                taken.append(got)
                waiting.discard(got)
        assert turns.under_way == len(taken)
        assert all(turns.has(each) for each in taken)
