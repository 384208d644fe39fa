"""The judge repeats itself to the byte, compares like with like, and says what it could not do."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.judging import FEASIBLE, ORACLE, Report, decoded, encoded, judge
from benchmarks.routing.picture import colour, svg_of
from benchmarks.routing.scores import Bootstrap, quantile
from benchmarks.routing.tables import BEGIN, END, markdown, write_into
from tests.bench.routing.worlds import small_grid

ROOT = Path(__file__).parents[3]
PROGRAM = """
import hashlib, sys
from benchmarks.routing.judging import encoded, judge
from tests.bench.routing.worlds import small_grid
report = judge(small_grid("three hubs", warm_up=20, requests=60), processes=int(sys.argv[1]))
print(hashlib.sha256(encoded(report)).hexdigest())
"""


@pytest.fixture(scope="module", autouse=True)
def no_traces() -> None:
    os.environ.pop("HUB_TRACES", None)


@pytest.fixture(scope="module")
def report() -> Report:
    return judge(small_grid("load 0.7", "60% eligible", warm_up=50, requests=150))


def test_the_same_seeds_give_the_same_bytes_in_any_process() -> None:
    here = hashlib.sha256(encoded(judge(small_grid("three hubs", warm_up=20, requests=60)))).hexdigest()
    for hash_seed, processes in (("1", "1"), ("2", "1"), ("3", "2")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, processes],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        assert done.stdout.strip() == here


def test_other_seeds_give_other_figures() -> None:
    first, second = (judge(small_grid("load 0.7", seeds=seeds, requests=60)) for seeds in ((1, 2), (3, 4)))
    assert first.cells != second.cells


def test_tuning_takes_the_tuning_seeds() -> None:
    found = judge(small_grid("load 0.7", requests=60), tuning=True)
    assert (found.seeds_for, found.seeds) == ("tuning", (9001,))


def test_the_report_survives_its_json(report: Report) -> None:
    assert decoded(encoded(report)) == report


def test_a_further_policy_is_judged_like_a_baseline_but_is_none() -> None:
    added = {"mine": "benchmarks.routing.baselines.power_of_d:four"}
    found = judge(small_grid("load 0.7", requests=60), added=added)
    assert "mine" in found.cells["load 0.7"]
    assert "mine" in found.worst
    assert "mine" not in found.baselines


def test_the_oracle_is_one_times_itself_and_replays_agree(report: Report) -> None:
    for summaries in report.cells.values():
        assert summaries[ORACLE].p99_over_oracle.value == 1.0
        assert summaries[ORACLE].strict.value == 1.0
    assert report.replays == 6
    assert report.contradicted == 0
    assert report.violations == 0


def test_who_wins_is_who_does_not_lose(report: Report) -> None:
    for name, others in report.wins.items():
        for other, (won, tied, lost) in others.items():
            assert won + tied + lost == len(report.cells)
            assert report.wins[other][name] == (lost, tied, won)
    assert report.wins[FEASIBLE]["random"][0] == len(report.cells)


def test_the_worst_cell_is_the_worst(report: Report) -> None:
    for name, worst in report.worst.items():
        ratios = {cell: summaries[name].p99_over_oracle.value for cell, summaries in report.cells.items()}
        assert worst.p99_over_oracle == max(ratios.values()) == ratios[worst.against_oracle]


def test_litellm_that_is_missing_is_missed_aloud(report: Report) -> None:
    there = any(name.startswith("LiteLLM") for name in report.baselines)
    assert there or any("LiteLLM" in one for one in report.missing)
    assert there or "MISSING: LiteLLM" in markdown(report)


def test_a_fit_that_stands_for_a_trace_is_named(report: Report) -> None:
    assert report.synthetic
    assert "SYNTHETIC" in markdown(report)


def test_the_tables_name_every_policy_and_cell(report: Report) -> None:
    text = markdown(report)
    assert all(name in text for name in (*report.policies, *report.cells))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 3 * len(report.policies)


def test_tables_go_between_the_marks_and_nowhere_else(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    write_into(page, report)
    first = page.read_text("utf-8")
    write_into(page, report)
    assert page.read_text("utf-8") == first
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert "\nold\n" not in first
    page.write_text("nothing", "utf-8")
    with pytest.raises(ValueError, match="no marks"):
        write_into(page, report)


def test_the_picture_shows_every_policy_and_cell_and_refers_to_nothing_outside(report: Report) -> None:
    drawn = svg_of(report)
    assert drawn == svg_of(report)
    words = set(ElementTree.fromstring(drawn).itertext())
    assert {*report.policies, *report.cells} <= words
    assert re.findall(r"url\(|href", drawn) == []


def test_worse_is_darker() -> None:
    greens = [int(colour(ratio)[0][3:5], 16) for ratio in (1.0, 2.0, 10.0, 50.0, 100.0, 1_000.0)]
    assert greens == sorted(greens, reverse=True)
    assert colour(1.0)[1] is False
    assert colour(100.0)[1] is True


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.99, 10), (0.1, 1), (0.11, 2)])
def test_a_quantile_is_a_value_that_was_seen(share: float, expected: int) -> None:
    assert quantile(range(1, 11), share) == expected


def test_an_interval_holds_the_mean_and_narrows_with_agreement() -> None:
    bootstrap = Bootstrap(10)
    wide, narrow = bootstrap.interval([0.0, 10.0] * 5), bootstrap.interval([5.0, 5.1] * 5)
    for found in (wide, narrow):
        assert found.low <= found.value <= found.high
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)
    same = bootstrap.interval([math.log(3.0)] * 10, math.exp)
    assert (same.low, same.value, same.high) == pytest.approx((3.0, 3.0, 3.0))


def test_fourteen_baselines_need_nothing_installed() -> None:
    assert len(OWN) == 14
