"""What is remembered of routing: offerings of models, the facts about them, stream names and limits. Pure.

An offering is what one instance can do with one model: what it takes and gives, how well by which evidence, at what
price, on what hardware, and for whom. Decisions, reservations and outcomes are signals: nothing of them is here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact

OFFERINGS_PER_INSTANCE_MAX: Final = 16
OFFERINGS_PER_DOMAIN_MAX: Final = 100_000
WORD_LENGTH_MAX: Final = 128
WORDS_MAX: Final = 32
QUALITIES_MAX: Final = 16
TENANTS_PER_OFFERING_MAX: Final = 256
CONCURRENCY_MAX: Final = 10_000
CONCURRENCY_DEFAULT: Final = 4
"""Requests that an instance is taken to work on at a time when its offerings do not say."""
UNITS_MAX: Final = 1e12
"""Most of input or output that a request or a limit names."""
MS_MAX: Final = 86_400_000.0
"""Longest latency that is declared, asked for or told."""
PRICE_MAX: Final = 1e9
"""Highest price of a request or of a unit."""

RECORDS_PER_DOMAIN_MAX: Final = 128
"""Decisions of one domain that can be explained; the oldest go first."""
RESERVED_MIN_S: Final = 5.0
RESERVED_MAX_S: Final = 900.0

LEASED_MAX: Final = 32
"""Instances that one lease of routes names."""
LEASE_TTL_S_MIN: Final = 1.0
LEASE_TTL_S_MAX: Final = 300.0
LEASE_TTL_S: Final = 30.0

SIMULATED_MAX: Final = 500
"""Requests of one simulation, all its strategies together."""
SIMULATED_AMONG_MAX: Final = 1_000
"""Candidates that a simulation can be between."""
SIMULATED_EVERY_MS_MAX: Final = 60_000.0

COUNT_OFFERINGS: Final = "count/offerings"

SCOPE_READ: Final = "registry:read"
SCOPE_DECLARE: Final = "registry:write"
SCOPE_WRITE: Final = "routing:write"

WORD_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._:/@+-]{0,127}$"


class Lifecycle(StrEnum):
    """Where an offering stands; what is retired is not offered any more."""

    PREVIEW = "preview"
    GA = "ga"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class Evidence(StrEnum):
    """Who says that a quality is so, in rising order of weight."""

    DECLARED = "declared"
    ONLINE = "online"
    VERIFIED = "verified"


EVIDENCE_RANK: Final = {Evidence.DECLARED: 0, Evidence.ONLINE: 1, Evidence.VERIFIED: 2}


class Quality(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One measure of how good a model is at its task, from 0 to 1 for shares; until `expires_at_ms` (0: for ever)."""

    metric: str
    value: float
    evidence: Evidence = Evidence.DECLARED
    dataset: str = ""
    data_size: str = ""
    measured_at_ms: int = 0
    expires_at_ms: int = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What a request costs: a price for it, and for each unit of its input and output."""

    per_request: float = 0.0
    per_input: float = 0.0
    per_output: float = 0.0
    currency: str = "USD"


class Latency(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How long a request of the usual size takes on an idle instance, as declared, milliseconds."""

    p50: float
    p99: float = 0.0


class Entitlement(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """For whom an offering is, beyond who may see its service; empty is everybody.

    `tiers` is any-of by rank, so the lowest named is the least; `features` are all asked of the caller's plan.
    """

    tenants: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


class Offering(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What an instance can do with a model. None and empty mean unknown, or no limit where it says so.

    `data_sizes` are the classes of data it takes (small, medium, large, or the platform's own words). `concurrency` is
    how many requests the instance works on at a time.
    """

    id: str
    model: str
    task: str
    version: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    data_sizes: tuple[str, ...] = ()
    input_max: float | None = None
    output_max: float | None = None
    concurrency: int | None = None
    quality: tuple[Quality, ...] = ()
    cost: Cost | None = None
    latency_ms: Latency | None = None
    hardware: str = ""
    precision: str = ""
    region: str = ""
    lifecycle: Lifecycle = Lifecycle.GA
    entitlement: Entitlement | None = None


class OfferingsDeclared(Fact, frozen=True, kw_only=True):
    """An instance offers exactly these from now on."""

    service: str
    instance_id: str
    offerings: tuple[Offering, ...]


class OfferingsWithdrawn(Fact, frozen=True, kw_only=True):
    """An instance offers nothing any more."""

    service: str
    instance_id: str


FACTS: Final[tuple[type[Fact], ...]] = (OfferingsDeclared, OfferingsWithdrawn)


def offerings_stream(service: str, instance_id: str) -> str:
    """Name the aggregate of an instance's offerings."""
    return f"offerings/{service}/{instance_id}"
