"""Counting and writing metrics."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import pytest

from central_hub.monitoring.metrics import (
    OTHER,
    REQUEST_SERIES_MAX,
    Family,
    MetricKind,
    Metrics,
    RequestMeter,
    Sample,
    counter,
)
from central_hub.monitoring.process import LAG_WINDOW_S, LoopWatch, ProcessStats


def test_families_are_written_as_prometheus_reads_them() -> None:
    family = Family(
        "x_total", MetricKind.COUNTER, "Line one\nand \\ two.", [Sample(3, {"a": 'q"\\\n'}), Sample(0.5, {})]
    )
    assert Metrics([lambda: [family]]).render().decode() == (
        '# HELP x_total Line one\\nand \\\\ two.\n# TYPE x_total counter\nx_total{a="q\\"\\\\\\n"} 3\nx_total 0.5\n'
    )


def test_what_is_written_is_read_back_by_the_reference_parser() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    meter = RequestMeter()
    for seconds in (0.0001, 0.02, 9.0):
        meter.observe("discover", 200, seconds)
    text = Metrics([meter.collect, lambda: [counter("y_total", "y", 7)]]).render().decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    histogram = {
        (s.name, s.labels.get("le")): s.value for s in families["http_server_request_duration_seconds"].samples
    }
    prefix = "http_server_request_duration_seconds"
    assert histogram[f"{prefix}_bucket", "0.0005"] == 1
    assert histogram[f"{prefix}_bucket", "0.025"] == 2
    assert histogram[f"{prefix}_bucket", "+Inf"] == histogram[f"{prefix}_count", None] == 3
    assert histogram[f"{prefix}_sum", None] == pytest.approx(9.0201)
    assert families["y"].samples[0].value == 7


def test_the_number_of_request_series_is_bounded() -> None:
    meter = RequestMeter()
    for n in range(REQUEST_SERIES_MAX + 100):
        meter.observe(f"operation-{n}", 200, 0.001)
    (family,) = meter.collect()
    operations = {sample.labels["operation"] for sample in family.samples}
    assert len(operations) == REQUEST_SERIES_MAX + 1
    assert OTHER in operations
    counted = [sample.value for sample in family.samples if sample.suffix == "_count"]
    assert sum(counted) == REQUEST_SERIES_MAX + 100


@pytest.mark.timing
def test_counting_a_request_costs_about_a_microsecond_at_most() -> None:
    meter = RequestMeter()
    best = 1.0
    for _ in range(10):
        begun = perf_counter()
        for _ in range(10_000):
            meter.observe("discover", 200, 0.0012)
        best = min(best, (perf_counter() - begun) / 10_000)
    assert best < 1e-6


def test_the_longest_step_is_remembered_for_a_window_and_then_forgotten() -> None:
    watch = LoopWatch()
    start = watch._turned
    watch.note(0.2, start + 1)
    watch.note(0.001, start + LAG_WINDOW_S + 1)
    assert watch.recent_s == 0.2
    watch.note(0.001, start + 2 * LAG_WINDOW_S + 2)
    assert watch.recent_s == 0.001
    assert watch.longest_s == 0.2


def test_process_figures_are_those_of_this_process(tmp_path: Path) -> None:
    figures = ProcessStats(tmp_path, LoopWatch()).figures()
    assert figures.memory_bytes > 5_000_000
    assert figures.disk_total_bytes >= figures.disk_free_bytes > 0
    assert figures.open_files >= 3
    assert figures.cpu_seconds > 0


def test_a_data_directory_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert ProcessStats(tmp_path / "gone", LoopWatch()).figures().disk_total_bytes == 0
