"""Following a domain's chain through a store, page by page, over what retention has removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from central_hub.adapters.record_rows import decoded
from central_hub.kernel.expiring import Gap
from central_hub.kernel.ids import DomainId
from central_hub.kernel.placing import ChainCheck, ChainVerifier, DomainHead
from central_hub.kernel.records import GENESIS_HASH

VERIFY_PAGE: Final = 1_000

Rows = Sequence[Any]  # Any: rows of a driver
Ask = Callable[[DomainId, str, tuple[object, ...]], Awaitable[Rows]]
"""Asks a named query about a domain."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One domain's chain in a store.

    Args:
        domain: whose.
        ask: asks the store.
        head_of: where the chain has to end, as the writer knows it.
    """

    domain: DomainId
    ask: Ask
    head_of: Callable[[DomainId], DomainHead | None]

    async def verify(self) -> ChainCheck:
        """Verify it from where retention cut it to its head."""
        while True:
            before = (await self._anchor(), await self._gaps())
            found = await self._follow(*before)
            # Retention may have cut the chain while it was read: then what is missing was dropped.
            if found.broken_at is None or await self._is_as_it_was(before):
                return found

    async def _is_as_it_was(self, before: tuple[DomainHead, list[Gap]]) -> bool:
        return (await self._anchor(), await self._gaps()) == before

    async def _anchor(self) -> DomainHead:
        rows = await self.ask(self.domain, "anchor", (self.domain,))
        return (rows[0][0], bytes(rows[0][1])) if rows else (0, GENESIS_HASH)

    async def _gaps(self) -> list[Gap]:
        rows: Iterable[Any] = await self.ask(self.domain, "gaps_of", (self.domain,))  # Any: a driver's row
        return [Gap(row[0], row[1], bytes(row[2]), bytes(row[3])) for row in rows]

    async def _follow(self, anchor: DomainHead, gaps: list[Gap]) -> ChainCheck:
        verifier = ChainVerifier(anchor, gaps)
        head = self.head_of(self.domain)
        after = anchor[0]
        while True:
            rows = await self.ask(self.domain, "read_domain", (self.domain, after, VERIFY_PAGE))
            records, broken = decoded(rows)
            if head is not None:
                records = [record for record in records if record.domain_seq <= head[0]]
            verifier.check(records)
            if broken:
                verifier.unreadable()
            if broken or not records:
                return verifier.finish(head)
            after = records[-1].domain_seq
