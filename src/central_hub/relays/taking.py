"""Takes events from brokers into one tenant's log: what a broker holds is acknowledged when it is recorded, not before.

The operator says whose events they are; an event that names another tenant is refused. What comes twice is recorded
once: by the event's source and id, or where it brings none by its place in the broker. An event that can never be
recorded is passed over and counted, so that it holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from central_hub.events.envelope import Given, read
from central_hub.events.usecases import Publishing
from central_hub.kernel.brokers import Received
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId, TenantId
from central_hub.relays.model import Relay

TOGETHER: Final = 64
"""Events that are under way to the log at once."""
CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = "application/cloudevents+json"

_FOR_GOOD: Final = frozenset({Kind.MALFORMED, Kind.TOO_LARGE, Kind.INVALID, Kind.UNSUPPORTED})
_FOREIGN: Final = frozenset({"tenant_mismatch"})

_log = structlog.get_logger("central_hub.relays")


class Bindings(Protocol):
    """Which tenants events may be taken for."""

    def context(self, domain: DomainId, principal: Principal) -> TenantContext:
        """Return what events of a tenant are recorded under.

        Raises:
            HubError: `tenant_not_found` (404), `tenant_suspended`, `tenant_deleted` (403).
        """
        ...


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of events from a broker."""

    accepted: int
    known: int
    refused: int


class Taking:
    """Records events from brokers.

    Args:
        publishing: makes events records.
        bindings: which tenants there are.
    """

    def __init__(self, publishing: Publishing, bindings: Bindings) -> None:
        self._publishing = publishing
        self._bindings = bindings

    async def take(self, relay: Relay, received: Sequence[Received]) -> Taken:
        """Record events; returns when all of them are durable or were passed over.

        Raises:
            HubError: they cannot be recorded now (`store_unavailable`, `tenant_suspended`, …): take them again later.
        """
        principal = Principal(
            id=f"relay:{relay.name}", kind=PrincipalKind.GATEWAY, home=DomainId(relay.settings.into),
            scopes=frozenset(),
        )  # fmt: skip
        ctx = self._bindings.context(DomainId(relay.settings.into), principal)
        accepted = known = refused = 0
        for start in range(0, len(received), TOGETHER):
            part = received[start : start + TOGETHER]
            results = await asyncio.gather(*(self._one(ctx, relay, one) for one in part), return_exceptions=True)
            for one, result in zip(part, results, strict=True):
                if isinstance(result, HubError) and (result.kind in _FOR_GOOD or result.code in _FOREIGN):
                    refused += 1
                    _log.warning("relays.event_refused", relay=relay.name, code=result.code, position=one.position)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    accepted += result
                    known += not result
        return Taken(accepted=accepted, known=known, refused=refused)

    async def _one(self, ctx: TenantContext, relay: Relay, received: Received) -> int:
        """Record one event; returns how many were new."""
        key = f"{relay.id}.{received.position}"
        return (await self._publishing.publish(ctx, given_of(received), key=key)).accepted


def given_of(received: Received) -> list[Given]:
    """Read a broker's message as an event: structured, or with its attributes in headers.

    Raises:
        HubError: `invalid_event`, `invalid_body` (422), `unsupported_media_type` (415).
    """
    headers = {name: value for name, value in received.headers if name == CONTENT_TYPE or name.startswith("ce-")}
    if not any(name.startswith("ce-") for name in headers):
        headers = {CONTENT_TYPE: STRUCTURED}
    return read(received.body, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()])


def tenant_context(domain: DomainId, principal: Principal, *, tier: str, rank: int) -> TenantContext:
    """Return the context of a relay's events."""
    return TenantContext(principal=principal, tenant_id=TenantId(domain), tier=tier, rank=rank)
