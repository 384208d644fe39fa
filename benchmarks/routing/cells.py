"""The grid: which cells there are, and which seeds are for tuning and which for reporting."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

GRID: Final = Path(__file__).with_name("grid.toml")

SHORT_CELLS: Final = ("load 0.7", "vidur", "20% told", "slow", "60% eligible", "three hubs", "sessions")
"""What the short form runs."""
SHORT_SEEDS: Final = 2
SHORT_WARM_UP: Final = 100
SHORT_REQUESTS: Final = 300


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One world to be judged in; what the fields mean stands in `grid.toml`."""

    name: str
    load: float
    fleet: Literal["1:1:1", "1:3:6", "vidur"]
    servers: int
    slots: int
    arrivals: Literal["poisson", "code", "flash", "tenants"]
    hints: Literal["exact", "30%", "unknown"]
    report_every: float
    told: float
    failures: Literal["none", "crash", "slow", "flapping", "zone"]
    eligible: float
    hubs: int
    sessions: bool
    warm_up: int
    requests: int


class Grid(msgspec.Struct, frozen=True):
    """All cells, and the two sets of seeds, which share none."""

    cells: tuple[Cell, ...]
    tuning: tuple[int, ...]
    reporting: tuple[int, ...]

    def cell(self, name: str) -> Cell:
        """Return a cell by its name.

        Raises:
            KeyError: there is none.
        """
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise KeyError(name)

    def short(self) -> Grid:
        """Return the short form: fewer cells, seeds and requests."""
        cells = tuple(
            msgspec.structs.replace(self.cell(name), warm_up=SHORT_WARM_UP, requests=SHORT_REQUESTS)
            for name in SHORT_CELLS
        )
        return Grid(cells, self.tuning[:SHORT_SEEDS], self.reporting[:SHORT_SEEDS])


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seeds: dict[str, tuple[int, ...]]
    defaults: dict[str, object]
    cell: tuple[dict[str, object], ...]


def read_grid(path: Path = GRID) -> Grid:
    """Read the grid.

    Raises:
        msgspec.ValidationError: a cell has an unknown or a missing field.
        ValueError: a seed is in both sets, or a name is there twice.
    """
    file = msgspec.toml.decode(path.read_bytes(), type=_File)
    cells = tuple(msgspec.convert({**file.defaults, **one}, Cell) for one in file.cell)
    tuning, reporting = file.seeds["tuning"], file.seeds["reporting"]
    if set(tuning) & set(reporting):
        raise ValueError("a seed is for tuning or for reporting, not for both")
    if len({cell.name for cell in cells}) != len(cells):
        raise ValueError("two cells have the same name")
    return Grid(cells, tuning, reporting)
