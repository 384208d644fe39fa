"""The benchmarks of quotas in their short form: capacity under attack, and a limit spent from slices."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS

SUITE = {benchmark.name: benchmark for benchmark in BENCHMARKS}


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_nothing_is_held_past_the_limit_while_clients_and_hub_are_killed() -> None:
    report = run(SUITE["allocations"], full=False)
    assert report["faults"] == []
    assert report["over_admissions"] == 0
    assert report["log"]["most_held"] <= report["limit"] == 100
    assert report["hub_kills"] >= 1
    assert report["client_kills"] >= 1
    assert report["admitted"] > 100
    assert report["refused"] > 100


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_slices_use_a_limit_up_and_never_pass_it() -> None:
    report = run(SUITE["slices"], full=False)
    assert report["over_the_limit"] == 0
    assert report["used_percent"] > 80
    assert report["calls_per_100_admitted"] < 1
