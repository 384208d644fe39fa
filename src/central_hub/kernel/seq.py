"""Positions as the outside sees them: opaque to clients, gapless per domain inside."""

from __future__ import annotations

import msgspec

from central_hub.kernel.errors import HubError, Kind

POSITION_TEXT_MAX = 96


class HubSeq(msgspec.Struct, frozen=True, gc=False):
    """Where a reader stands: the log's incarnation, its own tenant's and the shared position.

    `stale_ms` is how long ago the store last confirmed it, 0 while the store answers.
    """

    incarnation: str
    tenant: int
    shared: int
    stale_ms: int = 0

    def format(self) -> str:
        """Write the position as clients carry it: `incarnation.tenant.shared`."""
        return f"{self.incarnation}.{self.tenant}.{self.shared}"


class StreamId(msgspec.Struct, frozen=True, gc=False):
    """The id of a streamed event: a position and the caller's visibility epoch."""

    seq: HubSeq
    epoch: int

    def format(self) -> str:
        """Write the id as it stands in an SSE `id:` line."""
        return f"{self.seq.format()}.{self.epoch}"


def parse_stream_id(text: str) -> StreamId:
    """Read what `StreamId.format` wrote.

    Raises:
        HubError: `invalid_position` (400) when it is not one of ours.
    """
    parts = text.split(".")
    if len(text) > POSITION_TEXT_MAX or len(parts) != 4 or not all(_is_count(part) for part in parts[1:]):
        raise HubError(
            "invalid_position",
            Kind.INVALID,
            "That position was not issued by a hub.",
            next_step="Leave it out to start from the current state.",
        )
    return StreamId(HubSeq(parts[0], int(parts[1]), int(parts[2])), int(parts[3]))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
