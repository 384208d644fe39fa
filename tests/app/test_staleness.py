"""How old an answer may be is said by lane and framework alike while the store is away, and not while it is there."""

from __future__ import annotations

import asyncio

from central_hub.app.staleness import TELL_EVERY_S, Staleness
from central_hub.edge.lane.entries import Epochs
from central_hub.edge.lane.render import caller_lines, wire_lines
from central_hub.edge.pipeline import answer_headers
from central_hub.kernel.seq import HubSeq


def test_a_position_carries_how_long_ago_it_was_confirmed_and_is_written_without_it() -> None:
    position = HubSeq("history", 3, 4, 1_500)
    assert position.format() == HubSeq("history", 3, 4).format() == "history.3.4"


def test_lane_and_framework_write_the_same_lines() -> None:
    for stale_ms in (0, 1, 90_000):
        framework = answer_headers(
            media_type="", length=None, extra=(), hub_seq="h.1.2", tier="pro", correlation_id="", stale_ms=stale_ms
        )
        assert caller_lines("h.1.2", "pro", stale_ms) == wire_lines(framework) + b"\r\n"
        assert ((b"hub-stale-ms", b"%d" % stale_ms) in framework) == (stale_ms > 0)


def test_the_lane_writes_anew_while_it_grows_and_once_when_it_is_over() -> None:
    epochs, now = Epochs(), [0]
    staleness = Staleness(lambda: now[0], epochs)
    for moment, moves in ((0, 0), (200, 1), (400, 2), (400, 2), (0, 3), (0, 3)):
        now[0] = moment
        staleness.look()
        assert epochs.moved == moves


async def test_it_looks_by_itself() -> None:
    epochs = Epochs()
    task = asyncio.create_task(Staleness(lambda: 7, epochs).run())
    await asyncio.sleep(TELL_EVERY_S / 2)
    assert epochs.moved == 1
    task.cancel()
