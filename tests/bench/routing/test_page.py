"""The page about the judge quotes the figures of the code, and its tables are those of its grid."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from benchmarks.routing import failures, oracles, simulation, workload
from benchmarks.routing.baselines import weighted_round_robin
from benchmarks.routing.baselines.lite_llm import LITELLM
from benchmarks.routing.baselines.registry import OWN
from benchmarks.routing.cells import read_grid
from benchmarks.routing.tables import BEGIN, END

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "explanation" / "routing-judge.md"
PICTURE: Final = ROOT / "docs" / "pictures" / "routing-judge.svg"
GRID: Final = read_grid()
PLAIN: Final = GRID.cell("load 0.7")
FEW: Final = GRID.cell("5% eligible")

QUOTED: Final = (
    f"{PLAIN.servers} servers of {PLAIN.slots} slots each ({FEW.servers} servers where",
    f"in {workload.ZONES} zones",
    f"down after {simulation.GONE_AFTER:g} mean service times and lists it again {simulation.BACK_AFTER:g} after",
    f"outcomes, {simulation.TOLD_AFTER_S:g} s after",
    f"{simulation.ATTEMPTS} times in all",
    f"load {PLAIN.load:g}, Poisson arrivals",
    f"spares {workload.PREFIX_SHARE * 100:g} % of a prompt",
    f"silently {1 / failures.SLOW_SPEED:g} times slower",
    f"{PLAIN.warm_up} requests that are not judged and {PLAIN.requests:,} that are",
    f"({FEW.warm_up:,} and {FEW.requests:,} where 5 % are eligible)",
    f"Tuning seeds ({GRID.tuning[0]} to {GRID.tuning[-1]})",
    f"reporting seeds ({GRID.reporting[0]} to {GRID.reporting[-1]})",
    f"The SLO is {workload.SLO_FACTOR:g} mean service times",
    f"the time it took and {simulation.FAILURE_COST:g} mean service times",
    f"off by up to {workload.HINT_ERROR * 100:g} %",
    f"keeps {oracles.PARTICLES} guesses",
    f"blackout of {weighted_round_robin.BLACKOUT_S:g} s",
    f"ended after {workload.LEDGER_TTL_FACTOR:g} mean service times",
)


def words() -> str:
    return " ".join(PAGE.read_text("utf-8").split())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_figure_is_quoted_as_it_is(quoted: str) -> None:
    assert quoted in words()


def test_it_says_where_the_router_of_the_hub_is_judged() -> None:
    assert "[How routing decides](routing.md)" in words()


def test_the_page_of_the_router_has_the_table_of_every_cell() -> None:
    page = (PAGE.parent / "routing.md").read_text("utf-8")
    table = page.partition("### Every cell")[2].partition("### Who beats whom")[0]
    cells = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    assert cells[1:] == [cell.name for cell in read_grid().cells]
    assert "certainly lower than that of the cell's best baseline" in table


def test_every_baseline_is_described() -> None:
    said = words().partition("## The baselines")[2].partition("## What this does not say")[0]
    missing = [name for name in (*OWN, *LITELLM) if name.removeprefix("LiteLLM ") not in said]
    assert not missing


def test_the_tables_are_of_todays_grid_and_of_the_reporting_seeds() -> None:
    tables = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    grid = read_grid()
    seeds = ", ".join(map(str, grid.reporting))
    expected = f"{len(grid.cells)} cells, {len(OWN) + len(LITELLM)} baselines, reporting seeds {seeds}."
    assert expected in tables, "judge again: the command is on the page"
    every_cell = tables.partition("### Every cell")[2].partition("###")[0]
    assert [line.split("|")[1].strip() for line in every_cell.splitlines() if line.startswith("| ")][1:] == [
        cell.name for cell in grid.cells
    ]
    assert "SYNTHETIC" not in tables
    assert "MISSING" not in tables
    assert "Constraint violations: 0." in " ".join(tables.split())


def test_the_picture_is_of_the_same_cells() -> None:
    drawn = PICTURE.read_text("utf-8")
    assert not [cell.name for cell in read_grid().cells if f">{cell.name}<" not in drawn]
    assert not [name for name in (*OWN, *LITELLM) if f">{name}<" not in drawn]


def test_what_is_read_from_the_tables_is_in_them() -> None:
    page = PAGE.read_text("utf-8")
    reading = " ".join(page.partition("## Results")[2].partition(BEGIN)[0].split())
    rows = [
        [part.strip() for part in line.split("|")[1:-1]]
        for line in page.partition("### Every cell")[2].partition("### Who")[0].splitlines()
        if line.startswith("| ")
    ][1:]
    reference = {row[0]: float(row[3].split()[0]) for row in rows}
    best = {row[0]: float(row[6].split()[0]) for row in rows}
    assert best.pop("equal servers") <= 1.01
    assert f"between {min(best.values()):.1f} and {max(best.values()):.1f} times the oracle's p99" in reading
    behind = [ratio for ratio in reference.values() if ratio > 1.15]
    assert len(behind) == 4
    assert "within 1.15 times elsewhere but in four cells" in reading
    assert not [ratio for ratio in behind if f"({ratio:.2f})" not in reading]
    assert reference["sizes exact"] == 1.0
