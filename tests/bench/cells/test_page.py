"""The page about scale says what the simulation found with the costs that are kept, and its pictures are of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from benchmarks.cells.costs import HOW, Costs, keep, kept
from benchmarks.cells.demand import CONNECTIONS, CORE, MEMORY, RESOURCES, STORE
from benchmarks.cells.picture import storms, use_of_cells
from benchmarks.cells.scenarios import FLEETS, NOTICED_S, carried, fleet, simulate, whales_of
from benchmarks.cells.tables import BEGIN, END, tables, write_into
from benchmarks.cells.world import AGENT, SDK, WAYS, World
from tests.bench.cells.worlds import COSTS, SMALL

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "explanation" / "scale.md"
PICTURES: Final = ROOT / "docs" / "pictures"
WRITE_AGAIN: Final = "write the page again: the command is on it"


def prose() -> str:
    """Return the page's words without its tables."""
    return " ".join(PAGE.read_text("utf-8").partition(BEGIN)[0].split())


def sections() -> dict[str, str]:
    """Return the tables that stand in the page, by heading."""
    inside = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in inside.split("### ")[1:]}


@pytest.fixture(scope="module")
def small() -> str:
    """Return the tables of a small world with the costs that are kept, which has the same first ones as the page."""
    return tables(simulate(kept(), SMALL, fleets=(5,), step=lambda _: None))


def test_the_costs_in_the_page_are_those_that_are_kept(small: str) -> None:
    of_costs = next(part for part in small.split("### ") if part.startswith("What one hub costs"))
    assert of_costs.partition("\n")[2].strip() == sections()["What one hub costs"], WRITE_AGAIN


def test_the_page_has_every_table_and_every_fleet(small: str) -> None:
    assert list(sections()) == [part.partition("\n")[0] for part in small.split("### ")[1:]]
    for way in (SDK, AGENT):
        for cells in FLEETS:
            assert f"| {way.name} | {cells:,} |" in sections()["What the busiest cell uses"], WRITE_AGAIN


def test_what_a_cell_carries_is_as_the_page_says() -> None:
    costs, world = kept(), World()
    for way in WAYS:
        one = carried(way, costs, world)
        row = " | ".join((way.name, *(f"{one.instances[name]:,}" for name in RESOURCES), f"**{one.first}**"))
        assert row in sections()["What a cell carries"], WRITE_AGAIN
    sdk = carried(SDK, costs, world).instances
    by_core, by_memory, by_store = (sdk[name] / sdk[CONNECTIONS] for name in (CORE, MEMORY, STORE))
    said = (
        f"Its core would carry {by_core:.0f} times as many, its memory {by_memory:.0f} times, its store {by_store:.0f}"
    )
    assert said in prose()
    assert f"a cell of three hubs carries {sdk[CONNECTIONS]:,} instances" in prose()
    assert f"need {carried(SDK, costs, world).cells_needed} cells" in prose()
    agent = carried(AGENT, costs, world)
    assert (
        f"bring a cell to {agent.instances[CONNECTIONS]:,} instances and the fleet to {agent.cells_needed}" in prose()
    )
    assert f"10 cells are asked for {fleet(10, SDK, costs, world).used[CONNECTIONS]:.0f} times" in prose()
    assert f"takes {world.limits.connections:,} connections" in prose()
    assert f"{NOTICED_S:g} s in, assumed" in prose()


def test_the_largest_tenants_are_as_the_page_says() -> None:
    costs, world = kept(), World()
    whales = whales_of(SDK, 1.0, costs, world)
    assert f"has {whales.largest:,} of ten million" in prose()
    assert f"holds {whales.fits:,} of them, {whales_of(AGENT, 1.0, costs, world).fits:,} with agents" in prose()
    assert f"{whales.too_large} tenants are too large for any cell" in prose()
    assert f"and {whales.turned_away / world.instances:.0%}".replace("%", " %") in prose()
    assert whales_of(SDK, 0.6, costs, world).too_large == 3


def test_the_page_says_what_is_not_built() -> None:
    assert "Past one cluster nothing runs by itself today" in prose()
    assert "It does not exist." in prose()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("cells-use.svg", [*RESOURCES, "busiest cell, SDK", "1,000"]),
        ("cells-storms.svg", ["100% full", "120% full", "1000 cells", "live again"]),
    ],
)
def test_the_pictures_are_small_and_show_what_they_should(name: str, drawn: list[str]) -> None:
    picture = (PICTURES / name).read_text("utf-8")
    words = "".join(f"{text}\n" for text in ElementTree.fromstring(picture).itertext())
    assert not [word for word in drawn if word not in words]
    assert len(picture) < 64 * 1024
    assert name in PAGE.read_text("utf-8")


def test_pictures_can_be_drawn_of_any_report() -> None:
    report = simulate(COSTS, SMALL, fleets=(5, 10), step=lambda _: None)
    for draw in (use_of_cells, storms):
        assert draw(report) == draw(report)
        ElementTree.fromstring(draw(report))


def test_costs_are_kept_as_they_are_and_every_one_is_explained(tmp_path: Path) -> None:
    keep(COSTS, tmp_path / "costs.json")
    assert kept(tmp_path / "costs.json") == COSTS
    assert set(HOW) | {"machine", "on", "store"} == set(Costs.__struct_fields__)
    assert kept().on >= "2026-11-26"


def test_a_page_without_marks_is_not_written_over(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    report = simulate(COSTS, SMALL, fleets=(5,), step=lambda _: None)
    with pytest.raises(ValueError, match="no marks"):
        write_into(page, report)
    page.write_text(f"# Mine\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(page, report)
    assert page.read_text() == f"# Mine\n{BEGIN}\n\n{tables(report)}\n\n{END}\nafter\n"
