"""How an answer of the lane is put together, from the pipeline's own header lines.

The pipeline's `answer_headers` says which lines an answer has and in which order; here they are
written the way uvicorn writes them. An entry's lines and a caller's lines are encoded apart, and
concatenated they are the whole.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE as STATUS_LINE_OF

from central_hub.edge.pipeline import Answer, answer_headers

STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"
MEDIA_TYPE: Final = "application/json"


def wire_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write header lines as uvicorn does."""
    return b"".join(b"%b: %b\r\n" % line for line in headers)


def entry_lines(length: int, etag: str | None) -> bytes:
    """Return the lines that belong to an entry: media type, length in bytes, entity tag if it has one."""
    return wire_lines(
        answer_headers(
            media_type=MEDIA_TYPE,
            length=length,
            extra=() if etag is None else (("etag", etag),),
            hub_seq="",
            tier="",
            correlation_id="",
        )
    )


def caller_lines(hub_seq: str, tier: str, stale_ms: int = 0) -> bytes:
    """Return the lines that belong to a caller, and the empty line that ends the head."""
    lines = answer_headers(
        media_type="", length=None, extra=(), hub_seq=hub_seq, tier=tier, correlation_id="", stale_ms=stale_ms
    )
    return wire_lines(lines) + b"\r\n"


def with_correlation(tail: bytes, correlation_id: bytes) -> bytes:
    """Put the correlation id after a caller's lines, where `answer_headers` has it; unchanged without one."""
    return b"%bx-correlation-id: %b\r\n\r\n" % (tail[:-2], correlation_id) if correlation_id else tail


def whole_answer(answer: Answer, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write an answer of the pipeline as uvicorn does."""
    opening = STATUS_LINE_OF[answer.status] + wire_lines(default_headers)
    return b"".join((opening, wire_lines(answer.headers), b"\r\n", *answer.pieces))


def opening_lines(default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the status line and the lines the server adds to every answer (`date`)."""
    return STATUS_LINE + wire_lines(default_headers)
