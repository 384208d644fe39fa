"""The port for messages to endpoints outside: where one goes, and what may be said of what came of it.

An outcome carries a class and a status, never a body or an error text: whoever may name an endpoint must not be able
to read the network through the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from central_hub.kernel.ids import DomainId

ATTEMPT_TIMEOUT_S: Final = 15.0
"""For all of one attempt: resolving, connecting, sending, reading the answer's head."""


class Result(StrEnum):
    """What came of a message; those from `NOT_GRANTED` on were not sent."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """It was answered with a status other than 2xx."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    INVALID_ANSWER = "invalid_answer"
    TLS_FAILED = "tls_failed"
    NOT_GRANTED = "not_granted"
    UNRESOLVED = "unresolved"
    OVER_BUDGET = "over_budget"
    TOO_LARGE = "too_large"
    EXPIRED = "expired"
    """It has left the log."""


class Target(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a message goes: what a connection needs, and what the request line says."""

    host: str
    port: int
    tls: bool
    path: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of one attempt; `status` is 0 without an answer, `retry_after_s` what the receiver asked for."""

    result: Result
    status: int = 0
    retry_after_s: int = 0
    latency_ms: int = 0


class Sender(Protocol):
    """Takes one message to one place. Never raises: whatever goes wrong is an outcome, bounded in time and size."""

    async def send(self, domain: DomainId, target: Target, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Try once."""
        ...

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        """Say, without asking a resolver, whether messages to this address may be allowed."""
        ...
