"""Commands about a tenant's own types of events: describe one, take it away, and what becomes of the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from central_hub.events.model import (
    TYPES_STREAM,
    Compatibility,
    EventTypeRegistered,
    EventTypesPolicySet,
    TypeVersion,
    UnknownTypes,
)
from central_hub.events.ports import Access
from central_hub.events.rules import check_name, register, retire
from central_hub.events.validating import checked, inlined
from central_hub.events.view import EventsView, Versions
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import TENANT_STREAM

SOURCE: Final = "event-types"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A description of a type on its way in; `schema` is JSON."""

    type: str
    schema: object
    compatibility: Compatibility = Compatibility.BACKWARD
    description: str = ""


class OwnTypes:
    """Keeps what tenants say of their own types of events.

    Args:
        view: what they said.
        sequencer: makes facts durable.
        access: whether a caller still may.
    """

    def __init__(self, view: EventsView, sequencer: Sequencer, access: Access) -> None:
        self._view = view
        self._sequencer = sequencer
        self._access = access

    async def describe(
        self, ctx: TenantContext, domain: DomainId, wanted: Wanted, *, dry_run: bool = False, key: str | None = None
    ) -> tuple[int, bool]:
        """Give a type a schema, or a new version of it; saying the same again changes nothing.

        Returns:
            The number of the version, and whether it is new.

        Raises:
            HubError: `invalid_event_type`, `invalid_event_schema` (422), `incompatible_schema` (409), `limit_reached`
                (429).
        """
        name = check_name(wanted.type)
        text, schema = checked(wanted.schema)
        fact = EventTypeRegistered(
            type=name, version=0, schema=text, compatibility=wanted.compatibility, description=wanted.description
        )

        for one in self._view.types(domain).get(name, ()):
            inlined(one.schema)  # remembered, so that the decision is one short step
            await asyncio.sleep(0)

        def decided() -> EventTypeRegistered | None:
            versions = self._view.types(domain).get(name, ())
            before = {one.version: inlined(one.schema) for one in versions}
            return register(self._view, domain, fact, before, schema)

        if dry_run:
            made = decided()
            return (self._newest(domain, name), False) if made is None else (made.version, True)

        def decide(tx: Tx) -> tuple[int, bool]:
            self._begin(tx, ctx, domain)
            made = decided()
            if made is None:
                return self._newest(domain, name), False
            tx.append(domain, made, streams=(TYPES_STREAM,))
            return made.version, True

        named = None if key is None else Idempotency(domain=domain, source=f"{SOURCE}/{name}", id=key)
        committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=named)
        version, is_new = committed.answer
        return version, is_new

    async def retire(self, ctx: TenantContext, domain: DomainId, name: str) -> None:
        """Take a type's description away; done already is done. What was published of it stays."""

        def decide(tx: Tx) -> None:
            self._begin(tx, ctx, domain)
            fact = retire(self._view, domain, name)
            if fact is not None:
                tx.append(domain, fact, streams=(TYPES_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    async def set_policy(self, ctx: TenantContext, domain: DomainId, unknown: UnknownTypes) -> None:
        """Say what becomes of events of types that are not described."""

        def decide(tx: Tx) -> None:
            self._begin(tx, ctx, domain)
            if self._view.unknown(domain) is not unknown:
                tx.append(domain, EventTypesPolicySet(unknown=unknown), streams=(TYPES_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def policy(self, domain: DomainId) -> UnknownTypes:
        """Return what becomes of events of types that are not described."""
        return self._view.unknown(domain)

    def all(self, domain: DomainId) -> list[tuple[str, Versions]]:
        """Return a tenant's types, in order of name."""
        return sorted(self._view.types(domain).items())

    def find(self, domain: DomainId, name: str, version: int = 0) -> TypeVersion | None:
        """Return a version of a type, the newest without a number."""
        versions = self._view.types(domain).get(name, ())
        if not version:
            return versions[-1] if versions else None
        return next((one for one in versions if one.version == version), None)

    def _newest(self, domain: DomainId, name: str) -> int:
        return self._view.types(domain)[name][-1].version

    def _begin(self, tx: Tx, ctx: TenantContext, domain: DomainId) -> None:
        tx.touch(domain, TENANT_STREAM)
        tx.touch(domain, TYPES_STREAM)
        self._access.current(ctx)


def schema_of(version: TypeVersion) -> dict[str, object]:
    """Return a version's schema as it was sent in."""
    return msgspec.json.decode(version.schema, type=dict[str, object])
