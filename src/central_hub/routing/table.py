"""One domain's offerings as columns: bitsets for words, arrays for numbers. Pure.

A row is an offering of an instance. Every word of every field has a set of rows, kept as one integer with a bit a row,
so that a requirement is a handful of ANDs however many rows there are. Rows are reused when an instance has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central_hub.routing.constraints import COST, AnyOf, Between, Holds, Predicate
from central_hub.routing.model import EVIDENCE_RANK, Lifecycle, Offering
from central_hub.routing.sizes import Size

ROWS_FIRST: Final = 64
WORD_FIELDS: Final = ("task", "model", "version", "region", "hardware", "precision", "lifecycle")
LIST_FIELDS: Final = ("inputs", "outputs", "features", "data_sizes")
NUMBER_COLUMNS: Final = ("input_max", "output_max", "per_request", "per_input", "per_output")
EMPTY: Final = ""
"""The word of rows that list none."""

_NO_WORDS: Final[Mapping[str, int]] = {}

Numbers = NDArray[np.float64]
Rows = NDArray[np.intp]


class Row:
    """An offering of an instance, and the numbers it has in the fleet."""

    __slots__ = ("endpoint", "instance_id", "kind", "offering", "server", "service", "zone")

    def __init__(
        self, service: str, instance_id: str, endpoint: str, zone: str, offering: Offering, server: int, kind: int
    ) -> None:
        self.service = service
        self.instance_id = instance_id
        self.endpoint = endpoint
        self.zone = zone
        self.offering = offering
        self.server = server
        self.kind = kind


class _Metric:
    """One quality of all rows: value, weight of evidence, and until when."""

    __slots__ = ("evidence", "expires_ms", "value")

    def __init__(self, size: int) -> None:
        self.value = np.full(size, np.nan)
        self.evidence = np.zeros(size)
        self.expires_ms = np.full(size, np.inf)


class Table:
    """Offerings of one domain."""

    def __init__(self) -> None:
        self.rows: list[Row | None] = []
        self.servers: Rows = np.zeros(ROWS_FIRST, dtype=np.intp)
        self.kinds: Rows = np.zeros(ROWS_FIRST, dtype=np.intp)
        self.there = 0
        """All rows that are taken."""
        self.out = 0
        """Those of them whose instance takes no new work."""
        self._bits: dict[str, dict[str, int]] = {}
        self.numbers = {name: np.full(ROWS_FIRST, np.nan) for name in NUMBER_COLUMNS}
        self._metrics: dict[str, _Metric] = {}
        self._of_instance: dict[tuple[str, str], list[int]] = {}
        self._unused: list[int] = []

    def put(self, rows: list[Row]) -> None:
        """Take in an instance's rows; it has none yet."""
        self._of_instance[rows[0].service, rows[0].instance_id] = [self._put(row) for row in rows]

    def drop(self, service: str, instance_id: str) -> list[Row]:
        """Let an instance's rows go; returns them."""
        return [self._drop(at) for at in self._of_instance.pop((service, instance_id), ())]

    def rows_of(self, service: str, instance_id: str) -> list[Row]:
        """Return an instance's rows."""
        return [row for at in self._of_instance.get((service, instance_id), ()) if (row := self.rows[at]) is not None]

    def at(self, places: Rows) -> list[Row]:
        """Return the offerings of rows, in their order."""
        numbers: list[int] = places.tolist()
        return [row for number in numbers if (row := self.rows[number]) is not None]

    def set_out(self, service: str, instance_id: str, *, out: bool) -> None:
        """Say whether an instance takes no new work."""
        for at in self._of_instance.get((service, instance_id), ()):
            self.out = self.out | 1 << at if out else self.out & ~(1 << at)

    def bits(self, field: str, word: str) -> int:
        """Return the rows that have a word in a field."""
        return self._bits.get(field, _NO_WORDS).get(word, 0)

    def words(self, field: str) -> Mapping[str, int]:
        """Return the words of a field that some row has, with their rows."""
        return self._bits.get(field, _NO_WORDS)

    def passing(self, predicate: Predicate, size: Size, now_ms: int) -> int:
        """Return the rows that meet a requirement."""
        match predicate:
            case AnyOf(field=field, words=words):
                found = 0
                for word in words:
                    found |= self.bits(field, word)
                return found
            case Holds(field=field, word=word, empty_is_all=empty):
                return self.bits(field, word) | (self.bits(field, EMPTY) if empty else 0)
            case Between():
                value = self.column(predicate, size, now_ms)
                mask = (value >= predicate.least) & (value <= predicate.most)
                if predicate.unknown_passes:
                    mask |= np.isnan(value)
                return bits_of(mask) & self.there

    def column(self, predicate: Between, size: Size, now_ms: int) -> Numbers:
        """Return the number that a bound is about, of every row; unknown is not a number."""
        if predicate.field == COST:
            return self.costs(size)
        if predicate.field in NUMBER_COLUMNS:
            return self.numbers[predicate.field]
        return self.quality(predicate.column, now_ms, EVIDENCE_RANK[predicate.evidence])

    def costs(self, size: Size) -> Numbers:
        """Return what a request of a size costs at every row; unknown is not a number."""
        numbers = self.numbers
        return numbers["per_request"] + numbers["per_input"] * size[0] + numbers["per_output"] * size[1]

    def quality(self, metric: str, now_ms: int, evidence: int = 0) -> Numbers:
        """Return a quality of every row by that much evidence; what is unknown or has expired is not a number."""
        known = self._metrics.get(metric)
        if known is None:
            return np.full(len(self.servers), np.nan)
        return np.where((known.evidence >= evidence) & (known.expires_ms > now_ms), known.value, np.nan)

    def metrics(self) -> list[str]:
        """Return the names of all qualities that some row has or had."""
        return sorted(self._metrics)

    def _put(self, row: Row) -> int:
        at = self._unused.pop() if self._unused else len(self.rows)
        if at == len(self.rows):
            self.rows.append(None)
            if at >= len(self.servers):
                self._grow()
        self.rows[at] = row
        self.servers[at], self.kinds[at] = row.server, row.kind
        bit = 1 << at
        self.there |= bit
        for field, word in _words_of(row):
            words = self._bits.setdefault(field, {})
            words[word] = words.get(word, 0) | bit
        offering, cost = row.offering, row.offering.cost
        for name, number in (
            ("input_max", offering.input_max), ("output_max", offering.output_max),
            ("per_request", None if cost is None else cost.per_request),
            ("per_input", None if cost is None else cost.per_input),
            ("per_output", None if cost is None else cost.per_output),
        ):  # fmt: skip
            self.numbers[name][at] = np.nan if number is None else number
        for quality in offering.quality:
            metric = self._metrics.get(quality.metric)
            if metric is None:
                metric = self._metrics[quality.metric] = _Metric(len(self.servers))
            # Said twice of the same metric, the one with more evidence holds, and of those the lower.
            rank = EVIDENCE_RANK[quality.evidence]
            known = not np.isnan(metric.value[at])
            if not known or (rank, -quality.value) > (metric.evidence[at], -metric.value[at]):
                metric.value[at], metric.evidence[at] = quality.value, rank
                metric.expires_ms[at] = quality.expires_at_ms or np.inf
        return at

    def _drop(self, at: int) -> Row:
        row = self.rows[at]
        assert row is not None
        rest = ~(1 << at)
        self.rows[at] = None
        self.there &= rest
        self.out &= rest
        for field, word in _words_of(row):
            words = self._bits[field]
            words[word] &= rest
            if not words[word]:
                del words[word]
        for column in self.numbers.values():
            column[at] = np.nan
        for quality in row.offering.quality:
            metric = self._metrics[quality.metric]
            metric.value[at], metric.evidence[at], metric.expires_ms[at] = np.nan, 0.0, np.inf
        self._unused.append(at)
        return row

    def _grow(self) -> None:
        self.servers = np.concatenate((self.servers, np.zeros_like(self.servers)))
        self.kinds = np.concatenate((self.kinds, np.zeros_like(self.kinds)))
        for name, column in self.numbers.items():
            self.numbers[name] = np.concatenate((column, np.full_like(column, np.nan)))
        for metric in self._metrics.values():
            metric.value = np.concatenate((metric.value, np.full_like(metric.value, np.nan)))
            metric.evidence = np.concatenate((metric.evidence, np.zeros_like(metric.evidence)))
            metric.expires_ms = np.concatenate((metric.expires_ms, np.full_like(metric.expires_ms, np.inf)))


def rows_in(bits: int) -> Rows:
    """Return the rows of a set, in order."""
    if not bits:
        return np.zeros(0, dtype=np.intp)
    raw = np.frombuffer(bits.to_bytes((bits.bit_length() + 7) // 8, "little"), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(raw, bitorder="little"))


def bits_of(mask: NDArray[np.bool_]) -> int:
    """Return the set of rows whose element is true."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def _words_of(row: Row) -> Iterable[tuple[str, str]]:
    offering = row.offering
    yield ("service", row.service)
    yield ("zone", row.zone)
    for field in WORD_FIELDS:
        yield (field, str(getattr(offering, field)))
    for field in LIST_FIELDS:
        words: tuple[str, ...] = getattr(offering, field)
        yield from ((field, word) for word in set(words) or (EMPTY,))
    if offering.lifecycle is Lifecycle.RETIRED:
        yield ("retired", EMPTY)
    asked = offering.entitlement
    if asked is None:
        return
    if asked.tenants:
        yield ("restricted", EMPTY)
        yield from (("tenant", tenant) for tenant in set(asked.tenants))
    yield from (("denied", tenant) for tenant in set(asked.denied))
    yield from (("plan-feature", feature) for feature in set(asked.features))
    if asked.tiers:
        yield ("tiers", ",".join(sorted(set(asked.tiers))))
