"""A log in memory, for tests and for embedding a hub that need not survive its process.

When it is "down" (`fail_with`) every append raises what it was told to. The adversary is a
callable that runs between decide and append and may write as another hub would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from central_hub.adapters.record_rows import without_gap
from central_hub.kernel.errors import HubError
from central_hub.kernel.expiring import ROW_BYTES, Expired, Gap, Standing, Terms, Weighed, chosen, joined
from central_hub.kernel.facts import Fact, encode_fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import (
    ChainCheck,
    ChainVerifier,
    DomainHead,
    ForeignWrites,
    Placement,
    store_unavailable,
)
from central_hub.kernel.ports import Append, Head, Idempotency, Sealer, Section, Unplaced, Verdict
from central_hub.kernel.records import GENESIS_HASH, HUB_ACTOR, Category, Record, associated_data

EXPIRED_AT_ONCE: Final = 1_000

Adversary = Callable[["MemoryLog", Sequence[Append]], None]


class MemoryLog:
    """The `Log` port over lists and dicts.

    Args:
        incarnation: which history it is.
        adversary: called before every append; see `write_as_another_hub`.
    """

    def __init__(self, *, incarnation: str = "memory", adversary: Adversary | None = None) -> None:
        self.records: list[Record] = []
        self.adversary = adversary
        self.fail_with: HubError | None = None
        self._incarnation = incarnation
        self._heads: dict[DomainId, DomainHead] = {}
        self._anchors: dict[DomainId, DomainHead] = {}
        self._gaps: dict[DomainId, list[Gap]] = {}
        self._pos = 0
        self._results: dict[Idempotency, bytes] = {}
        self._told: dict[tuple[DomainId, str], int] = {}
        self._foreign = ForeignWrites()
        self._closed = False

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        """Place the batch; see the port."""
        if self.adversary is not None:
            self.adversary(self, batch)
        if self.fail_with is not None:
            raise self.fail_with
        if self._closed:
            raise store_unavailable("closed")
        placement = Placement(self._pos, self._heads.get)
        verdicts = placement.judge(batch, self._foreign, self._results.get, self._was_told)
        self._keep(placement)
        return verdicts

    def write_as_another_hub(self, sealer: Sealer, domain: DomainId, fact: Fact, streams: tuple[str, ...]) -> None:
        """Append a fact that the hub under test has not seen."""
        name = type(fact).__name__
        record_id = f"foreign-{len(self.records)}"
        key_id, data = sealer.seal(domain, encode_fact(fact), associated_data(domain, record_id, name))
        one = Unplaced(
            domain=domain, streams=streams, category=Category.FACT, type=name, id=record_id, time_ms=0,
            actor=HUB_ACTOR, key_id=key_id, data=data,
        )  # fmt: skip
        placement = Placement(self._pos, self._heads.get)
        append = Append(records=(one,), reads=frozenset(), decided_at=self._pos)
        placement.judge([append], ForeignWrites(), self._results.get, self._was_told)
        self._keep(placement)
        self._foreign.note(self._pos, domain, streams)

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records after a position; see the port."""
        if not self.records or self.records[0].pos == 1 == self.records[-1].pos - len(self.records) + 1:
            return self.records[after : after + limit]
        return [record for record in self.records if record.pos > after][:limit]

    async def read_domain(self, domain: DomainId, after_seq: int, limit: int) -> list[Record]:
        """Return one domain's records after a position; see the port."""
        found = [record for record in self.records if record.domain == domain and record.domain_seq > after_seq]
        return without_gap(found[:limit])

    async def head(self) -> Head:
        """Return the end of the log."""
        return Head(pos=self._pos, incarnation=self._incarnation)

    async def lookup(self, key: Idempotency) -> bytes | None:
        """Return a first result; see the port."""
        return self._results.get(key)

    async def verify(self, domain: DomainId) -> ChainCheck:
        """Verify one domain's hash chain."""
        verifier = ChainVerifier(self._anchor(domain), self._gaps.get(domain, ()))
        verifier.check(record for record in self.records if record.domain == domain)
        return verifier.finish(self._heads.get(domain))

    async def retain(self, *, behind_pos: int, before_ms: int, results_before_ms: int, told_before_ms: int = 0) -> int:
        """Forget old names; keep everything else: a memory log ends with its process."""
        self._told = {name: at for name, at in self._told.items() if at >= told_before_ms}
        return 0

    async def expire(self, domain: DomainId, *, after_seq: int, behind_pos: int, terms: Terms) -> Expired:
        """Drop some of the oldest records of one domain; as the other stores do."""
        rows = [
            Standing(one.domain_seq, one.category.value, one.time_ms, one.prev_hash, one.hash, len(one.data))
            for one in self.records
            if one.domain == domain and one.domain_seq > after_seq and one.pos <= behind_pos
        ]
        done, runs = chosen(rows[:EXPIRED_AT_ONCE], terms)
        begun, rest = joined(self._anchor(domain)[0], self._gaps.get(domain, ()), runs)
        self._gaps[domain] = rest
        if begun is not None:
            self._anchors[domain] = (begun.last, begun.hash)
        left = {seq for run in runs for seq in range(run.first, run.last + 1)}
        self.records = [one for one in self.records if one.domain != domain or one.domain_seq not in left]
        return done

    async def horizon(self, domain: DomainId) -> int:
        """Return the last position of a domain at which a record has left, 0 for none."""
        return max(self._anchor(domain)[0], *(gap.last for gap in self._gaps.get(domain, ())), 0)

    async def weigh(self, after_pos: int, limit: int) -> Weighed:
        """Return what events among the next `limit` records take, by domain."""
        rows = [one for one in self.records if one.pos > after_pos][:limit]
        events = [one for one in rows if one.category is Category.EVENT]
        return Weighed(
            upto_pos=rows[-1].pos if rows else 0,
            event_bytes={
                domain: sum(len(one.data) + ROW_BYTES for one in events if one.domain == domain)
                for domain in {one.domain for one in events}
            },
        )

    async def close(self) -> None:
        """Refuse what comes later; what was written can still be read."""
        self._closed = True

    def _keep(self, placement: Placement) -> None:
        self.records.extend(placement.records)
        self._pos = placement.pos
        self._heads.update(placement.heads)
        self._results.update(placement.results)
        self._told.update(dict.fromkeys(placement.told, placement.records[-1].time_ms if placement.records else 0))

    def _anchor(self, domain: DomainId) -> DomainHead:
        return self._anchors.get(domain, (0, GENESIS_HASH))

    def _was_told(self, domain: DomainId, name: str) -> bool:
        return (domain, name) in self._told


class MemorySnapshots:
    """The `Snapshots` port over one variable."""

    def __init__(self) -> None:
        self._kept: tuple[int, str, list[Section]] | None = None

    async def save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> int:
        """Keep a snapshot, the only one."""
        self._kept = (pos, incarnation, list(sections))
        return pos

    async def load(self) -> tuple[int, str, list[Section]] | None:
        """Return the kept snapshot."""
        return self._kept
