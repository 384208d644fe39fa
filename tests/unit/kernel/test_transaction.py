"""What a decision declares: many aggregates at once, and whichever like them is being written."""

from __future__ import annotations

import pytest

from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import StreamKey
from central_hub.kernel.transaction import StreamBusy, Tx

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
KEYS = frozenset({(ACME, "config/a"), (GLOBEX, "config/b")})


def tx(*writing: StreamKey) -> Tx:
    return Tx(0, lambda count: bytes(count), dict.fromkeys(writing, 1), {})


def test_many_aggregates_are_read_as_if_each_had_been_touched() -> None:
    made = tx((ACME, "tenant"))
    made.touch(ACME, "schemas")
    made.touch_all(KEYS, "config/")
    assert made.reads == {*KEYS, (ACME, "schemas")}


@pytest.mark.parametrize("busy", [(ACME, "config/a"), (DomainId("idle"), "config/new")])
def test_one_of_them_or_one_like_them_that_is_being_written_is_waited_for(busy: StreamKey) -> None:
    made = tx((ACME, "tenant"), busy)
    with pytest.raises(StreamBusy) as waited:
        made.touch_all(KEYS, "config/")
    assert waited.value.key == busy
    assert made.reads == set()
