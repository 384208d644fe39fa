"""The lane's pieces, put together, are what the pipeline's header lines say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from central_hub.edge.lane.render import caller_lines, entry_lines, opening_lines, wire_lines, with_correlation
from central_hub.edge.pipeline import answer_headers

words = st.text("abcdefghij0123456789.-", max_size=20)


@given(length=st.integers(0, 10**6), etag=words, seq=words, tier=words, correlation=words)
def test_pieces_make_the_whole(length: int, etag: str, seq: str, tier: str, correlation: str) -> None:
    whole = answer_headers(
        media_type="application/json", length=length, extra=(("etag", etag),), hub_seq=seq, tier=tier,
        correlation_id=correlation,
    )  # fmt: skip
    pieces = entry_lines(length, etag) + with_correlation(caller_lines(seq, tier), correlation.encode())
    assert pieces == wire_lines(whole) + b"\r\n"


def test_the_head_begins_with_status_and_date() -> None:
    assert opening_lines([(b"date", b"now")]) == b"HTTP/1.1 200 OK\r\ndate: now\r\n"
