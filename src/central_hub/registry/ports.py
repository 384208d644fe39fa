"""What the registry asks of others: verdicts and leases of health, tiers of plans, access of tenants.

Wired in `app`; tests bring their own small implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from central_hub.edge.streams import Sink
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.registry.model import Instance, Status


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This hub's own verdict about an instance, which overlays the journaled status."""

    status: Status
    protected: bool = False
    reason: str = ""
    since_ms: int = 0
    latency_ms: float | None = None
    last_check_ms: int = 0


class HealthOf(Protocol):
    """What this hub knows about an instance's health right now."""

    def verdict(self, domain: DomainId, service: str, instance_id: str) -> Verdict | None:
        """Return this hub's own verdict; None where the journaled one stands."""
        ...


class Confidence(Protocol):
    """How sure somebody who knows more is of instances; implemented by routing, for services that offer models."""

    def confidence(self, domain: DomainId, service: str, instance_id: str) -> float | None:
        """Return 0 to 1; None where nothing more is known."""
        ...


class LeaseTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long an instance lives without renewing, and what keeps it.

    `kept_by` is "heartbeat", "probe" or "nothing" (where probing is not granted: the lease ends).
    """

    ttl_s: float
    kept_by: str
    heartbeat_path: str = ""
    probe_interval_s: float | None = None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The lease of a registration and what its registrant should be told."""

    lease: LeaseTerms
    warnings: tuple[str, ...] = ()


class LeaseAdvice(Protocol):
    """Tells which lease an instance gets; implemented by health, without side effects."""

    def advise(self, domain: DomainId, instance: Instance) -> Advice:
        """Return the terms that apply to an instance of this domain."""
        ...


class Tiers(Protocol):
    """The tiers of this hub, as the operator defined them."""

    def rank_of(self, tier: str) -> int | None:
        """Return a tier's rank, higher sees more; None for an unknown tier."""
        ...

    def tier_at(self, rank: int) -> str | None:
        """Return the lowest tier whose rank is at least `rank`; None when there is none."""
        ...

    def limits_of(self, domain: DomainId, tier: str) -> Mapping[str, int]:
        """Return the limits of a tenant at its tier, by name; empty for an unknown tier."""
        ...


class Access(Protocol):
    """Whether a context that was proven earlier still holds."""

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it would be built now; the same object when nothing changed.

        Raises:
            HubError: when the credential was revoked or expired, or the tenant suspended.
        """
        ...


class ConfigEvents(Protocol):
    """Values of configuration on a watch; implemented by configuration."""

    def admit(self, ctx: TenantContext, wanted: str, instance: str = "") -> Callable[[Sink], Callable[[], None]]:
        """Return what begins to send the wanted values when it is given the stream, and returns what ends that.

        Args:
            ctx: the caller.
            wanted: which values.
            instance: for which instance they are, empty when that is not said.

        Raises:
            HubError: what the caller may not watch, or what is no value.
        """
        ...


class BreakerEvents(Protocol):
    """Verdicts of shared breakers on a watch; implemented by breakers."""

    def admit(self, ctx: TenantContext, names: frozenset[str] | None) -> Callable[[Sink], Callable[[], None]]:
        """Return what begins to tell verdicts on services (None for all) on a stream, and returns what ends that.

        Raises:
            HubError: what the caller may not watch.
        """
        ...


class Positions(Protocol):
    """Where the views stand; the kernel's runner is one."""

    @property
    def incarnation(self) -> str:
        """Which history of the log this is."""
        ...

    def position(self, domain: DomainId) -> int:
        """Return the last applied position of a domain."""
        ...
