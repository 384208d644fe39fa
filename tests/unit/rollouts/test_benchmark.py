"""The benchmark of rollouts in its short form: every kind of harm once, and as many good changes, on real services."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS

SUITE = {benchmark.name: benchmark for benchmark in BENCHMARKS}


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_what_harms_comes_back_by_itself_and_nothing_else_does() -> None:
    report = run(SUITE["rollouts"], full=False)
    assert report["harmful"] == report["rolled_back"] > 0
    assert report["not_rolled_back"] == []
    assert report["back_s"]["p95"] < 10
    assert report["exposed_percent"]["max"] <= 10
    assert report["good"] > 0
    assert report["false_rollbacks"] == []
