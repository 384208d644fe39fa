"""The benchmark of breakers in its short form."""

from __future__ import annotations

from typing import Final

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS

SLACK: Final = 5.0
AGAINST_LIBRARIES: Final = "times_faster"


@pytest.mark.bench
def test_no_figure_is_far_off_its_bar() -> None:
    benchmark = next(one for one in BENCHMARKS if one.name == "breakers")
    report = run(benchmark, full=False)
    # Where a library is missing nothing is measured against it, and the report says so.
    bars = [bar for bar in benchmark.bars if not (report["missing"] and bar.path == (AGAINST_LIBRARIES,))]
    missed = [(bar.what, bar.figure(report), bar.limit) for bar in bars if not bar.holds(report, SLACK)]
    assert not missed
    assert bool(report["missing"]) == (report[AGAINST_LIBRARIES] == 0.0)
