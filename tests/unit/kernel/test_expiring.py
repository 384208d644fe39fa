"""Which records leave, and how gaps join: by property, against the plain meaning."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.expiring import ROW_BYTES, Gap, Standing, Terms, chosen, joined
from central_hub.kernel.records import Category

ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(Category), st.integers(0, 9), st.integers(0, 50)), max_size=20
)
TERMS = st.builds(
    Terms,
    before_ms=st.integers(0, 10),
    upto_seq=st.integers(0, 30),
    events_only=st.booleans(),
    bytes_wanted=st.sampled_from([0, 1, 2 * ROW_BYTES]),
)


def rows_of(drawn: list[tuple[int, Category, int, int]]) -> list[Standing]:
    rows: list[Standing] = []
    seq = 0
    for step, category, time_ms, size in drawn:
        seq += step
        rows.append(Standing(seq, category.value, time_ms, b"p%d" % seq, b"h%d" % seq, size))
    return rows


@given(ROWS, TERMS)
def test_what_leaves_is_a_prefix_of_what_may(drawn: list[tuple[int, Category, int, int]], terms: Terms) -> None:
    rows = rows_of(drawn)
    done, gaps = chosen(rows, terms)
    looked = [row for row in rows if row.seq <= done.upto_seq]
    assert looked == rows[: len(looked)]
    assert all(row.time_ms < terms.before_ms for row in looked)
    leaving = [row for row in looked if not terms.events_only or row.category == "event"]
    assert [seq for gap in gaps for seq in range(gap.first, gap.last + 1)] == [row.seq for row in leaving]
    assert done.records == len(leaving)
    assert done.bytes == sum(row.size + ROW_BYTES for row in leaving)
    assert done.event_bytes == sum(row.size + ROW_BYTES for row in leaving if row.category == "event")
    if len(looked) < len(rows):
        stopped = rows[len(looked)]
        past = bool(terms.upto_seq) and stopped.seq > terms.upto_seq
        full = bool(terms.bytes_wanted) and done.bytes >= terms.bytes_wanted
        assert stopped.time_ms >= terms.before_ms or past or full


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 30), st.integers(0, 5))
def test_gaps_join_to_the_fewest_that_say_the_same(left: list[bool], cut: int, anchor: int) -> None:
    gone = [anchor + 1 + at for at, is_gone in enumerate(left) if is_gone]
    each = [Gap(seq, seq, b"p%d" % seq, b"h%d" % seq) for seq in gone]
    begun, rest = joined(anchor, each[:cut], each[cut:])
    made = [*([begun] if begun else []), *rest]
    assert [seq for gap in made for seq in range(gap.first, gap.last + 1)] == gone
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(made))
    assert (begun is not None) == (anchor + 1 in gone)
    for gap in made:
        assert (gap.prev_hash, gap.hash) == (b"p%d" % gap.first, b"h%d" % gap.last)
