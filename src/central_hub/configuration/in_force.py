"""The value that is in force for whoever asks: the effective one, or that of a change which is being tried out.

While nothing is tried out, whoever asks for a tenant is answered by the effective values themselves, at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from central_hub.configuration.effective import Effective, tenant_missing
from central_hub.configuration.resolving import Resolved
from central_hub.kernel.ids import DomainId

OfTenant = Callable[[DomainId, str], Resolved]


class Candidates(Protocol):
    """Who is reached by a change that is being tried out; implemented by rollouts."""

    def effective_for(self, domain: DomainId, tier: str, service: str, instance: str) -> Effective | None:
        """Return the values that somebody gets instead; None for whoever is not reached.

        Args:
            domain: the tenant's.
            tier: at which it is.
            service, instance: who asks; empty when not said.
        """
        ...

    def reached(self, domain: DomainId, tier: str, service: str, instance: str) -> list[str]:
        """Return what somebody tries out, by the id of its rollout."""
        ...

    def splits(self, domain: DomainId) -> bool:
        """Say whether what is tried out reaches some instances of a domain before others."""
        ...


class InForce:
    """Answers what is in force for whom.

    Args:
        effective: the values of everyone whom nothing that is tried out reaches.
    """

    __slots__ = ("_candidates", "effective", "encoded", "generation", "of_tenant")

    def __init__(self, effective: Effective) -> None:
        self.effective: Final = effective
        self.encoded: Final = effective.encoded
        self._candidates: Candidates | None = None
        self.generation = 0
        """Moves with everything that may change who is reached by what is tried out."""
        self.of_tenant: OfTenant = effective.at
        """Return the value for a tenant at a tier, whoever asks; the lane's way."""

    def try_out(self, candidates: Candidates | None) -> None:
        """Ask `candidates` from now on who is reached by what is tried out; None when nothing is tried out."""
        self._candidates = candidates
        self.generation += 1
        self.of_tenant = self.effective.at if candidates is None else self.at

    def splits(self, domain: DomainId) -> bool:
        """Say whether instances that ask for the same may be answered differently."""
        return self._candidates is not None and self._candidates.splits(domain)

    def tried(self, domain: DomainId, tier: str, service: str, instance: str) -> list[str]:
        """Return the rollouts whose values somebody gets instead of the effective ones."""
        return [] if self._candidates is None else self._candidates.reached(domain, tier, service, instance)

    def of(
        self, domain: DomainId, service: str = "", environment: str = "", *, claimed: str = "", instance: str = ""
    ) -> Resolved:
        """Return the value in force; as `Effective.of`, for one instance of the service.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_tier` (422).
        """
        if self._candidates is None:
            return self.effective.of(domain, service, environment, claimed=claimed)
        tier = self.effective.tier_of(domain) or claimed
        if not tier:
            raise tenant_missing()
        return self.at(domain, tier, service, environment, instance)

    def at(self, domain: DomainId, tier: str, service: str = "", environment: str = "", instance: str = "") -> Resolved:
        """Return the value in force for a domain at a tier.

        Raises:
            HubError: `unknown_tier` (422).
        """
        candidates = self._candidates
        if candidates is not None:
            tried = candidates.effective_for(domain, tier, service, instance)
            if tried is not None:
                return tried.at(domain, tier, service, environment)
        return self.effective.at(domain, tier, service, environment)
