"""The decision: who may serve a request, what each would give, and which is taken. Synchronous, without I/O.

One `Offered` a domain holds its offerings (`Table`) and its instances as they are foreseen (`Fleet`), so nothing that
one tenant's private instances taught is known to another's. A caller's candidates are its own domain's and the shared
one's, behind a mask of what it may see: whoever is not entitled is not among what is scored.

What hangs on offerings alone is worked out once per requirement (`Matched`) and kept while nothing changed that it
hangs on; `epoch` counts such changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.routing.asking import Asked
from central_hub.routing.calibration import LEVELS
from central_hub.routing.candidates import Matched, Offered, Part, Rows
from central_hub.routing.choosing import Columns, Numbers, pick, scores
from central_hub.routing.constraints import Strategy
from central_hub.routing.foreseen import Foreseen
from central_hub.routing.model import Offering
from central_hub.routing.ports import Plans, Services
from central_hub.routing.sizes import Size, SizeBook
from central_hub.routing.table import EMPTY, Row, Table, rows_in
from central_hub.routing.view import Declared

MATCHES_MAX: Final = 4_096
MATCH_KEPT_MS: Final = 1_000
"""Longest time that a match is used: qualities and grants end by time alone."""
BOOKS_MAX: Final = 100_000
EXCLUDED_SHOWN_MAX: Final = 64
"""Instances that an explanation names among those left out."""
UNHEALTHY: Final = "unhealthy"


class Decided:
    """A decision with everything it was made of: the numbers of all candidates, and the draw."""

    __slots__ = (
        "asked", "at", "chance", "columns", "foreseen", "kept", "matched", "predicted", "scores", "size",
        "sizes",
    )  # fmt: skip

    def __init__(
        self, *, asked: Asked, matched: Matched, sizes: tuple[Size, ...], foreseen: Foreseen, predicted: Numbers,
        columns: Columns, kept: Rows, found: Numbers, chance: int,
    ) -> None:  # fmt: skip
        self.asked = asked
        self.matched = matched
        self.sizes = sizes
        self.size = mean_of(sizes)
        self.foreseen = foreseen
        self.predicted = predicted
        """Milliseconds for each of `LEVELS`, by candidate."""
        self.columns = columns
        self.kept = kept
        """Places in `matched` of those that the size and the moment left; scores and columns are in this order."""
        self.scores = found
        self.chance = chance
        self.at = pick(found, chance)

    def order(self, count: int) -> list[int]:
        """Return up to so many candidates, the chosen one first, then the best of the others."""
        found = self.scores
        best = np.argpartition(found, count)[: count + 1] if len(found) > count + 1 else np.arange(len(found))
        others: list[int] = best[np.argsort(found[best], kind="stable")].tolist()
        return [self.at, *(one for one in others if one != self.at)][:count]

    @property
    def row(self) -> Row:
        """The chosen offering."""
        return self.matched.rows[int(self.kept[self.at])]

    @property
    def offered(self) -> Offered:
        """The domain that the chosen one belongs to."""
        return self.offered_of(self.at)

    def offered_of(self, at: int) -> Offered:
        """Return the domain of a candidate."""
        place = int(self.kept[at])
        for part in self.matched.parts:
            if place < part.count:
                return part.offered
            place -= part.count
        raise AssertionError("every candidate is some domain's")

    def replayed(self) -> bool:
        """Decide once more from the same numbers and the same draw; says whether it comes to the same."""
        asked = self.asked
        names = [self.matched.names[int(at)] for at in self.kept]
        again = scores(asked.strategy, self.columns, asked.prefer, asked.key, names)
        return bool((again == self.scores).all()) and pick(again, self.chance) == self.at


class Router:
    """Decides for callers.

    Args:
        services: what the registry knows.
        plans: what callers are entitled to.
        draw: draws so many random bits.
    """

    def __init__(self, services: Services, plans: Plans, draw: Callable[[int], int]) -> None:
        self._services = services
        self._plans = plans
        self.draw = draw
        self._offered: dict[DomainId, Offered] = {}
        self._matches: OrderedDict[Hashable, Matched] = OrderedDict()
        self._books: OrderedDict[tuple[DomainId, str], SizeBook] = OrderedDict()
        self.epoch = 0

    def offered(self, domain: DomainId) -> Offered | None:
        """Return what a domain offers."""
        return self._offered.get(domain)

    def all_offered(self) -> Sequence[Offered]:
        """Return what every domain offers, for sums over all."""
        return tuple(self._offered.values())

    def put(self, domain: DomainId, service: str, instance_id: str, declared: Declared | None) -> None:
        """Take in what an instance offers now; None for nothing any more."""
        self.epoch += 1
        instance = self._services.instance(domain, service, instance_id)
        offered = self._offered.get(domain)
        if declared is None or instance is None:
            if offered is not None:
                offered.drop(service, instance_id)
            return
        if offered is None:
            offered = self._offered[domain] = Offered(domain)
        offered.put(service, instance_id, instance.endpoint, instance.zone, declared)
        offered.table.set_out(service, instance_id, out=not self._services.takes_work(domain, instance))

    def look_at(self, domain: DomainId, service: str, instance_id: str) -> None:
        """Take note that an instance may be healthier, sicker, draining or elsewhere than it was."""
        offered = self._offered.get(domain)
        rows = [] if offered is None else offered.table.rows_of(service, instance_id)
        instance = self._services.instance(domain, service, instance_id) if rows else None
        if offered is None or instance is None:
            return
        self.epoch += 1
        for row in rows:
            if row.endpoint != instance.endpoint or row.zone != instance.zone:
                declared = Declared(offerings=tuple(each.offering for each in rows), revision=0)
                offered.put(service, instance_id, instance.endpoint, instance.zone, declared)
                break
        offered.table.set_out(service, instance_id, out=not self._services.takes_work(domain, instance))

    def forget(self, domain: DomainId) -> None:
        """Forget a domain altogether."""
        self.epoch += 1
        self._offered.pop(domain, None)
        for key in [key for key in self._books if key[0] == domain]:
            del self._books[key]

    def book(self, ctx: TenantContext, work: str) -> SizeBook:
        """Return the sizes of one kind of a caller's work."""
        key = (ctx.domain, work)
        found = self._books.get(key)
        if found is None:
            found = self._books[key] = SizeBook()
            if len(self._books) > BOOKS_MAX:
                self._books.popitem(last=False)
        return found

    def visible(self, ctx: TenantContext, offered: Offered, services: Sequence[str] = ()) -> int:
        """Return the rows that a caller is entitled to; everything else it is told is a part of these."""
        table = offered.table
        hidden = 0
        for service, rows in table.words("service").items():
            if (services and service not in services) or not self._services.sees(ctx, offered.domain, service):
                hidden |= rows
        seen = table.there & ~hidden & ~table.bits("retired", EMPTY)
        tenant = ctx.tenant_id or ""
        seen &= ~table.bits("restricted", EMPTY) | table.bits("tenant", tenant)
        seen &= ~table.bits("denied", tenant)
        for feature, rows in table.words("plan-feature").items():
            if not self._plans.grants(ctx, feature):
                seen &= ~rows
        for tiers, rows in table.words("tiers").items():
            ranks = [self._plans.rank_of(tier) for tier in tiers.split(",")]
            known = [rank for rank in ranks if rank is not None]
            if not known or len(known) < len(ranks) or ctx.rank < min(known):
                seen &= ~rows
        return seen

    def seen(self, ctx: TenantContext, service: str, instance_id: str) -> list[Offering]:
        """Return what an instance offers a caller, without saying for whom else it is."""
        for offered in self.reachable(ctx):
            if self._services.sees(ctx, offered.domain, service):
                rows = rows_in(self.visible(ctx, offered, (service,)))
                return [
                    msgspec.structs.replace(row.offering, entitlement=None)
                    for row in offered.table.at(rows)
                    if row.instance_id == instance_id
                ]
        return []

    def matched(self, ctx: TenantContext, asked: Asked, now_ms: int) -> Matched:
        """Return who meets what hangs on offerings alone."""
        key = (ctx.domain, ctx.tier, ctx.legacy, asked.services, asked.wanted, self._granted(ctx))
        found = self._matches.get(key)
        if found is not None and found.epoch == self.epoch and 0 <= now_ms - found.at_ms < MATCH_KEPT_MS:
            return found
        found = self._matches[key] = self._match(ctx, asked, now_ms)
        self._matches.move_to_end(key)
        if len(self._matches) > MATCHES_MAX:
            self._matches.popitem(last=False)
        return found

    def decide(self, ctx: TenantContext, asked: Asked, now_s: float, now_ms: int) -> Decided | Matched:
        """Decide; returns the match alone when nobody is left.

        Args:
            ctx: who asks.
            asked: what for.
            now_s: seconds on the clock that never goes back.
            now_ms: wall time.
        """
        matched = self.matched(ctx, asked, now_ms)
        if not matched.rows:
            return matched
        sizes = self.book(ctx, asked.work).draws(asked.size, self.draw)
        return self.choose(asked, matched, sizes, _foreseen(ctx, matched, sizes, now_s)) or matched

    def choose(self, asked: Asked, matched: Matched, sizes: tuple[Size, ...], foreseen: Foreseen) -> Decided | None:
        """Choose among what matched, by what each is foreseen to give; None when nobody is left."""
        predicted = (foreseen.wait_s + foreseen.service_s)[:, None] * foreseen.ratios * 1_000
        size = mean_of(sizes)
        price = matched.prices[0] + matched.prices[1] * size[0] + matched.prices[2] * size[1]
        wanted = asked.wanted
        left = _left(matched, asked, price)
        if wanted.latency_max_ms:
            late = predicted[:, LEVELS.index(wanted.latency_level)] > wanted.latency_max_ms
            late = np.where(~foreseen.known, not wanted.latency_unknown_passes, late)
            left = ~late if left is None else left & ~late
        kept = np.arange(len(matched.rows)) if left is None else np.flatnonzero(left)
        if not len(kept):
            return None
        columns = Columns(
            cost_s=foreseen.cost_s[kept], load=(foreseen.in_flight / foreseen.slots)[kept], price=price[kept],
            quality=matched.quality[kept], outside=matched.outside_of(asked.prefer)[kept],
        )  # fmt: skip
        names = [matched.names[int(at)] for at in kept] if asked.strategy is Strategy.STICKY else ()
        found = scores(asked.strategy, columns, asked.prefer, asked.key, names)
        return Decided(
            asked=asked, matched=matched, sizes=sizes, foreseen=foreseen, predicted=predicted, columns=columns,
            kept=kept, found=found, chance=self.draw(16),
        )  # fmt: skip

    def _match(self, ctx: TenantContext, asked: Asked, now_ms: int) -> Matched:
        parts: list[Part] = []
        considered = 0
        excluded: dict[str, int] = {}
        left_out: list[tuple[Row, str]] = []

        def leave_out(table: Table, rows: int, reason: str) -> None:
            if rows:
                excluded[reason] = excluded.get(reason, 0) + rows.bit_count()
                shown = rows_in(rows)[: EXCLUDED_SHOWN_MAX - len(left_out)]
                left_out.extend((row, reason) for row in table.at(shown))

        for offered in self.reachable(ctx):
            table = offered.table
            seen = self.visible(ctx, offered, asked.services)
            considered += seen.bit_count()
            for predicate in asked.wanted.predicates:
                passing = seen & table.passing(predicate, (0.0, 0.0), now_ms)
                leave_out(table, seen & ~passing, predicate.field)
                seen = passing
            leave_out(table, seen & table.out, UNHEALTHY)
            parts.append(Part(offered, rows_in(seen & ~table.out)))
        matched = Matched(parts, asked.wanted, self.epoch, now_ms)
        matched.considered, matched.excluded, matched.left_out = considered, excluded, left_out
        return matched

    def _granted(self, ctx: TenantContext) -> tuple[bool, ...]:
        """Return which of the features that offerings ask for the caller's plan grants now: grants end by time."""
        return tuple(
            self._plans.grants(ctx, feature)
            for offered in self.reachable(ctx)
            for feature in offered.table.words("plan-feature")
        )

    def reachable(self, ctx: TenantContext) -> list[Offered]:
        """Return the domains that a caller's candidates can be in: its own, and the shared one."""
        domains = (ctx.domain,) if ctx.domain == SHARED or ctx.legacy else (ctx.domain, SHARED)
        return [offered for domain in domains if (offered := self._offered.get(domain)) is not None]


def mean_of(sizes: tuple[Size, ...]) -> Size:
    """Return the mean of sizes."""
    if len(sizes) == 1:
        return sizes[0]
    return sum(one[0] for one in sizes) / len(sizes), sum(one[1] for one in sizes) / len(sizes)


def _foreseen(ctx: TenantContext, matched: Matched, sizes: tuple[Size, ...], now_s: float) -> Foreseen:
    each = [part.offered.fleet.foresee(part.servers, part.kinds, sizes, now_s, ctx.domain) for part in matched.parts]
    return each[0] if len(each) == 1 else Foreseen(*(np.concatenate(columns) for columns in zip(*each, strict=True)))


def _left(matched: Matched, asked: Asked, price: Numbers) -> NDArray[np.bool_] | None:
    """Return who the request's size, price and avoided instances leave; None for everybody."""
    left: NDArray[np.bool_] | None = None
    masks: list[NDArray[np.bool_]] = []
    if asked.size is not None:
        masks += [~(most < units) for most, units in zip(matched.limits, asked.size, strict=True)]
    if asked.wanted.cost_max >= 0.0:
        masks.append(price <= asked.wanted.cost_max)
    if asked.avoid:
        masks.append(np.array([row.instance_id not in asked.avoid for row in matched.rows]))
    for mask in masks:
        left = mask if left is None else left & mask
    return left
