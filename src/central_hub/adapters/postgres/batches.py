"""Records on their way into the tables and out of them: whose rows, columns as arrays, rows decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from central_hub.adapters.postgres.connection import Row
from central_hub.adapters.postgres.session import EVERY_DOMAIN
from central_hub.adapters.record_rows import COLUMNS, Rows, decoded
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.placing import Placement
from central_hub.kernel.ports import Append
from central_hub.kernel.records import Record

HERE_MAX: Final = 128
"""Records placed or decoded without a thread: a millisecond of the event loop at most."""


def domains_of(batch: Sequence[Append]) -> str:
    """Return the domains that a batch writes, as a transaction names them."""
    domains = {record.domain for append in batch for record in append.records}
    domains.update(append.idempotency.domain for append in batch if append.idempotency is not None)
    assert not any("," in domain or domain == EVERY_DOMAIN for domain in domains)
    return ",".join(sorted(domains))


def columns_of(placement: Placement, row_maker: Rows) -> list[object]:
    """Return the values of the statement `append`, in order."""
    records, heads, results = placement.records, placement.heads, placement.results
    columns: list[object] = list(zip(*row_maker.of(records), strict=True)) if records else [()] * COLUMNS
    ends = [(domain, *end) for domain, end in heads.items()]
    firsts = [(key.domain, key.source, key.id, result) for key, result in results.items()]
    columns += list(zip(*ends, strict=True)) if ends else [()] * 3
    columns += list(zip(*firsts, strict=True)) if firsts else [()] * 4
    names = list(zip(*placement.told, strict=True)) if placement.told else [()] * 2
    return [*columns, records[-1].time_ms if records else 0, placement.pos, *names]


async def records_of(rows: list[Row]) -> list[Record]:
    """Return the records of rows.

    Raises:
        HubError: `unreadable_record` when one does not decode.
    """
    records, broken = decoded(rows) if len(rows) <= HERE_MAX else await asyncio.to_thread(decoded, rows)
    if broken:
        raise HubError(
            "unreadable_record",
            Kind.INTERNAL,
            "A stored record does not decode: its row was altered.",
            next_step="Verify the domain's chain; restore from a backup.",
        )
    return records
