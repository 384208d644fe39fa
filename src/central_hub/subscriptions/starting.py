"""Where whoever follows a domain's events begins: a policy, made a position."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from central_hub.events.reading import START, EventReading, Wanted
from central_hub.events.schemas import StreamQuery
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.model import LAST_SCANNED_MAX, READ_PAGE, Filter
from central_hub.subscriptions.rules import Matcher


class Policy(StrEnum):
    """Where a subscription begins."""

    ALL = "all"
    NEW = "new"
    LAST = "last"
    BY_POSITION = "by_position"
    BY_TIME = "by_time"


class Deliver(msgspec.Struct, frozen=True, kw_only=True):
    """Where a subscription begins: `position` goes with `by_position`, `time` (RFC 3339) with `by_time`."""

    policy: Policy = Policy.NEW
    position: str = ""
    time: str = ""


class Starting:
    """Finds positions.

    Args:
        reading: the log as events.
    """

    def __init__(self, reading: EventReading) -> None:
        self._reading = reading

    async def after(self, domain: DomainId, deliver: Deliver, wanted: Filter) -> int | None:
        """Return the position to begin after; None for that of the command that asks.

        Raises:
            HubError: `position_gone` (410), `invalid_position`, `invalid_query` (400).
        """
        by_position, by_time = deliver.policy is Policy.BY_POSITION, deliver.policy is Policy.BY_TIME
        if by_position != bool(deliver.position) or by_time != bool(deliver.time):
            raise HubError(
                "invalid_query", Kind.INVALID, "'position' goes with the policy 'by_position', 'time' with 'by_time'.",
                next_step="Give the one that the policy needs, and no other.",
            )  # fmt: skip
        match deliver.policy:
            case Policy.NEW:
                return None
            case Policy.ALL:
                return await self._reading.begin(domain, StreamQuery(after=START))
            case Policy.BY_POSITION:
                return await self._reading.begin(domain, StreamQuery(after=deliver.position))
            case Policy.BY_TIME:
                return await self._reading.begin(domain, StreamQuery(since=deliver.time))
            case Policy.LAST:
                return await self._before_last(domain, Matcher(wanted))

    async def _before_last(self, domain: DomainId, matcher: Matcher) -> int | None:
        """Return the position before the last event that is wanted; looks at the latest records only."""
        first = await self._reading.begin(domain, StreamQuery(after=START))
        head = until = self._reading.head(domain)
        while until > first and head - until < LAST_SCANNED_MAX:
            after = max(first, until - READ_PAGE)
            page = await self._reading.page(domain, after, Wanted(), READ_PAGE)
            found = [one.seq for one in page.events if one.seq <= until and matcher.wants(one)]
            if found:
                return found[-1] - 1
            until = after
        return None
