"""What would have to be asked less, when nobody meets everything that is asked. Pure.

Every offering that the caller sees is looked at for how many of the requirements it fails; those that fail the fewest
say which are the smallest changes, and to what.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Final

import numpy as np

from central_hub.kernel.context import TenantContext
from central_hub.routing.asking import Asked, Change, Relaxation
from central_hub.routing.calibration import LEVELS
from central_hub.routing.candidates import Offered
from central_hub.routing.constraints import LATENCY, AnyOf, Between, Holds, Predicate, sized
from central_hub.routing.deciding import UNHEALTHY, Router
from central_hub.routing.sizes import Size
from central_hub.routing.table import Row, bits_of, rows_in

TOGETHER_MAX: Final = 3
"""Requirements that are relaxed at one time."""
RELAXATIONS_MAX: Final = 5
WORDS_SHOWN_MAX: Final = 8
ROWS_LOOKED_AT_MAX: Final = 1_000
"""Offerings whose words are gathered for one change."""


class _Domain:
    """One domain's rows, as bits: who is seen, and who meets each requirement."""

    def __init__(self, offered: Offered, seen: int, passing: list[int]) -> None:
        self.offered = offered
        self.seen = seen
        self.passing = passing

    def without(self, left_out: tuple[int, ...]) -> int:
        """Return the rows that meet all requirements but these."""
        found = self.seen
        for at, rows in enumerate(self.passing):
            if at not in left_out:
                found &= rows
        return found


def relaxations(router: Router, ctx: TenantContext, asked: Asked, now_s: float, now_ms: int) -> list[Relaxation]:
    """Return the smallest changes of what is asked that leave a candidate, those with the most candidates first."""
    size = asked.size or (0.0, 0.0)
    predicates: list[Predicate] = [*asked.wanted.predicates, *sized(asked.wanted, size)]
    if asked.wanted.latency_max_ms:
        unknown = asked.wanted.latency_unknown_passes
        predicates.append(Between(LATENCY, LATENCY, 0.0, asked.wanted.latency_max_ms, unknown_passes=unknown))
    domains = [
        _looked_at(router, ctx, offered, asked, predicates, size, now_s, now_ms) for offered in router.reachable(ctx)
    ]
    for count in range(1, TOGETHER_MAX + 1):
        found: list[Relaxation] = []
        for left_out in combinations(range(len(predicates)), count):
            rows = [domain.without(left_out) for domain in domains]
            changes: list[Change] = []
            for at in left_out if any(rows) else ():
                change, rows = _changed(predicates[at], domains, rows, asked, size, now_s, now_ms)
                changes.append(change)
            if changes:
                found.append(Relaxation(changes=changes, candidates=sum(each.bit_count() for each in rows)))
        if found:
            return sorted(found, key=lambda one: -one.candidates)[:RELAXATIONS_MAX]
    return []


def excluded(router: Router, ctx: TenantContext, asked: Asked, now_s: float, now_ms: int) -> dict[str, int]:
    """Return how many offerings each reason leaves out, in the order in which reasons are looked at."""
    matched = router.matched(ctx, asked, now_ms)
    found = dict(matched.excluded)
    if matched.rows:
        found["size, price or latency"] = len(matched.rows)
    return {reason: count for reason, count in found.items() if count and reason != UNHEALTHY} | (
        {UNHEALTHY: found[UNHEALTHY]} if UNHEALTHY in found else {}
    )


def _looked_at(
    router: Router, ctx: TenantContext, offered: Offered, asked: Asked, predicates: list[Predicate], size: Size,
    now_s: float, now_ms: int,
) -> _Domain:  # fmt: skip
    table = offered.table
    seen = router.visible(ctx, offered, asked.services) & ~table.out
    if asked.avoid:
        places = rows_in(seen)
        avoided = np.array([row.instance_id in asked.avoid for row in table.at(places)], dtype=np.bool_)
        mask = np.zeros(len(table.servers), dtype=np.bool_)
        mask[places[avoided]] = True
        seen &= ~bits_of(mask)
    passing: list[int] = []
    for predicate in predicates:
        if isinstance(predicate, Between) and predicate.field == LATENCY:
            predicted = _predicted(offered, asked, size, now_s)
            mask = predicted <= predicate.most
            if predicate.unknown_passes:
                mask |= ~offered.fleet.known[table.kinds]
            passing.append(bits_of(mask) & table.there)
        else:
            passing.append(table.passing(predicate, size, now_ms))
    return _Domain(offered, seen, passing)


def _predicted(
    offered: Offered, asked: Asked, size: Size, now_s: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    table, fleet = offered.table, offered.fleet
    foreseen = fleet.foresee(table.servers, table.kinds, (size,), now_s)
    ratios = fleet.ratios[table.kinds, LEVELS.index(asked.wanted.latency_level)]
    return (foreseen.wait_s + foreseen.service_s) * ratios * 1_000


def _changed(
    predicate: Predicate, domains: list[_Domain], rows: list[int], asked: Asked, size: Size, now_s: float, now_ms: int
) -> tuple[Change, list[int]]:
    """Return the smallest change of one requirement that some of the rows meet, and the rows that meet it then."""
    match predicate:
        case AnyOf(field=field, words=words):
            return Change(field=field, asked=list(words), to=_words(domains, rows, _word_of(field))), rows
        case Holds(field=field, word=word):
            return Change(field=field, asked=[word], to=_words(domains, rows, _list_of(field))), rows
        case Between():
            pass
    columns = [
        _predicted(domain.offered, asked, size, now_s)
        if predicate.field == LATENCY
        else domain.offered.table.column(predicate, size, now_ms)
        for domain in domains
    ]
    numbers: list[float] = []
    for column, each in zip(columns, rows, strict=True):
        numbers += column[rows_in(each)].tolist()
    known = [number for number in numbers if number == number]  # what is not a number is unequal to itself
    above = [number for number in known if number > predicate.most]
    below = [number for number in known if number < predicate.least]
    if above:
        to = min(above)
        masks = [column <= to for column in columns]
    elif below:
        to = max(below)
        masks = [column >= to for column in columns]
    else:  # nobody says: only leaving it out helps
        return Change(field=predicate.field, asked=_asked(predicate)), rows
    left = [each & bits_of(mask) for each, mask in zip(rows, masks, strict=True)]
    return Change(field=predicate.field, asked=predicate.most if above else predicate.least, to=to), left


def _asked(predicate: Between) -> float:
    return predicate.most if predicate.least <= 0.0 else predicate.least


def _words(domains: list[_Domain], rows: list[int], words_of: Callable[[Row], tuple[str, ...]]) -> list[str] | None:
    found: dict[str, None] = {}
    for domain, each in zip(domains, rows, strict=True):
        for row in domain.offered.table.at(rows_in(each)[:ROWS_LOOKED_AT_MAX]):
            found.update(dict.fromkeys(word for word in words_of(row) if word))
    return sorted(found)[:WORDS_SHOWN_MAX] or None


def _word_of(field: str) -> Callable[[Row], tuple[str, ...]]:
    def word(row: Row) -> tuple[str, ...]:
        return (row.zone if field == "zone" else str(getattr(row.offering, field)),)

    return word


def _list_of(field: str) -> Callable[[Row], tuple[str, ...]]:
    def words(row: Row) -> tuple[str, ...]:
        found: tuple[str, ...] = getattr(row.offering, field)
        return found

    return words
