"""LiteLLM's strategies are its own classes, run without a network; skipped where the package is not installed."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.routing.baselines.lite_llm import LITELLM, is_there
from benchmarks.routing.model import View
from benchmarks.routing.scores import score
from benchmarks.routing.simulation import Simulation
from tests.bench.routing.worlds import request, setting, told, view, world

installed = pytest.mark.skipif(not is_there(), reason="LiteLLM is not installed: benchmarks/routing/requirements.txt")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_its_version_is_pinned() -> None:
    pins = Path(__file__).parents[3] / "benchmarks" / "routing" / "requirements.txt"
    lines = [line for line in pins.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [line.partition("==")[0] for line in lines] == ["litellm"]
    assert all(line.partition("==")[2] for line in lines)


@installed
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")  # what others warn of in their own code
@pytest.mark.parametrize("name", LITELLM)
def test_a_strategy_runs_twice_alike_and_without_a_connection(name: str) -> None:
    one = world("20% told", requests=150)
    tapes = [Simulation(one, LITELLM[name], name).run() for _ in range(2)]
    assert [entry.chosen for entry in tapes[0].entries] == [entry.chosen for entry in tapes[1].entries]
    assert score(tapes[0], 100, one.slo_s).violations == 0


@installed
@pytest.mark.filterwarnings("ignore")
def test_least_busy_hears_of_calls_and_of_their_ends() -> None:
    chooser = LITELLM["LiteLLM least-busy"](setting())
    first = [chooser.decide(request(number), view()) for number in range(4)]
    assert sorted(first) == [0, 1, 2, 3]
    chooser.told(told(2, first[2]))
    assert chooser.decide(request(4), view()) == first[2]


@installed
@pytest.mark.filterwarnings("ignore")
def test_latency_based_herds_to_the_fastest_by_its_last_ten() -> None:
    chooser = LITELLM["LiteLLM latency-based"](setting())
    for server in range(4):
        chooser.decide(request(server), View(0.0, (server,), (None,) * 4))
        chooser.told(told(server, server, latency_s=1.0 - 0.2 * server))
    assert Counter(chooser.decide(request(number), view(2.0)) for number in range(10, 30)) == Counter({3: 20})


@installed
@pytest.mark.filterwarnings("ignore")
def test_usage_based_takes_the_fewest_tokens_of_this_minute() -> None:
    chooser = LITELLM["LiteLLM usage-based v2"](setting(2))
    chooser.decide(request(0), View(0.0, (0,), (None, None)))
    chooser.told(told(0, 0))
    assert {chooser.decide(request(number, 2.0), view(2.0, servers=2)) for number in range(1, 9)} == {1}
    later = {chooser.decide(request(number, 70.0), view(70.0, servers=2)) for number in range(10, 40)}
    assert later == {0, 1}
