"""Who follows which subscription at this moment, and the latest records of the domains that anyone follows."""

from __future__ import annotations

from collections.abc import Iterator

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.subscriptions.consumers import Consumer
from central_hub.subscriptions.lines import Line
from central_hub.subscriptions.model import (
    CONSUMERS_MAX,
    CONSUMERS_PER_SUBSCRIPTION_MAX,
    CONSUMERS_PER_TENANT_MAX,
)
from central_hub.subscriptions.recent import Recent


class Crowd:
    """Holds the consumers.

    Args:
        per_subscription_max, per_tenant_max, in_all_max: consumers.
    """

    def __init__(
        self,
        *,
        per_subscription_max: int = CONSUMERS_PER_SUBSCRIPTION_MAX,
        per_tenant_max: int = CONSUMERS_PER_TENANT_MAX,
        in_all_max: int = CONSUMERS_MAX,
    ) -> None:
        self._per_subscription_max = per_subscription_max
        self._per_tenant_max = per_tenant_max
        self._in_all_max = in_all_max
        self._consumers: dict[Line, dict[Consumer, None]] = {}
        self._following: dict[DomainId, int] = {}
        self.recent: dict[DomainId, Recent] = {}
        self.size = 0

    def check(self, line: Line) -> None:
        """Refuse a consumer past the limits.

        Raises:
            HubError: `too_many_consumers` (429).
        """
        for count, limit in (
            (len(self._consumers.get(line, ())), self._per_subscription_max),
            (self._following.get(line.domain, 0), self._per_tenant_max),
            (self.size, self._in_all_max),
        ):
            if count >= limit:
                raise HubError(
                    "too_many_consumers", Kind.LIMIT, f"{limit} consumers are there already, which is the limit.",
                    next_step="Close consumers that are not needed, or let each hold more.",
                    retry_after_s=5, fields={"limit": limit},
                )  # fmt: skip

    def add(self, consumer: Consumer, head: int) -> None:
        """Let one follow.

        Args:
            consumer: who.
            head: where its domain's log ends.
        """
        line = consumer.line
        self._consumers.setdefault(line, {})[consumer] = None
        self._following[line.domain] = self._following.get(line.domain, 0) + 1
        self.size += 1
        if line.domain not in self.recent:
            self.recent[line.domain] = Recent(head)

    def remove(self, consumer: Consumer) -> bool:
        """Let one follow no longer; says whether it did."""
        line = consumer.line
        own = self._consumers.get(line)
        if own is None or consumer not in own:
            return False
        del own[consumer]
        if not own:
            del self._consumers[line]
        self.size -= 1
        left = self._following[line.domain] - 1
        if left:
            self._following[line.domain] = left
        else:
            del self._following[line.domain], self.recent[line.domain]
        return True

    def follows(self, line: Line) -> bool:
        """Say whether anybody follows a line."""
        return line in self._consumers

    def of(self, line: Line) -> tuple[Consumer, ...]:
        """Return who follows a line."""
        return tuple(self._consumers.get(line, ()))

    def lines(self) -> tuple[Line, ...]:
        """Return the lines that anybody follows."""
        return tuple(self._consumers)

    def with_room(self, line: Line) -> Iterator[Consumer]:
        """Yield who may hold more, whose turn it is first."""
        for consumer in self._consumers.get(line, ()):
            if consumer.held < consumer.room:
                yield consumer

    def had_turn(self, consumer: Consumer) -> None:
        """Let one stand behind the others of its line."""
        own = self._consumers[consumer.line]
        if len(own) > 1:
            del own[consumer]
            own[consumer] = None
