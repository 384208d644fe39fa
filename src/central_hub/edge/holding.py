"""Connections that are not read for a while: what a client sends that was told to wait, and did not.

A refusal by the hub's own limits tells a connection to wait until `Retry-After`. What arrives on it
before that, from the same caller, is left where it is: the packet that showed it is kept, reading
stops, and both go on when the time is up. The hub spends next to nothing on it meanwhile.

Nobody else is kept waiting. A packet that carries another credential is not held, so a proxy may
send another caller's request over the same connection; and while a request is held its answer is
outstanding, so no client and no proxy puts another request behind it. What came through a proxy
that says so, and callers who speak for many tenants, are never held: their connections are few,
and others depend on them. They are refused each time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from central_hub.edge.shares import HubBusy, Share
from central_hub.kernel.context import PrincipalKind, TenantContext

HOLD_S_MAX: Final = 10.0
"""Longest time a connection is not read, whatever Retry-After says: a hub that stops waits no longer than that."""
HELD_BYTES_MAX: Final = 33_554_432
"""What all held connections together may have sent; one that would pass this is closed."""
FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
"""Headers by which a proxy says that it is one."""

_AUTHORIZATION: Final = b"authorization"
_HEAD_END: Final = b"\r\n\r\n"
_HEARTBEAT: Final = re.compile(rb"PUT /services/[^ ?]{1,200}/heartbeat |POST /services/heartbeats ")

_NOBODY: Final[frozenset[str]] = frozenset()

Lines = Sequence[tuple[bytes, bytes]]


class Ledger:
    """What is held on all connections together."""

    __slots__ = ("bytes", "closed", "connections", "holds")

    def __init__(self) -> None:
        self.connections = 0
        self.bytes = 0
        self.holds = 0
        self.closed = 0


class Hold:
    """How long a caller was told to wait, and how to tell that it is the same one.

    Args:
        seconds: until `Retry-After`, `HOLD_S_MAX` at most.
        credential: what it sent as its authorization; empty for nothing.
        ledger: where what is held is counted.
        share: whose it is, when that was proven.
    """

    __slots__ = ("_taken", "credential", "ledger", "seconds", "share")

    def __init__(self, seconds: float, credential: bytes, ledger: Ledger, share: Share | None) -> None:
        self.seconds = seconds
        self.credential = credential
        self.ledger = ledger
        self.share = share
        self._taken = -1

    def concerns(self, packet: bytes) -> bool:
        """Say whether a packet is a request's beginning, of the same caller, and came straight from it.

        A heartbeat is not: it is not counted, so nobody who waits as told has to wait with it.
        """
        end = packet.find(_HEAD_END)
        if end < 0 or _HEARTBEAT.match(packet):
            return False
        given = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in packet[:end].split(b"\r\n")[1:])
        ]
        return self.is_of(given)

    def is_of(self, headers: Lines) -> bool:
        """Say whether header lines, names in lower case, are those of the same caller, straight from it."""
        return credential_of(headers) == self.credential and not is_forwarded(headers)

    def begin(self, size: int) -> bool:
        """Count a connection as held with that many bytes; False when there is no room for them."""
        ledger = self.ledger
        if ledger.bytes + size > HELD_BYTES_MAX:
            ledger.closed += 1
            return False
        if self._taken < 0:
            self._taken = 0
            ledger.connections += 1
            ledger.holds += 1
            if self.share is not None:
                self.share.held += 1
        self._taken += size
        ledger.bytes += size
        return True

    def end(self) -> None:
        """Count it as held no more."""
        if self._taken < 0:
            return
        self.ledger.connections -= 1
        self.ledger.bytes -= self._taken
        self._taken = -1
        if self.share is not None:
            self.share.held -= 1


def credential_of(headers: Lines) -> bytes:
    """Return what was sent as authorization; empty for nothing, and for more than one."""
    found = [value for name, value in headers if name == _AUTHORIZATION]
    return found[0] if len(found) == 1 else b""


def is_forwarded(headers: Lines) -> bool:
    """Say whether a proxy says that it sent this for someone else."""
    return any(name in FORWARDED for name, _ in headers)


def hold_of(
    error: HubBusy, headers: Lines, ctx: TenantContext | None, ledger: Ledger, *, unproven: bool = False
) -> Hold | None:
    """Return how a refused caller's connection is to be held; None where it may carry others' requests.

    Args:
        error: the refusal.
        headers: the refused request's.
        ctx: who asked, if that was proven.
        ledger: where what is held is counted.
        unproven: whether that was tried and failed, so that the request spoke for nobody.
    """
    if is_forwarded(headers) or not (unproven or (ctx is not None and _speaks_for_one(ctx))):
        return None
    return Hold(min(HOLD_S_MAX, float(error.retry_after_s or 0)), credential_of(headers), ledger, error.share)


def _speaks_for_one(ctx: TenantContext) -> bool:
    principal = ctx.principal
    if principal.kind is PrincipalKind.ANONYMOUS:
        return True
    return principal.kind is PrincipalKind.KEY and principal.home == ctx.tenant_id and principal.assertable == _NOBODY
