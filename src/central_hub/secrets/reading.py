"""Which secret a path means to somebody, and what may be known of it without its value."""

from __future__ import annotations

from collections.abc import Iterable

from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import Secret, Source
from central_hub.secrets.rules import nearest
from central_hub.secrets.view import SecretsView


class KnownSecrets:
    """Finds secrets; a tenant's own stands before one that the platform shares under the same path.

    Args:
        view: which there are.
    """

    def __init__(self, view: SecretsView) -> None:
        self._view = view

    def find(self, domain: DomainId, path: str) -> tuple[DomainId, Source, Secret] | None:
        """Return whose secret a path means to a domain, and the secret; None when it means none."""
        own = self._view.secret(domain, path)
        if own is not None:
            return domain, Source.PLATFORM if domain == PLATFORM else Source.TENANT, own
        shared = self._view.secret(PLATFORM, path)
        return (PLATFORM, Source.PLATFORM, shared) if shared is not None and shared.shared else None

    def resolves(self, domain: DomainId, path: str) -> bool:
        """Say whether a reference in a domain's documents leads somewhere.

        What the platform configures is read by every tenant: it may only refer to what the platform shares.
        """
        found = self.find(domain, path)
        return found is not None and (domain != PLATFORM or found[2].shared)

    def suggest(self, domain: DomainId, path: str) -> str:
        """Return the path that may have been meant, among those that resolve; empty when none is near."""
        return nearest(path, self._paths(domain))

    def _paths(self, domain: DomainId) -> Iterable[str]:
        shared = (path for path, secret in self._view.secrets(PLATFORM).items() if secret.shared)
        return shared if domain == PLATFORM else {*self._view.secrets(domain), *shared}
