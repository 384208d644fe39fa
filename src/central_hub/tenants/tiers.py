"""Tiers as data: ranks, limits and features, from the file an operator edits. Unknown means denied."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind

DEFAULT_TIER: Final = "free"
RATE_SUFFIX: Final = "_per_hour"


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a circuit breaker opens for this tier, and for how long."""

    failure_rate: float
    open_s: float


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tier grants; a higher rank sees everything a lower one does."""

    rank: int
    limits: Mapping[str, int]
    features: Mapping[str, bool]
    breaker: Breaker


class TierCatalogue:
    """The tiers of this hub.

    Args:
        tiers: by name.

    Raises:
        HubError: `invalid_tiers` when ranks collide or are below 1, or tiers list different names.
    """

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        ranks = sorted(tier.rank for tier in tiers.values())
        shapes = {(frozenset(tier.limits), frozenset(tier.features)) for tier in tiers.values()}
        if not ranks or ranks[0] < 1 or len(set(ranks)) != len(ranks) or len(shapes) != 1:
            raise HubError(
                "invalid_tiers",
                Kind.INVALID,
                "Tiers need distinct ranks from 1 up, and each lists every limit and every feature.",
                next_step="Correct the tiers file.",
            )
        self._tiers = dict(tiers)
        self._by_rank = sorted((tier.rank, name) for name, tier in tiers.items())

    def get(self, name: str) -> Tier | None:
        """Return a tier, None for an unknown one."""
        return self._tiers.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the tiers' names, lowest rank first."""
        return tuple(name for _, name in self._by_rank)

    def rank_of(self, tier: str) -> int | None:
        """Return a tier's rank; None for an unknown tier."""
        found = self._tiers.get(tier)
        return None if found is None else found.rank

    def tier_at(self, rank: int) -> str | None:
        """Return the lowest tier whose rank is at least `rank`; None when there is none."""
        return next((name for at, name in self._by_rank if at >= rank), None)

    def limits_of(self, tier: str) -> Mapping[str, int]:
        """Return a tier's limits by name; empty for an unknown tier."""
        found = self._tiers.get(tier)
        return {} if found is None else found.limits

    @property
    def highest_rank(self) -> int:
        """The rank of the highest tier."""
        return self._by_rank[-1][0]


def parse_tiers(text: str) -> TierCatalogue:
    """Read a tiers file (TOML).

    Raises:
        HubError: `invalid_tiers`.
    """
    try:
        return TierCatalogue(msgspec.convert(tomllib.loads(text), dict[str, Tier]))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise HubError(
            "invalid_tiers", Kind.INVALID, f"The tiers file is not valid: {error}.", next_step="Correct the tiers file."
        ) from None


def unknown_tier(name: str, catalogue: TierCatalogue) -> HubError:
    """Return the refusal of a tier that is not in the catalogue."""
    return HubError(
        "unknown_tier",
        Kind.MALFORMED,
        f"There is no tier '{name[:64]}'.",
        next_step=f"Use one of {', '.join(catalogue.names())}.",
    )
