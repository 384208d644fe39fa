"""Subscriptions over server-sent events: a delivery is one message, its id what it is acknowledged by."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.edge.streams import Frame, Sink, event_frame
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.consumers import Given

EVENT: Final = "event"
OPEN: Final = "open"
END: Final = "end"
BUFFERED_BYTES_MAX: Final = 65_536
"""Unsent bytes of a connection past which it is given nothing; it holds one event more at most."""
FRAMES_KEPT: Final = 64


class Frames:
    """Frames of the latest deliveries, so that what many get at once is framed once.

    An event's first delivery is the same for every subscription of its domain.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[DomainId, str], Frame] = {}

    def of(self, domain: DomainId, given: Given) -> Frame:
        """Return the frame of a delivery."""
        key = (domain, given.id)
        frame = self._kept.get(key)
        if frame is None:
            if len(self._kept) >= FRAMES_KEPT:
                del self._kept[next(iter(self._kept))]
            frame = self._kept[key] = event_frame(EVENT, given.told.body, position=given.id)
        return frame


class StreamTaker:
    """Takes deliveries to an open stream.

    Args:
        sink: the stream.
        domain: whose events they are.
        frames: shared by all streams.
    """

    def __init__(self, sink: Sink, domain: DomainId, frames: Frames) -> None:
        self._sink = sink
        self._domain = domain
        self._frames = frames

    def can_take(self) -> bool:
        """Say whether what was given before has left."""
        return self._sink.buffered <= BUFFERED_BYTES_MAX

    def take(self, given: Given) -> bool:
        """Write a delivery; False when the stream is closed."""
        return self._sink.write(self._frames.of(self._domain, given))

    def end(self, reason: HubError | None) -> None:
        """Say why, and close."""
        if reason is not None:
            self._sink.write(event_frame(END, end_text(reason)))
        self._sink.close()


def open_text(name: str, ack_wait_s: float, max_held: int) -> bytes:
    """Write what a consumer is told first."""
    return msgspec.json.encode({"subscription": name, "ack_wait_s": ack_wait_s, "max_held": max_held})


def end_text(reason: HubError) -> bytes:
    """Write why nothing will come any more."""
    return msgspec.json.encode({"code": reason.code, "detail": reason.message, **reason.fields})
