"""The short form of `benchmarks/health.py`, held against the bars."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "health.py"
CORE_US_PER_PROBE_MAX = 1_000_000 / 2_000
RENEWALS_PER_S_MIN = 50_000
"""The bar is 100,000 in the full form; this one meets whatever else the machine does."""

READ_US_MAX = 1_000


def measured(section: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--short", "--only", section], capture_output=True, timeout=90, check=True
    )
    return json.loads(done.stdout)[section]


@pytest.mark.bench
def test_aggregates_over_ten_thousand_instances_are_read_in_under_a_millisecond() -> None:
    figures = measured("aggregates")
    assert figures["instances"] == 10_000
    assert max(figures["tenant_us"]["p99"], figures["system_us"]["p99"]) < READ_US_MAX


@pytest.mark.bench
def test_batches_renew_leases_at_a_rate_not_far_off_the_bar() -> None:
    figures = measured("heartbeats")
    assert figures["batch_plain"]["leases_per_s"] >= RENEWALS_PER_S_MIN


@pytest.mark.bench
def test_a_core_has_time_for_two_thousand_probes_a_second() -> None:
    figures = measured("probes")
    assert figures["passed"] > 0
    assert figures["us_of_core_per_probe"] <= CORE_US_PER_PROBE_MAX
