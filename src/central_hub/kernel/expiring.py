"""Records that leave a domain's log before those ahead of them do, and a chain that stays whole over the gaps. Pure.

A run of neighbouring records that left is remembered as one gap: where it began and ended, the hash before it and that
of its last record. A verifier steps over it as over an anchor: what is left of the chain is still proven to be all that
is left. Gaps that touch are one, and one that touches the anchor moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from central_hub.kernel.records import Category

ROW_BYTES: Final = 320
"""What a record takes beside its data: its columns, and its part of two indexes."""


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Records of a domain that left: the first and the last, the hash before them and that of the last."""

    first: int
    last: int
    prev_hash: bytes
    hash: bytes


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A record as it is considered; `size` is what its data takes, in bytes."""

    seq: int
    category: str
    time_ms: int
    prev_hash: bytes
    hash: bytes
    size: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Which records of a domain are to leave.

    Args:
        before_ms: those that were written earlier.
        upto_seq: none after this position; 0 for wherever they stand.
        events_only: of them only those of the category `event`; what rebuilds views and what is audited stays.
        bytes_wanted: stop when so many bytes have left; 0 for however many.
    """

    before_ms: int
    upto_seq: int = 0
    events_only: bool = False
    bytes_wanted: int = 0


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did: how far it looked (0 when there is nothing more to look at), what left."""

    upto_seq: int = 0
    records: int = 0
    bytes: int = 0
    event_bytes: int = 0


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What records up to a position take: bytes of events by domain; the position is 0 when there are none."""

    upto_pos: int
    event_bytes: dict[str, int]


def chosen(rows: Iterable[Standing], terms: Terms) -> tuple[Expired, list[Gap]]:
    """Choose what leaves, oldest first, up to the first record that is too young.

    Times go back when a clock is set: what is behind a young record stays until that one leaves.
    """
    gaps: list[Gap] = []
    upto = records = freed = of_events = 0
    for row in rows:
        if row.time_ms >= terms.before_ms or (terms.upto_seq and row.seq > terms.upto_seq):
            break
        if terms.bytes_wanted and freed >= terms.bytes_wanted:
            break
        upto = row.seq
        is_event = row.category == Category.EVENT.value
        if terms.events_only and not is_event:
            continue
        records += 1
        freed += row.size + ROW_BYTES
        of_events += (row.size + ROW_BYTES) if is_event else 0
        if gaps and gaps[-1].last == row.seq - 1:
            gaps[-1] = Gap(gaps[-1].first, row.seq, gaps[-1].prev_hash, row.hash)
        else:
            gaps.append(Gap(row.seq, row.seq, row.prev_hash, row.hash))
    return Expired(upto_seq=upto, records=records, bytes=freed, event_bytes=of_events), gaps


def joined(anchor_seq: int, known: Sequence[Gap], more: Sequence[Gap]) -> tuple[Gap | None, list[Gap]]:
    """Join gaps that touch.

    Args:
        anchor_seq: position of the last record of the beginning that left.
        known: the gaps there are, at least those that touch one of `more`.
        more: new ones.

    Returns:
        The one that moves the anchor to its end, if any, and the others; they replace all that were given.
    """
    made: list[Gap] = []
    for gap in sorted((*known, *more), key=lambda one: one.first):
        if made and made[-1].last + 1 == gap.first:
            made[-1] = Gap(made[-1].first, gap.last, made[-1].prev_hash, gap.hash)
        else:
            made.append(gap)
    if made and made[0].first == anchor_seq + 1:
        return made[0], made[1:]
    return None, made
