"""What the lane is told: entries to answer with, principals to answer to, and when either may have changed.

An entry belongs to (owner domain, service), never to a caller; who may see it is the business
of whoever hands it out. The registry implements `LaneEntries`; `app` turns facts into `Epochs`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from central_hub.edge.lane.render import entry_lines
from central_hub.edge.shares import Share
from central_hub.kernel.context import TenantContext
from central_hub.kernel.records import Applied, Category

PICKS: Final = 256
"""Places in a pick table: a candidate's share of them is its share of the answers."""


class Variant:
    """One way an entry may be answered: header lines and the body's beginning, on the wire's bytes."""

    __slots__ = ("lines", "opening")

    def __init__(self, lines: bytes, opening: bytes) -> None:
        self.lines = lines
        self.opening = opening


class LaneEntry:
    """The encoded answers for one service of one domain, until the next change.

    A body is `opening + rest`: the openings differ (they hold the pick), the rest is shared, so
    an entry costs its body once however many candidates there are.

    Args:
        openings: the beginning of the body, one per candidate (one in all when there is none).
        rest: how every body goes on.
        picks: 256 indexes into `openings`.
        etag: weak entity tag of membership, status and metadata, without the pick.
        fresh_until_ms: monotonic time from which the entry must be asked for again. Whoever made
            it may bring this forward (after a signal); what facts change needs no such hint.
        drawn: whether an answer is picked by a draw; where not, there is one opening and it is the answer.
    """

    __slots__ = ("etag", "fresh_until_ms", "only", "rest", "table")

    def __init__(
        self,
        *,
        openings: Sequence[bytes],
        rest: bytes,
        picks: Sequence[int],
        etag: str,
        fresh_until_ms: float = math.inf,
        drawn: bool = True,
    ) -> None:
        assert len(picks) == PICKS, f"a pick table has {PICKS} places"
        lines: dict[int, bytes] = {}  # candidates differ in the pick, seldom in its length
        variants: dict[int, Variant] = {}
        for pick in frozenset(picks):
            opening = openings[pick]
            if len(opening) not in lines:
                lines[len(opening)] = entry_lines(len(opening) + len(rest), etag)
            variants[pick] = Variant(lines[len(opening)], opening)
        self.table = tuple([variants[pick] for pick in picks])
        self.only = None if drawn else variants[0]
        self.rest = rest
        self.etag = etag
        self.fresh_until_ms = fresh_until_ms

    def body(self, draw: int) -> bytes:
        """Return the whole body that a draw of 0..255 picks; what the framework answers with."""
        return self.table[draw].opening + self.rest


class LookupCounter:
    """How often one service asked for another: read and reset by the dependency graph."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class LaneEntries(Protocol):
    """Hot answers by service name, as one caller sees them."""

    def entry(self, service: str, ctx: TenantContext) -> LaneEntry | None:
        """Return what answers `service` for this caller, or None: the framework answers then.

        None covers every refusal (missing, foreign, tier too low), so that they are made in one place.
        """
        ...

    def lookups(self, ctx: TenantContext, service: str) -> LookupCounter:
        """Return the counter of this caller's look-ups of `service` (`ctx.caller_service` may be empty)."""
        ...


class LaneSignals(Protocol):
    """Soft state that callers send all day, taken without a wait."""

    @property
    def request(self) -> re.Pattern[bytes]:
        """The request line, CR LF included; its groups are what `take` is given."""
        ...

    def take(self, ctx: TenantContext, names: tuple[str, ...], body: bytes) -> bytes | None:
        """Take a signal and return the answer's JSON; None, and nothing taken: the framework refuses it then."""
        ...


class LanePrincipal:
    """A proven caller with what a hit needs about it.

    `limiter` is its share's reads: a hit is answered in one step, so it is never in flight.
    """

    __slots__ = ("ctx", "expires_at_ms", "limiter", "share", "tail", "tail_at")

    def __init__(self, ctx: TenantContext, share: Share) -> None:
        self.ctx = ctx
        self.share = share
        self.limiter = share.reads
        self.expires_at_ms = ctx.principal.expires_at_ms
        self.tail = b""
        self.tail_at: tuple[int, int] = (-1, -1)


class LaneAuth(Protocol):
    """Who is calling, from header lines that already passed the lane's strict form."""

    def authorize(self, headers: list[tuple[bytes, bytes]], origin: str) -> LanePrincipal | None:
        """Return the caller, or None: the framework refuses, or serves, it then."""
        ...


class Epochs:
    """What the lane's memory hangs on; it moves before whoever changed the world is answered.

    `auth` moves when a key, tenant, gateway or policy changed, `state` when a fact was applied
    (entries and positions), `moved` when only positions did (events, audit), and `is_open` is
    False while every request must go through the framework.

    Args:
        auth_facts: types of facts after which callers must be proven again.
    """

    __slots__ = ("_auth_facts", "auth", "is_open", "moved", "state")

    def __init__(self, auth_facts: Iterable[str] = ()) -> None:
        self._auth_facts = frozenset(auth_facts)
        self.auth = 0
        self.state = 0
        self.moved = 0
        self.is_open = True

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of an applied batch; a listener of the runner."""
        self.moved += 1
        if any(applied.category is Category.FACT for applied in batch):
            self.state += 1
            if any(applied.type in self._auth_facts for applied in batch):
                self.auth += 1
