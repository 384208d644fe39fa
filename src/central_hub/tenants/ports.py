"""What tenants ask of others: the tiers there are, and what a new tenant begins with."""

from __future__ import annotations

from typing import Protocol

from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import Tx


class Provision(Protocol):
    """What a new tenant begins with besides its record and first key; configuration implements it for its templates."""

    def provision(self, tx: Tx, domain: DomainId, tier: str) -> None:
        """Propose facts of the tenant's own domain, in the same step that creates it.

        Raises:
            HubError: the tenant cannot be created like this; then nothing of it is.
        """
        ...


class Tiers(Protocol):
    """The tiers of this hub, as the operator defined them; plans implements it."""

    @property
    def highest_rank(self) -> int:
        """The rank of the highest tier."""
        ...

    @property
    def ranks_revision(self) -> int:
        """Moves when tiers come, go or rank otherwise."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the tiers' names, lowest rank first."""
        ...

    def rank_of(self, tier: str) -> int | None:
        """Return a tier's rank, higher sees more; None for an unknown tier."""
        ...
