"""What rollouts ask of others: which instances are registered, and how they are."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.ids import DomainId


class Instances(Protocol):
    """The registered instances as a tenant's configuration meets them: its own, or shared ones."""

    def owner(self, domain: DomainId, service: str, instance: str) -> str | None:
        """Return the principal that registered an instance in the domain or as shared; None when there is none."""
        ...

    def is_unhealthy(self, domain: DomainId, service: str, instance: str) -> bool:
        """Say whether the verdict about a registered instance is that it is unhealthy."""
        ...

    def any(self, domain: DomainId) -> bool:
        """Say whether anything is registered that a rollout of this domain could reach; for the platform, anywhere."""
        ...
