"""Each baseline is what its source says: the arithmetic written out, and what it is known to do."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean

import pytest

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.baselines.peak_ewma import PeakEwma
from benchmarks.routing.baselines.registry import OWN, baselines
from benchmarks.routing.baselines.weighted_round_robin import weight_of
from benchmarks.routing.model import Policy, View
from benchmarks.routing.scores import score
from benchmarks.routing.simulation import Simulation
from tests.bench.routing.worlds import policy, report, request, setting, told, view, world


def shares(chooser: Policy, count: int = 4_000, **seen: object) -> Counter[int]:
    """Ask many times at one moment, each outcome told at once."""
    found: Counter[int] = Counter()
    for number in range(count):
        chosen = chooser.decide(request(number), view(reports=seen.get("reports")))  # type: ignore[arg-type]
        chooser.told(told(number, chosen))
        found[chosen] += 1
    return found


def p99(name: str, cell: str = "load 0.7") -> float:
    """Return a baseline's p99 over the oracle-free mean of five seeds."""
    worlds = [world(cell, seed, requests=900) for seed in range(1, 6)]
    return fmean(score(Simulation(one, OWN[name], name).run(), 100, one.slo_s).p99_s for one in worlds)


def test_there_are_at_least_fourteen() -> None:
    assert len(OWN) >= 14
    assert set(OWN) <= set(baselines())


def test_random_is_even() -> None:
    assert max(abs(count - 1_000) for count in shares(policy("random")).values()) < 150


def test_round_robin_takes_turns() -> None:
    assert set(shares(policy("round robin")).values()) == {1_000}


def test_a_weight_is_a58s() -> None:
    assert weight_of(report(requests_per_s=10.0, utilization=0.5)) == 20.0
    assert weight_of(report(requests_per_s=10.0, utilization=0.5, errors_per_s=5.0)) == 10.0
    assert weight_of(report(requests_per_s=0.0, utilization=0.5)) == 0.0


def test_weighted_round_robin_waits_for_the_blackout_and_then_goes_by_weight() -> None:
    chooser = policy("weighted round robin (A58)")
    rates = (10.0, 20.0, 30.0, 40.0)

    def seen(now: float) -> Counter[int]:
        reports = tuple(report(now, requests_per_s=rate, utilization=1.0) for rate in rates)
        return Counter(chooser.decide(request(number, now), view(now, reports=reports)) for number in range(1_000))

    assert set(seen(0.0).values()) == {250}
    assert max(abs(count - 250) for count in seen(9.0).values()) <= 2
    assert [round(seen(10.0)[server], -1) for server in range(4)] == [100, 200, 300, 400]


def test_weighted_round_robin_gives_the_mean_to_one_without_a_weight() -> None:
    chooser = policy("weighted round robin (A58)")
    reports = (report(requests_per_s=10.0, utilization=1.0), report(requests_per_s=30.0, utilization=1.0), None, None)
    chooser.decide(request(), view(0.0, reports=reports))
    found = Counter(chooser.decide(request(number, 20.0), view(20.0, reports=reports)) for number in range(800))
    assert [round(found[server], -1) for server in range(4)] == [100, 300, 200, 200]


def test_least_in_flight_counts() -> None:
    chooser = policy("least in flight")
    first = [chooser.decide(request(number), view()) for number in range(4)]
    assert sorted(first) == [0, 1, 2, 3]
    chooser.told(told(2, first[2]))
    assert chooser.decide(request(4), view()) == first[2]


def test_a_silent_caller_counts_until_the_time_is_over_and_one_that_told_until_it_tells() -> None:
    ledger = Ledger(2, ttl_s=1.0)
    ledger.opened(request(0, 0.0, caller=1), 0)
    assert ledger.closed(0)
    ledger.opened(request(1, 0.0, caller=1), 0)
    ledger.opened(request(2, 0.0, caller=2), 1, prompt=5.0, tokens=7.0)
    assert ledger.expire(0.9) == []
    assert ledger.expire(1.0) == [(2, 1)]
    assert (ledger.count, ledger.tokens, ledger.prompt_tokens) == ([1, 0], [0.0, 0.0], [0.0, 0.0])
    assert not ledger.closed(2)


def test_two_choices_beat_one_and_four_beat_two() -> None:
    one, two, four, all_of_them = map(p99, ("random", "power of two", "power of four", "least in flight"))
    assert one > 2 * two
    assert two > four > 0.9 * all_of_them


def test_two_choices_leave_the_busiest() -> None:
    chooser = policy("power of two", servers=2)
    first = chooser.decide(request(0), view(servers=2))
    assert chooser.decide(request(1), view(servers=2)) != first


def test_peak_ewma_jumps_up_at_once_and_fades_by_its_formula() -> None:
    chooser = PeakEwma(setting(servers=1))
    for latency, at in ((1.0, 0.0), (2.0, 0.0), (0.1, 10.0)):
        chooser.told(told(90, 0, latency_s=latency, at_s=at))
    # up to the peak of 2.0 at once; ten seconds later exp(-10 / 10) of it is left, and the rest is the newest
    expected = 2.0 * math.exp(-1) + 0.1 * (1 - math.exp(-1))
    assert chooser.load(0, 10.0) == pytest.approx(expected)
    chooser.decide(request(0, 10.0), view(10.0, servers=1))
    assert chooser.load(0, 10.0) == pytest.approx(2 * expected)


def test_peak_ewma_puts_an_unmeasured_one_with_requests_last() -> None:
    chooser = PeakEwma(setting(servers=1))
    assert chooser.load(0, 0.0) == 0.0
    chooser.decide(request(0), view(servers=1))
    assert chooser.load(0, 0.0) > 1e6


def test_peak_ewma_avoids_what_was_slow() -> None:
    chooser = policy("peak EWMA", servers=2)
    chooser.told(told(90, 0, latency_s=5.0, at_s=0.0))
    chooser.told(told(91, 1, latency_s=0.1, at_s=0.0))
    found = Counter(chooser.decide(request(number, 0.0), view(0.0, servers=2)) for number in range(10))
    assert found[1] == 10


def test_prequal_takes_the_cold_one_with_the_least_latency() -> None:
    chooser = policy("Prequal", servers=8)
    reports = (
        report(running=2, queued=9, latency_at_load_s=0.1),  # hot, though fast
        *(report(running=1, latency_at_load_s=latency) for latency in (0.9, 0.5, 0.7, 0.8, 0.8, 0.9, 0.9)),
    )
    found = Counter(chooser.decide(request(number), view(servers=8, reports=reports)) for number in range(400))
    assert found.most_common(1)[0][0] == 2
    assert found[0] < found[2] / 4


def test_prequal_takes_the_least_loaded_when_all_candidates_are_hot() -> None:
    chooser = policy("Prequal", servers=8)
    reports = tuple(report(running=2, queued=7 * (server < 2) - (server == 1)) for server in range(8))
    for number in range(20):
        chooser.decide(request(number), view(servers=8, reports=reports))
    hot = View(0.0, (0, 1), reports)
    assert Counter(chooser.decide(request(number), hot) for number in range(5)).most_common(1)[0][0] == 1


def test_c3_ranks_by_its_score() -> None:
    # R - 1/mu + q^3 / mu, q = 1 + outstanding + queue; newest weighs 0.9 of what was 0
    reports = (report(0.5, service_s=1.0), report(0.5, service_s=0.2, queued=1), None, None)
    chooser = policy("C3", servers=2)
    chooser.told(told(90, 0, latency_s=1.0))
    chooser.told(told(91, 1, latency_s=0.1))
    scores = (0.9 - 0.9 + 1 * 0.9, 0.09 - 0.18 + (1 + 0.9) ** 3 * 0.18)
    assert scores[0] < scores[1]
    assert chooser.decide(request(0, 1.0), view(1.0, servers=2, reports=reports[:2])) == 0
    # with one outstanding at 0: 0.9 - 0.9 + 8 * 0.9 is more
    assert chooser.decide(request(1, 1.0), view(1.0, servers=2, reports=reports[:2])) == 1


def test_aibrix_divides_by_what_drains() -> None:
    chooser = policy("AIBrix load-balance", servers=2)
    for number, server in enumerate((0, 0, 0, 0, 1)):  # four drained there, one here
        assert chooser.decide(request(number), View(0.0, (server,), (None, None))) == server
        chooser.told(told(number, server, at_s=0.0))
    found = Counter(chooser.decide(request(number), view(servers=2)) for number in range(100, 150))
    assert found == Counter({0: 40, 1: 10})


def test_the_inference_extension_adds_weighted_scores() -> None:
    # 2 x queue + 2 x (1 - memory): 0 + 2 x 1 < 2 x 1 + 2 x 0.5 < 2 x 0.75 + 2 x 0.9
    reports = (
        report(queued=4),
        report(queued=0, running=1, slots=2),
        report(queued=1, running=1, slots=10),
        report(queued=4, running=2, slots=2),
    )
    chooser = policy("Inference Extension")
    assert shares(chooser, 50, reports=reports) == Counter({2: 50})


def test_the_inference_extension_prefers_the_known_prefix() -> None:
    chooser = policy("Inference Extension")
    first = chooser.decide(request(0, prefix=5), view())
    busy = tuple(report(queued=int(server == first)) for server in range(4))
    assert {chooser.decide(request(number, prefix=5), view(reports=busy)) for number in range(20)} == {first}


def test_dynamo_counts_blocks() -> None:
    chooser = policy("Dynamo", servers=2)
    first = chooser.decide(request(0), view(servers=2))
    other = chooser.decide(request(1), view(servers=2))
    assert first != other
    chooser.told(told(0, first))
    assert chooser.decide(request(2), view(servers=2)) == first


def test_dynamo_credits_what_overlaps() -> None:
    for name in ("Dynamo", "Dynamo lmetric"):
        chooser = policy(name)
        first = chooser.decide(request(0, prefix=3), view())
        chooser.told(told(0, first))
        again = {chooser.decide(request(number, prefix=3), view()) for number in (1,)}
        assert again == {first}, name


def test_sglang_keeps_a_conversation_until_the_load_is_uneven() -> None:
    chooser = policy("SGLang cache-aware", ttl_s=100.0)
    first = chooser.decide(request(0, prefix=3), view())
    found = [chooser.decide(request(number, prefix=3), view()) for number in range(1, 80)]
    assert set(found[:64]) == {first}
    assert found[-1] != first


def test_sglang_gives_new_prompts_to_the_smallest_tree() -> None:
    found = shares(policy("SGLang cache-aware"), 400)
    assert set(found.values()) == {100}


@pytest.mark.parametrize("name", OWN)
def test_every_baseline_chooses_a_candidate_in_every_kind_of_cell(name: str) -> None:
    for cell in ("5% eligible", "60% eligible", "sizes unknown", "reports fresh", "flapping", "three hubs", "sessions"):
        one = world(cell, requests=100)
        tape = Simulation(one, OWN[name], name).run()
        assert not any(entry.violation for entry in tape.entries)
        assert len(tape.latencies_s) == len(one.jobs)
