"""Every benchmark runs in its short form, and no figure is far off its bar.

The full forms hold the bars themselves; a test run shares its machine with whatever else is on it.
"""

from __future__ import annotations

from typing import Final

import pytest

from benchmarks.__main__ import page, run
from benchmarks.suite import BENCHMARKS, Benchmark

SLACK: Final = 5.0
ELSEWHERE: Final = {
    "discovery": "tests/lane/test_discovery_benchmark.py",
    "health": "tests/unit/health/test_health_benchmark.py",
    "sdk": "tests/sdk/test_timing.py",
    "power_cut": "tests/durability/test_power_cut.py",
    "kill_hub": "tests/durability/test_kill.py",
    "allocations": "tests/unit/quotas/test_quota_benchmarks.py",
    "postgres": "tests/durability/test_postgres_benchmark.py",
    "store_away": "tests/durability/test_postgres_benchmark.py",
    "slices": "tests/unit/quotas/test_quota_benchmarks.py",
    "rollouts": "tests/unit/rollouts/test_benchmark.py",
    "brokers": "tests/relays/test_broker_benchmark.py",
    "breakers": "tests/unit/breakers/test_breakers_benchmark.py",
}
"""Those whose short form is a test of its own."""

HERE: Final = [benchmark for benchmark in BENCHMARKS if benchmark.name not in ELSEWHERE]


@pytest.mark.bench
@pytest.mark.timeout(180)
@pytest.mark.parametrize("benchmark", HERE, ids=lambda benchmark: benchmark.name)
def test_no_figure_is_far_off_its_bar(benchmark: Benchmark) -> None:
    report = run(benchmark, full=False)
    missed = [(bar.what, bar.figure(report), bar.limit) for bar in benchmark.bars if not bar.holds(report, SLACK)]
    assert not missed


def test_a_page_says_what_was_missed() -> None:
    scale = next(benchmark for benchmark in BENCHMARKS if benchmark.name == "scale")
    report = {"empty_ready_s": 0.5, "empty_rss_mb": 91, "full_ready_s": 1.0, "full_rss_mb": 200}
    lines = [
        line for line in page([(bar, scale, report) for bar in scale.bars], full=True).splitlines() if "| " in line
    ]
    assert [line for line in lines if "**missed**" in line] == [line for line in lines if "91 MB" in line]


def test_a_page_keeps_what_did_not_run_again() -> None:
    scale, steps = (next(one for one in BENCHMARKS if one.name == name) for name in ("scale", "steps"))
    first = page([(bar, steps, {"longest_ms": 1.5}) for bar in steps.bars], full=True)
    report = {"empty_ready_s": 0.5, "empty_rss_mb": 70, "full_ready_s": 1.0, "full_rss_mb": 200}
    both = page([(bar, scale, report) for bar in scale.bars], full=True, before=first)
    assert set(first.splitlines()[-len(steps.bars) :]) < set(both.splitlines())
    again = page([(bar, steps, {"longest_ms": 1.7}) for bar in steps.bars], full=True, before=both)
    assert "1.7 ms" in again
    assert "1.5 ms" not in again
    assert len(again.splitlines()) == len(both.splitlines())


def test_every_benchmark_in_the_folder_is_in_the_suite(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath / "benchmarks"
    helpers = {
        "__init__",
        "allocation_client",
        "config_watchers",
        "__main__",
        "suite",
        "http_load",
        "hub_process",
        "neighbour_load",
        "open_loop",
        "timed_steps",
    }
    assert {path.stem for path in folder.glob("*.py")} - helpers == {benchmark.name for benchmark in BENCHMARKS}
