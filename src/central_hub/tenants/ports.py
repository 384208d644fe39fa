"""What tenants ask of others: the tiers there are."""

from __future__ import annotations

from typing import Protocol


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
