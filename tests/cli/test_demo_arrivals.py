"""The demo's load has the statistics that were published for the trace it imitates."""

import itertools
import random
import statistics
from pathlib import Path

import pytest

from central_hub.cli.demo import arrivals as trace

SAMPLES = 150_000


@pytest.fixture(scope="module")
def arrivals() -> list[trace.Arrival]:
    return list(itertools.islice(trace.synthetic(random.Random(7)), SAMPLES))


def test_arrivals_have_the_published_rate_and_burstiness(arrivals: list[trace.Arrival]) -> None:
    gaps = [each.gap_s for each in arrivals]
    mean = statistics.fmean(gaps)
    assert 1 / mean == pytest.approx(trace.RATE_PER_S, rel=0.08)
    assert statistics.pstdev(gaps) / mean == pytest.approx(13.2, rel=0.08)


@pytest.mark.parametrize(("field", "p50", "p99"), [("context_tokens", 1469, 7436), ("generated_tokens", 13, 252)])
def test_sizes_have_the_published_percentiles(arrivals: list[trace.Arrival], field: str, p50: int, p99: int) -> None:
    sizes = sorted(getattr(each, field) for each in arrivals)
    assert sizes[len(sizes) // 2] == pytest.approx(p50, rel=0.02)
    assert sizes[int(len(sizes) * 0.99)] == pytest.approx(p99, rel=0.03)


def test_a_file_is_replayed_in_order_and_around(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n"
        "2023-11-16 18:17:04.0319600,3180,8\n"
        "2023-11-16 18:17:14.0319600,110,27\n"
    )
    replayed = list(itertools.islice(trace.replayed(file, random.Random(1)), 6))
    assert replayed[:3] == replayed[3:]
    assert sorted(each.context_tokens for each in replayed[:3]) == [110, 3180, 4808]
    assert {round(each.gap_s, 3) for each in replayed} == {0.0, 0.052, 10.0}


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    with pytest.raises(ValueError, match="holds no requests"):
        trace.read(file)


def test_a_file_that_is_no_trace_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    (tmp_path / "bad.csv").write_text("a,b\n")
    told = [trace.is_trace(tmp_path / name) for name in ("good.csv", "bad.csv", "missing.csv")]
    assert told == [True, False, False]


def test_pacing_speeds_up_and_cuts_long_silences() -> None:
    given = iter([trace.Arrival(1.0, 1, 6), trace.Arrival(60.0, 1, 6)])
    assert [each.gap_s for each in trace.paced(given, scale=2.0, gap_s_max=2.0)] == [0.5, 2.0]
