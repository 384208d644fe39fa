"""The benchmarks of the store on PostgreSQL in their short forms: no figure is far off its bar."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS, Report
from tools.postgres_server import MissingError, programs

SLACK = 5.0


def held(name: str) -> Report:
    """Run a benchmark and hold it against its bars; returns its report."""
    try:
        programs()
    except MissingError as missing:
        pytest.skip(str(missing))
    benchmark = next(one for one in BENCHMARKS if one.name == name)
    report = run(benchmark, full=False)
    missed = [(bar.what, bar.figure(report), bar.limit) for bar in benchmark.bars if not bar.holds(report, SLACK)]
    assert not missed
    return report


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_appends_on_postgresql_are_not_far_off_their_bar() -> None:
    assert held("postgres")["replay_records_per_s"] > 150_000 / SLACK


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_several_hubs_are_not_far_off_their_bars() -> None:
    assert held("several_hubs")["told"]["events"] > 0


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_a_store_that_is_away_is_hardly_noticed_by_readers() -> None:
    assert held("store_away")["reads"] > 0
