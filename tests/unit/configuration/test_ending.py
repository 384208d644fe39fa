"""What ends by time alone: the same tenants in the same order as if every one were asked every time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from central_hub.configuration.ending import Endings
from central_hub.kernel.ids import DomainId

NAMES = [DomainId(name) for name in "abc"]
ENDS = st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, math.inf])
MOVES = st.lists(st.tuples(st.sampled_from(["look", "forget", "due"]), st.sampled_from(NAMES), ENDS), max_size=30)


@given(MOVES)
def test_the_same_are_due_as_if_each_were_asked(moves: list[tuple[str, DomainId, float]]) -> None:
    ends: dict[DomainId, float] = {}
    known: dict[DomainId, float] = {}
    endings = Endings(lambda domain: ends.get(domain, math.inf))
    for what, domain, end in moves:
        if what == "look":
            ends[domain] = end
            before = min(known.values(), default=math.inf)
            sooner = endings.look(domain)
            known[domain] = end
            assert sooner is (end < before)
        elif what == "forget":
            endings.forget(domain)
            known.pop(domain, None)
        elif end < math.inf:
            due = {name for name, at in known.items() if at <= end}
            found = endings.due(end)
            assert set(found) == due
            assert len(found) == len(due)
            for name in due:
                del known[name]
        assert endings.next_ms == min(known.values(), default=math.inf)


def test_looking_again_at_what_is_known_keeps_nothing_more() -> None:
    endings = Endings(lambda domain: 5.0)
    for _ in range(100):
        endings.look(NAMES[0])
    assert len(endings._soonest) == 1
