"""The hub's own log may be lost; a request is not, for that."""

from __future__ import annotations

import errno
import io

from central_hub.app.serving import LogStream


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "no space left")


def test_lines_are_written() -> None:
    below = io.StringIO()
    print("line", file=LogStream(below), flush=True)  # type: ignore[arg-type]
    assert below.getvalue() == "line\n"


def test_lines_that_cannot_be_written_are_lost_and_counted() -> None:
    stream = LogStream(Full())
    print("line", file=stream, flush=True)  # type: ignore[arg-type]
    assert stream.lost == 3  # the text, its newline, the flush


def test_lines_to_a_closed_stream_are_lost() -> None:
    below = io.StringIO()
    below.close()
    stream = LogStream(below)
    stream.write("line")
    assert stream.lost == 1
