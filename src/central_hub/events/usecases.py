"""Publishing: a service's events become records of its tenant's log, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from central_hub.events.envelope import Given, published
from central_hub.events.model import BATCH_MAX, DECIDED_AT_ONCE, EVENT_STREAM, EventPublished
from central_hub.events.ports import Access
from central_hub.events.validating import Validating
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import EventTypes
from central_hub.kernel.records import Category as RecordCategory
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import TENANT_STREAM

_SEPARATOR: Final = "\n"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of published events: how many were new, how many known, and the domain's position then."""

    accepted: int
    duplicates: int
    seq: int


class Publishing:
    """Publishes events.

    Args:
        sequencer: makes them durable.
        access: whether a caller still may.
        types: what services report is held against its shape.
        validating: what is of a tenant's own types is held against those.
    """

    def __init__(self, sequencer: Sequencer, access: Access, types: EventTypes, validating: Validating) -> None:
        self._sequencer = sequencer
        self._access = access
        self._reported = types.reported
        self._validating = validating
        self.accepted = 0
        self.duplicates = 0

    async def publish(self, ctx: TenantContext, given: Sequence[Given], *, key: str | None = None) -> Outcome:
        """Publish events in order: all are accepted, or refused; those that were published before are passed over.

        Args:
            ctx: whose they are.
            given: at most `BATCH_MAX`.
            key: idempotency key; it names those events that bring no id of their own.

        Raises:
            HubError: `invalid_event`, `invalid_event_data`, `undescribed_event_type` (422), `event_too_large`,
                `batch_too_large` (413), `tenant_mismatch` (403).
        """
        if len(given) > BATCH_MAX:
            raise HubError(
                "batch_too_large", Kind.TOO_LARGE, f"A batch has at most {BATCH_MAX} events.", next_step="Split it."
            )
        one = len(given) == 1
        facts = [
            published(event, extensions, ctx.tenant_id, where=-1 if one else at, reported=self._reported)
            for at, (event, extensions) in enumerate(given)
        ]
        for at, fact in enumerate(facts):
            if fact.type not in self._reported:
                self._validating.check(ctx.domain, fact, -1 if one else at)
        if key is not None:
            facts = [fact if fact.id else _named(fact, f"{key}.{at}") for at, fact in enumerate(facts)]
        accepted = seq = 0
        for start in range(0, len(facts), DECIDED_AT_ONCE):
            if start:
                await asyncio.sleep(0)  # others have their turn in between
            written, seq = await self._append(ctx, facts[start : start + DECIDED_AT_ONCE])
            accepted += written
        self.accepted += accepted
        self.duplicates += len(facts) - accepted
        return Outcome(accepted=accepted, duplicates=len(facts) - accepted, seq=seq)

    async def _append(self, ctx: TenantContext, facts: Sequence[EventPublished]) -> tuple[int, int]:
        domain = ctx.domain

        def decide(tx: Tx) -> None:
            tx.touch(domain, TENANT_STREAM)
            self._access.current(ctx)
            for fact in facts:
                tx.append(
                    domain, fact, streams=(_stream(fact),), category=RecordCategory.EVENT,
                    once=f"{fact.source}{_SEPARATOR}{fact.id}" if fact.id else "",
                )  # fmt: skip

        committed = await self._sequencer.submit(ctx.actor, (domain,), decide)
        return committed.written, committed.seq.get(domain, 0)


def _stream(fact: EventPublished) -> str:
    return f"{EVENT_STREAM}/{fact.subject or fact.source}"


def _named(fact: EventPublished, name: str) -> EventPublished:
    return msgspec.structs.replace(fact, id=name)
