"""Reading what one has written, or seen, at whichever of several hubs answers.

`Hub-Min-Seq` asks for an answer that is no older than a position, as `Hub-Seq` gave it: the hub waits a moment until
it has applied the log that far, or says that it has not. Who resumes a stream says by its position what it has seen,
and is waited for in the same way.
"""

from __future__ import annotations

import re
from typing import Final

from central_hub.edge.authenticate import Positions
from central_hub.edge.operations import Headers
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind

MIN_SEQ: Final = "hub-min-seq"
RESUMES: Final = "last-event-id"

_POSITION: Final = re.compile(r"[A-Za-z0-9_-]{1,48}\.\d{1,18}\.\d{1,18}")
_STREAM_ID: Final = re.compile(rf"{_POSITION.pattern}\.\d{{1,18}}")


async def caught_up(positions: Positions, ctx: TenantContext, headers: Headers) -> None:
    """Return when this hub has applied the log as far as the caller has seen it elsewhere.

    Raises:
        HubError: `invalid_position` (400); `behind` (503) when it has not in time; `position_gone` (410) for a
            position of another history.
    """
    asked = headers.get(MIN_SEQ)
    if asked is None:
        seen = (headers.get(RESUMES) or "") if positions.may_be_behind else ""
        if _STREAM_ID.fullmatch(seen):
            await positions.reached(ctx, seen)  # what lies beyond all the same is the handler's business
        return
    if not _POSITION.fullmatch(asked):
        raise HubError(
            "invalid_position",
            Kind.INVALID,
            "Hub-Min-Seq is not a position that a hub issued.",
            next_step="Send the Hub-Seq of an answer as it is, or leave it out.",
        )
    reached = await positions.reached(ctx, asked)
    if reached is None:
        raise HubError(
            "position_gone",
            Kind.GONE,
            "That position belongs to another history of the log.",
            next_step="Leave Hub-Min-Seq out and read what is there now.",
        )
    if not reached:
        raise HubError(
            "behind",
            Kind.UNAVAILABLE,
            "This hub has not applied the log as far as that position.",
            next_step="Ask another hub, or the same one again after a moment; without Hub-Min-Seq it answers at once.",
            retry_after_s=1,
        )
