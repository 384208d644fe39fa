"""The benchmark of the store on PostgreSQL in its short form: no figure is far off its bar."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS
from tools.postgres_server import MissingError, programs

SLACK = 5.0


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_appends_on_postgresql_are_not_far_off_their_bar() -> None:
    try:
        programs()
    except MissingError as missing:
        pytest.skip(str(missing))
    benchmark = next(one for one in BENCHMARKS if one.name == "postgres")
    report = run(benchmark, full=False)
    assert all(bar.holds(report, SLACK) for bar in benchmark.bars), report
    assert report["replay_records_per_s"] > 150_000 / SLACK
