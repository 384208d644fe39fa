"""The demo's cast: which services run, how many, and how fast; which tenants call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OPERATOR_KEY_NAME: Final = "demo-platform"
AI_TIERS: Final = ("pro", "enterprise")
LEASE_TTL_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Role:
    """A service of the platform.

    Args:
        speeds: one instance each; work takes 1/speed of the time.
        requires: tiers that may use it; empty for all.
    """

    service: str
    speeds: tuple[float, ...] = (1.0,)
    depends_on: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @property
    def expendable(self) -> bool:
        """Whether one of its instances may be killed: another one is there."""
        return len(self.speeds) > 1


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of the platform, and its share of the load."""

    id: str
    name: str
    tier: str
    share: float

    @property
    def uses_ai(self) -> bool:
        """Whether its tier reaches the model servers."""
        return self.tier in AI_TIERS


ROLES: Final = (
    Role("user-management"),
    Role("data-bridge"),
    Role("risk-management", speeds=(1.0, 1.0), depends_on=("data-bridge",)),
    Role("trading-engine", speeds=(1.0, 1.0), depends_on=("risk-management", "data-bridge")),
    Role("api-gateway", depends_on=("user-management", "trading-engine")),
    Role("model-server", speeds=(1.0, 3.0, 6.0), requires=AI_TIERS),
)

TENANTS: Final = (
    Tenant("company_abc", "Company ABC", "pro", 0.5),
    Tenant("startup_xyz", "Startup XYZ", "free", 0.2),
    Tenant("bank_one", "Bank One", "enterprise", 0.3),
)

PREFILL_MS_PER_TOKEN: Final = 0.05
"""Time a model server of speed 1 spends on one token of the context."""
DECODE_MS_PER_TOKEN: Final = 2.0
"""Time a model server of speed 1 spends on one generated token."""
MODEL_BATCH_MAX: Final = 8
"""Requests that a model server works on at once; further ones wait."""


def inference_ms(context_tokens: int, generated_tokens: int, speed: float) -> float:
    """Return how long a model server takes for one request."""
    return (context_tokens * PREFILL_MS_PER_TOKEN + generated_tokens * DECODE_MS_PER_TOKEN) / speed
