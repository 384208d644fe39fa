"""The events of shared verdicts: calls to a service are refused for all processes of a tenant, or go through again."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.breakers.model import Evidence, Reason, State
from central_hub.breakers.verdicts import SharedBreakerRecovered, SharedBreakerTripped
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.events import TYPE_PREFIX, EventType


class EvidenceData(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen: calls, how many failed, how many were slow."""

    calls: int
    failures: int
    slow: int


class TrippedData(msgspec.Struct, frozen=True, kw_only=True):
    """Why calls are refused, and until when; `everyone` when that holds for all who use the service.

    The route class of everyone's is left out: it is a word of those who use it.
    """

    service_name: str
    route_class: str
    previous: str
    reason: str
    evidence: EvidenceData
    until: str
    everyone: bool


class RecoveredData(msgspec.Struct, frozen=True, kw_only=True):
    """Why calls go through again; `everyone` as when they were refused."""

    service_name: str
    route_class: str
    reason: str
    everyone: bool


def _subject(fact: SharedBreakerTripped | SharedBreakerRecovered) -> str:
    return f"breaker/{fact.service}"


def _service(fact: SharedBreakerTripped | SharedBreakerRecovered) -> str:
    return fact.service


def _tripped(fact: SharedBreakerTripped) -> TrippedData:
    return TrippedData(
        service_name=fact.service, route_class="" if fact.everyone else fact.route_class, previous=fact.previous.value,
        reason=fact.reason.value, until=rfc3339(fact.until_ms), everyone=fact.everyone,
        evidence=EvidenceData(
            calls=fact.evidence.calls, failures=fact.evidence.failures, slow=fact.evidence.slow
        ),
    )  # fmt: skip


def _recovered(fact: SharedBreakerRecovered) -> RecoveredData:
    return RecoveredData(
        service_name=fact.service, route_class="" if fact.everyone else fact.route_class, reason=fact.reason.value,
        everyone=fact.everyone,
    )  # fmt: skip


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}breaker.shared-tripped.v1", fact=SharedBreakerTripped, order="breaker/{service_name}",
        subject=_subject, service=_service, data=_tripped, shape=TrippedData,
        example=SharedBreakerTripped(
            service="risk-management", route_class="checks", previous=State.CLOSED, reason=Reason.FAILURES,
            evidence=Evidence(calls=40, failures=33), until_ms=1_768_905_030_000, probes=5, fails_at=2,
        ),
        summary="What many processes saw is enough: calls to the service are refused for all of them.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}breaker.shared-recovered.v1", fact=SharedBreakerRecovered, order="breaker/{service_name}",
        subject=_subject, service=_service, data=_recovered, shape=RecoveredData,
        example=SharedBreakerRecovered(
            service="risk-management", route_class="checks", reason=Reason.PROBES_SUCCEEDED
        ),
        summary="Calls to the service go through again, for all of them.",
    ),
)  # fmt: skip
