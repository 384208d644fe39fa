"""The grid is what it was promised to be: every axis, ten seeds, none of them used twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.routing.cells import GRID, read_grid

AXES = {
    "load": {0.3, 0.5, 0.7, 0.85, 0.95, 1.1},
    "fleet": {"1:1:1", "1:3:6", "vidur"},
    "arrivals": {"poisson", "code", "flash", "tenants"},
    "hints": {"exact", "30%", "unknown"},
    "report_every": {0.0, 0.1, 1.0, 5.0, 20.0, 60.0},
    "told": {1.0, 0.5, 0.2, 0.05},
    "failures": {"none", "crash", "slow", "flapping", "zone"},
    "eligible": {1.0, 0.6, 0.05},
    "hubs": {1, 3},
    "sessions": {True, False},
}


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_is_covered(axis: str) -> None:
    assert {getattr(cell, axis) for cell in read_grid().cells} == AXES[axis]


def test_tuning_and_reporting_seeds_are_ten_each_and_share_none() -> None:
    grid = read_grid()
    assert min(len(set(grid.tuning)), len(set(grid.reporting))) >= 10
    assert not set(grid.tuning) & set(grid.reporting)


def test_a_seed_for_both_is_refused(tmp_path: Path) -> None:
    text = GRID.read_text("utf-8").replace("reporting = [1,", "reporting = [9001,")
    (tmp_path / "grid.toml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="not for both"):
        read_grid(tmp_path / "grid.toml")


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    text = GRID.read_text("utf-8").replace("load = 0.3\n", "laod = 0.3\n", 1)
    (tmp_path / "grid.toml").write_text(text, "utf-8")
    with pytest.raises(msgspec.ValidationError, match="laod"):
        read_grid(tmp_path / "grid.toml")


def test_a_name_there_twice_is_refused(tmp_path: Path) -> None:
    text = GRID.read_text("utf-8").replace('name = "load 0.3"', 'name = "load 0.5"')
    (tmp_path / "grid.toml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="same name"):
        read_grid(tmp_path / "grid.toml")
