"""The port for active health checks: what is to be asked, and what may be said about the answer.

An outcome carries a class and a coarse latency, never a body or an error text: whoever may
register an address must not be able to read the network through the hub.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec

from central_hub.kernel.ids import DomainId

PROBE_TIMEOUT_S: Final = 2.0
"""For all of a probe: resolving, connecting, asking, reading."""


class ProbeProtocol(StrEnum):
    """How a probe asks."""

    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"


class ProbeResult(StrEnum):
    """What came of a probe; the last three say that nothing was asked."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    NOT_GRANTED = "not_granted"
    UNRESOLVED = "unresolved"
    OVER_BUDGET = "over_budget"


class ProbeTarget(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instance's own registered address; `path` is a path only, never a URL."""

    domain: DomainId
    host: str
    port: int
    protocol: ProbeProtocol
    path: str = "/health"


class ProbeOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result, the status class of an HTTP answer (0 without one) and whole milliseconds."""

    result: ProbeResult
    status_class: int = 0
    latency_ms: int = 0


class Probe(Protocol):
    """Asks instances how they are. Never raises: whatever goes wrong is an outcome."""

    async def probe(self, target: ProbeTarget) -> ProbeOutcome:
        """Ask once; bounded in time and size by the adapter."""
        ...

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        """Say, without asking a resolver, whether probes to this address may be allowed.

        True for a name that is not an address when any grant of the domain covers the port: what
        it resolves to is judged at every probe.
        """
        ...
