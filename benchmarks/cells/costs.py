"""What one hub costs for each thing it does: measured by `calibration`, kept in `costs.json` with day and machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

KEPT: Final = Path(__file__).parent / "costs.json"
"""What the page was written from; `python benchmarks/cell_fleet.py --calibrate` measures anew."""


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one hub on one core costs. `_s` are seconds of its core, `_bytes` of its memory; see `HOW`.

    Args:
        machine: where it was measured.
        on: the day, UTC.
        store: which store `records_per_s` and `lone_records_per_s` are of.
    """

    machine: str
    on: str
    store: str
    beat_s: float
    beat_in_batch_s: float
    read_s: float
    register_s: float
    register_in_batch_s: float
    open_s: float
    tell_s: float
    apply_s: float
    import_s: float
    import_wall_s: float
    refuse_s: float
    records_per_s: float
    lone_records_per_s: float
    empty_bytes: float
    instance_bytes: float
    stream_bytes: float


HOW: Final = {
    "beat_s": "a lease renewed over HTTP, one a request, 64 connections",
    "beat_in_batch_s": "a lease renewed over HTTP, 1,000 a request",
    "read_s": "a discovery read over HTTP, 64 connections",
    "register_s": "a registration over HTTP, durable, one a request, 64 connections",
    "register_in_batch_s": "a registration over HTTP, durable, 500 a request",
    "open_s": "a connection, its credential, and a watch until it is live",
    "tell_s": "one change told to one open stream",
    "apply_s": "a record read from the log, opened, checked and applied, as a start without snapshot does",
    "import_s": "a tenant imported, with a layer of configuration",
    "import_wall_s": "the same by the clock, one after another",
    "refuse_s": "the smallest answer, as to a connection that is too many",
    "records_per_s": "records the store takes a second, 4 writers of batches of 100",
    "lone_records_per_s": "records the store takes a second, 64 writers of one record each",
    "empty_bytes": "resident memory of an empty hub",
    "instance_bytes": "resident memory for each instance, 100 of them to a tenant",
    "stream_bytes": "resident memory for each open watch",
}
"""How each figure is measured, in words."""


def kept(file: Path = KEPT) -> Costs:
    """Read costs that were measured before."""
    return msgspec.json.decode(file.read_bytes(), type=Costs)


def keep(costs: Costs, file: Path = KEPT) -> None:
    """Write costs, so that a run can be repeated with them."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
