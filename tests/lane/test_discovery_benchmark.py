"""The discovery benchmark in its short form: it runs, nothing fails, and the hub is not far off its bar."""

from __future__ import annotations

import os
import shutil

import pytest

from benchmarks.discovery import measure

RATIO_MIN: float = 0.25
"""The bar is 0.5 in the full form; this one meets whatever else the machine does."""


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_discovery_keeps_up_with_nginx_serving_the_same_bytes() -> None:
    if shutil.which("wrk") is None or not (shutil.which("nginx") or os.path.exists("/usr/sbin/nginx")):
        pytest.skip("needs wrk and nginx")
    result = measure(pairs=2, seconds=2, services=200, lane="protocol", settle_s=0)
    assert result["hub"]["errors"] == 0
    assert result["ratio_median"] >= RATIO_MIN, result
