"""The power fails at some moment of a run: what was acknowledged is there, whole, in order, and opens."""

from __future__ import annotations

import random

import pytest

from tests.durability.disk import Disk, Event, Kind
from tests.durability.power_cut import DATABASE, record_run, try_cuts

SHORT_POINTS = 160
FULL_POINTS = 2_400
SEEDS_FULL = 12


async def test_no_power_cut_loses_what_was_acknowledged() -> None:
    for seed in (1, 2):
        outcome = await try_cuts(seed, SHORT_POINTS // 2)
        assert outcome.violations == []
        assert outcome.points == SHORT_POINTS // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 100 + SEEDS_FULL))
async def test_no_power_cut_of_many_loses_what_was_acknowledged(seed: int) -> None:
    outcome = await try_cuts(seed, FULL_POINTS // SEEDS_FULL)
    assert outcome.violations == []


async def test_a_run_meets_what_could_go_wrong() -> None:
    run = await record_run(3)
    kinds = {(event.kind, event.file) for event in run.journal.events}
    assert (Kind.WRITE, DATABASE) in kinds, "no checkpoint in the run"
    assert (Kind.WRITE, f"{DATABASE}-wal") in kinds
    assert (Kind.SYNC, f"{DATABASE}-wal") in kinds
    assert run.snapshots
    assert any(one.key for one in run.acknowledged)


async def test_the_simulator_notices_a_store_that_does_not_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    import apsw

    from central_hub.adapters.sqlite import opening

    configure = opening._configure

    def careless(connection: apsw.Connection) -> None:
        configure(connection)
        connection.pragma("synchronous", "off")

    monkeypatch.setattr(opening, "_configure", careless)
    outcome = await try_cuts(4, 40)
    assert any("acknowledged" in text or "does not open" in text for text in outcome.violations)


def test_a_cut_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    disk = Disk()
    disk.play(
        [
            Event(Kind.CREATE, "f-wal"),
            Event(Kind.WRITE, "f-wal", 0, b"a" * 1_024),
            Event(Kind.SYNC, "f-wal"),
            Event(Kind.WRITE, "f-wal", 0, b"b" * 1_024),
            Event(Kind.WRITE, "f-wal", 1_024, b"c" * 100),
        ]
    )
    seen = {disk.cut(random.Random(seed))["f-wal"] for seed in range(300)}
    assert b"a" * 1_024 in seen
    assert b"b" * 1_024 + b"c" * 100 in seen
    assert b"a" * 512 + b"b" * 512 in seen, "torn at a sector"
    assert b"a" * 1_024 + b"c" * 100 in seen, "the later write alone"
    assert all(len(image) >= 1_024 for image in seen)
    assert all(
        set(image[start : start + 512]) <= {97} or set(image[start : start + 512]) <= {98}
        for image in seen
        for start in (0, 512)
    )
