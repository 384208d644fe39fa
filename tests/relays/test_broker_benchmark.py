"""The benchmark of brokers in its short form: no figure is far off its bar."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import run
from benchmarks.suite import BENCHMARKS
from tools.broker_servers import CURRENT_NATS, GET

SLACK = 5.0


@pytest.mark.bench
@pytest.mark.timeout(240)
@pytest.mark.skipif(not CURRENT_NATS.exists(), reason=f"a current NATS is not here: {GET}")
def test_no_figure_is_far_off_its_bar() -> None:
    (benchmark,) = (one for one in BENCHMARKS if one.name == "brokers")
    report = run(benchmark, full=False)
    missed = [(bar.what, bar.figure(report), bar.limit) for bar in benchmark.bars if not bar.holds(report, SLACK)]
    assert not missed
    assert {"nats", "redis"} <= report["relays"].keys()
