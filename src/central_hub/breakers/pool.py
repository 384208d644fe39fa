"""What all tenants' calls to a service say together, so that a tenant that rarely calls need not find out itself. Pure.

    heard     each tenant once in 100 ms at most, whatever its outcome, and when its own breaker opens
    kept      the last 6 outcomes of each of the 64 tenants that were heard last; of one that was silent for 10 s
              those since then
    judged    at a failure, over the tenants heard within 1, 3 and 10 s: with the one tenant left out that failed
              most, do the others fail more often than every other call, even at the lower end of a 98 % interval?

Leaving out the tenant that failed most is the wall between tenants: whatever one of them sends, and however often,
nothing opens for another by it alone. A connection that nobody accepted is no tenant's doing and is never left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from central_hub.breakers.bounds import failures_needed
from central_hub.breakers.leases import Leases
from central_hub.breakers.model import (
    ENDPOINT_CONFIDENCE,
    ENDPOINT_OPEN_S,
    ENDPOINT_PROBES_PER_S,
    ENDPOINT_RATE,
    HEARD_EVERY_S,
    WITNESS_AGE_S,
    WITNESSED_MAX,
    WITNESSES_MAX,
    Evidence,
    Transition,
)

SPANS_S: Final = (1.0, 3.0, WITNESS_AGE_S)
ANSWERED_WITHIN_S: Final = 3.0
"""Over which it is judged at an answer whether the service is back."""


class Witness(msgspec.Struct, eq=False, gc=False):
    """A tenant's latest outcomes: how many count, how many failed, and how many of those sent nothing."""

    calls: int
    failures: int
    unsent: int
    at_s: float


class Pool:
    """Common evidence about one service and route class.

    Args:
        service, route_class: what it is about.
        changed: told of every breaker here that changed.

    Attributes:
        failing_until_s: as long as it is ahead, the service fails for everyone.
        doubted: it did, and nobody has been answered since.
        leases: what the hub says; None as long as it said nothing.
    """

    __slots__ = (
        "_probes",
        "_probes_until_s",
        "changed",
        "doubted",
        "evidence",
        "failing_until_s",
        "heard_until_s",
        "leases",
        "route_class",
        "service",
        "witnesses",
    )

    def __init__(self, service: str, route_class: str, changed: Callable[[Transition], None]) -> None:
        self.service = service
        self.route_class = route_class
        self.changed = changed
        self.failing_until_s = 0.0
        self.heard_until_s = 0.0
        self.doubted = False
        self.leases: Leases | None = None
        self.evidence = Evidence()
        self.witnesses: dict[str, Witness] = {}
        self._probes = 0
        self._probes_until_s = 0.0

    def hear(self, tenant: str, now_s: float, outcomes: int, *, unsent: int, whole: bool = False) -> None:
        """Take a tenant's latest outcomes.

        Args:
            outcomes: failures as ones, the newest in the lowest bit, below a leading one.
            unsent: how many of the newest failed in a row without being sent: no connection was accepted.
            whole: all of them are of now; otherwise one more than when it was last heard.
        """
        self.heard_until_s = now_s + HEARD_EVERY_S
        before = self.witnesses.pop(tenant, None)
        calls = min(WITNESSED_MAX, outcomes.bit_length() - 1)
        if not whole:
            heard = 0 if before is None or now_s - before.at_s > WITNESS_AGE_S else before.calls
            calls = min(calls, heard + 1)
        failures = (outcomes & ((1 << calls) - 1)).bit_count()
        # Put at the end: the order is that of hearing.
        self.witnesses[tenant] = Witness(calls, failures, min(unsent, calls), now_s)
        if len(self.witnesses) > WITNESSES_MAX:
            del self.witnesses[next(iter(self.witnesses))]
        if outcomes & 1:
            if any(self._fails(now_s, span_s) for span_s in SPANS_S):
                self.failing_until_s, self.doubted = now_s + ENDPOINT_OPEN_S, True
        elif self.doubted and not self._fails(now_s, ANSWERED_WITHIN_S):
            self.failing_until_s, self.doubted = 0.0, False

    def refuses(self, now_s: float) -> bool:
        """Say whether the service fails for everyone and is not to be tried yet."""
        if self.failing_until_s <= now_s:
            return False
        return self.leases is None or not self.leases.everyone or now_s < self.leases.until_s

    def may_probe(self, tenant: str, now_s: float) -> bool:
        """Say whether one more call of a tenant may try the service out, and count it.

        Where the hub has spoken it is a matter of what it leased; otherwise of how often all tenants here try.
        """
        if self.leases is not None and self.leases.govern(tenant, now_s):
            return self.leases.take(tenant, now_s)
        if not self.doubted:
            return True
        if now_s >= self._probes_until_s:
            self._probes, self._probes_until_s = ENDPOINT_PROBES_PER_S, now_s + 1.0
        if self._probes <= 0:
            return False
        self._probes -= 1
        return True

    def _fails(self, now_s: float, span_s: float) -> bool:
        calls = failures = worst = 0
        for witness in reversed(self.witnesses.values()):
            if now_s - witness.at_s > span_s:
                break
            calls += witness.calls
            failures += witness.failures
            worst = max(worst, witness.failures - witness.unsent)
        if failures - worst < failures_needed(calls - worst, ENDPOINT_RATE, ENDPOINT_CONFIDENCE):
            return False
        self.evidence = Evidence(calls=calls - worst, failures=failures - worst)
        return True
