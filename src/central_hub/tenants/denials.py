"""Refusals: counted, journaled once per (caller, code, minute), and explained by a sealed token.

A decision id holds what there is to say about one refusal, sealed under the hub's own key: it
can be explained later to those allowed to see it, and costs no storage.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import AccessDenied

MINUTE_MS: Final = 60_000
FLUSH_EVERY_S: Final = 5.0
WAITING_MAX: Final = 10_000
"""Distinct (caller, code, minute) waiting to be journaled; past this they are only counted."""

NONCE_BYTES: Final = 12
DECISION_LENGTH_MAX: Final = 1_024
_ASSOCIATED: Final = b"decision"
_OVERFLOW: Final = "overflow"


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a refusal, or another answer that can be explained, was: to whom, for what, and why."""

    code: str
    message: str
    operation: str
    at: str
    principal: str
    principal_kind: str
    tenant_id: str = ""
    tier: str = ""
    next: str = ""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    domain: str
    decision: Decision


class _Reason(msgspec.Struct, frozen=True):
    """One record a minute is written for each; `who` is the principal, or the network of nobody."""

    domain: DomainId
    code: str
    who: str
    minute_ms: int


@dataclass(slots=True)
class _Tally:
    operation: str
    caller: str
    network: str
    count: int = 0


class DenialLog:
    """Implements the edge's `Denials`.

    Args:
        key: the hub's own 32 bytes for decision ids.
        sequencer: journals.
        clock: wall time.
        random: source of nonces.
    """

    def __init__(self, key: bytes, sequencer: Sequencer, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._cipher = AESGCM(key)
        self._sequencer = sequencer
        self._clock = clock
        self._random = random
        self._waiting: dict[_Reason, _Tally] = {}
        self.counted: Counter[str] = Counter()

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        """Note a refusal; see the port."""
        self.counted[error.code] += 1
        now_ms = self._clock.now_ms()
        known = ctx is not None and ctx.principal.kind is not PrincipalKind.ANONYMOUS
        domain = _concerned(ctx) if ctx is not None and known else PLATFORM
        caller = ctx.principal.id if ctx is not None and known else ""
        reason = _Reason(domain, error.code, caller or origin, now_ms - now_ms % MINUTE_MS)
        tally = self._waiting.get(reason)
        if tally is None and len(self._waiting) < WAITING_MAX:
            tally = self._waiting[reason] = _Tally(operation, caller, origin)
        if tally is not None:
            tally.count += 1
        else:
            self.counted[_OVERFLOW] += 1
        decision = Decision(
            code=error.code,
            message=error.message,
            operation=operation,
            at=rfc3339(now_ms),
            principal=caller or "anonymous",
            principal_kind=ctx.principal.kind.value if ctx is not None else "",
            tenant_id=ctx.tenant_id or "" if ctx is not None else "",
            tier=ctx.tier if ctx is not None else "",
            next=error.next_step,
        )
        return self._sealed(domain, decision)

    def seal(self, ctx: TenantContext, *, code: str, message: str, operation: str, next_step: str = "") -> str:
        """Return a decision id for an answer that refuses nothing, so that it can be referred to and explained.

        Args:
            ctx: who asked; the decision is about its tenant, and that tenant can have it explained.
            code: what was decided.
            message: one sentence that says why.
            operation: by which operation.
            next_step: what the caller can do about it.
        """
        decision = Decision(
            code=code,
            message=message,
            operation=operation,
            at=rfc3339(self._clock.now_ms()),
            principal=ctx.principal.id,
            principal_kind=ctx.principal.kind.value,
            tenant_id=ctx.tenant_id or "",
            tier=ctx.tier,
            next=next_step,
        )
        return self._sealed(ctx.domain, decision)

    def explain(self, ctx: TenantContext, decision_id: str) -> Decision:
        """Return what a decision id says, to the domain it concerns or the platform.

        Raises:
            HubError: `decision_not_found` (404), for a foreign one too.
        """
        try:
            raw = base64.urlsafe_b64decode(decision_id[:DECISION_LENGTH_MAX] + "=" * (-len(decision_id) % 4))
            plain = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _ASSOCIATED)
        except (InvalidTag, ValueError, binascii.Error):
            raise _not_found() from None
        sealed = msgspec.msgpack.decode(plain, type=_Sealed)
        if not _may_see(ctx, sealed.domain):
            raise _not_found()
        return sealed.decision

    async def run(self) -> None:
        """Journal what has waited for its minute to end, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                await self.flush(before_ms=self._clock.now_ms() - MINUTE_MS)
            except HubError:
                continue  # the store does not take writes: they wait for the next round

    async def flush(self, *, before_ms: int) -> int:
        """Journal every minute that began before `before_ms`; returns how many records were written."""
        due = [reason for reason in self._waiting if reason.minute_ms <= before_ms]
        for reason in due:
            tally = self._waiting[reason]
            fact = AccessDenied(
                code=reason.code,
                operation=tally.operation,
                caller=tally.caller,
                network=tally.network,
                minute_ms=reason.minute_ms,
                count=tally.count,
            )
            try:
                await self._sequencer.submit(HUB_ACTOR, (reason.domain,), _journal(reason.domain, fact))
            except HubError as error:
                if error.code != "unreadable_record":  # the tenant was shredded since: nothing of it is kept
                    raise
            del self._waiting[reason]
        return len(due)

    def _sealed(self, domain: DomainId, decision: Decision) -> str:
        drawn = self._random(NONCE_BYTES)
        # Its first bit is 0, so that an id begins with a letter and no command takes it for an option.
        nonce = bytes((drawn[0] & 0x7F,)) + drawn[1:]
        plain = msgspec.msgpack.encode(_Sealed(domain, decision))
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, plain, _ASSOCIATED)).rstrip(b"=").decode()


def _journal(domain: DomainId, fact: AccessDenied) -> Callable[[Tx], None]:
    def decide(tx: Tx) -> None:
        tx.append(domain, fact, streams=("denials",), category=Category.AUDIT)

    return decide


def _concerned(ctx: TenantContext) -> DomainId:
    """Return whose trail a refusal belongs to: the tenant's that was acted for, but an operator's to the platform."""
    if ctx.tenant_id is not None and not ctx.principal.holds(SCOPE_PLATFORM_ADMIN):
        return ctx.domain
    return ctx.principal.home or PLATFORM


def _may_see(ctx: TenantContext, domain: str) -> bool:
    """Say whether a caller may be told of a refusal: for a tenant its own, for the platform those it may speak for."""
    if ctx.tenant_id is not None:
        return ctx.domain == domain
    principal = ctx.principal
    return principal.home == PLATFORM and (
        domain == PLATFORM or principal.assertable is None or domain in principal.assertable
    )


def _not_found() -> HubError:
    return HubError(
        "decision_not_found",
        Kind.NOT_FOUND,
        "There is no such decision.",
        next_step="Pass the decision_id of a refusal whole, with a credential of the same tenant.",
    )
