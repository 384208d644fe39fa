"""What tenants say about tiers; which there are is told by the plans."""

from __future__ import annotations

from typing import Final

from central_hub.kernel.errors import HubError, Kind
from central_hub.tenants.ports import Tiers

DEFAULT_TIER: Final = "free"


def unknown_tier(name: str, tiers: Tiers) -> HubError:
    """Return the refusal of a tier that does not exist."""
    return HubError(
        "unknown_tier",
        Kind.MALFORMED,
        f"There is no tier '{name[:64]}'.",
        next_step=f"Use one of {', '.join(tiers.names())}.",
    )
