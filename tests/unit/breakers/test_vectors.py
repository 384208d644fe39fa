"""Every scenario of vectors/ holds."""

from __future__ import annotations

import pytest

from tests.unit.breakers.scenario import FOLDER, Player, Scenario, scenarios

ALL = [scenario for path in sorted(FOLDER.glob("*.txt")) for scenario in scenarios(path)]


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: f"{one.where} {one.name}")
def test_a_scenario_holds(scenario: Scenario) -> None:
    player = Player(scenario.policy)
    for number, word in enumerate(scenario.steps, start=1):
        try:
            player.play(word)
        except AssertionError as error:
            raise AssertionError(f"{scenario.name}: step {number}, {word}: {error}") from error


def test_there_are_enough_of_them_and_no_two_say_the_same() -> None:
    assert len(ALL) >= 150
    assert len({(scenario.where.split(":")[0], scenario.name) for scenario in ALL}) == len(ALL)
    assert len({(scenario.policy, tuple(scenario.steps)) for scenario in ALL}) == len(ALL)


def test_a_scenario_that_does_not_hold_is_noticed() -> None:
    scenario = next(one for one in ALL if one.name == "three of five reach one half")
    player = Player(scenario.policy)
    for word in scenario.steps[:-1]:
        player.play(word)
    with pytest.raises(AssertionError):
        player.play("=CLOSED")
