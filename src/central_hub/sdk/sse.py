"""Server-sent events, bytes in and events out, however the bytes are cut. Pure.

Source: WHATWG HTML, section 9.2.6, as far as a hub uses it (lines end in LF or CRLF).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.model import EVENT_BYTES_MAX


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event; `id` is empty when the event carries none."""

    name: str
    data: bytes
    id: str = ""


class SseParser:
    """Puts events together from chunks; an event that was not finished when the stream broke is lost.

    Args:
        event_bytes_max: size at which an unfinished event counts as an attack or a mistake.
    """

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._limit = event_bytes_max
        self._rest = b""
        self._name = ""
        self._id = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take bytes and yield the events they complete.

        Raises:
            HubError: `event_too_large` when an event exceeds the limit.
        """
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            raise self._too_large()
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._finish()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value)
            if self._size > self._limit:
                raise self._too_large()
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        return None

    def _finish(self) -> Event | None:
        event = Event(self._name or "message", b"\n".join(self._data), self._id) if self._data else None
        self._name, self._id, self._data, self._size = "", "", [], 0
        return event

    def _too_large(self) -> HubError:
        return HubError(
            "event_too_large",
            Kind.TOO_LARGE,
            f"The hub sent an event of more than {self._limit} bytes.",
            next_step="Watch fewer services, or raise the limit of the client.",
        )
