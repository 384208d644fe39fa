"""What is remembered of flags: the facts, the state they fold into, stream names and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from central_hub.kernel.facts import Fact

FLAGS_MAX: Final = 1_000
SEGMENTS_MAX: Final = 500
OVERRIDES_PER_TENANT_MAX: Final = FLAGS_MAX
VARIANTS_MAX: Final = 32
VALUE_BYTES_MAX: Final = 4_096
RULES_MAX: Final = 64
NAMED_MAX: Final = 500
"""Tenants, tiers, environments or segments that one rule may name."""
CONDITIONS_MAX: Final = 16
CONDITION_VALUES_MAX: Final = 256
SEGMENT_KEYS_MAX: Final = 1_000
TEXT_MAX: Final = 256
"""Characters of a targeting key, an attribute's name, or a value that a condition compares with."""
DESCRIPTION_MAX: Final = 512
DEFINITION_BYTES_MAX: Final = 262_144
"""Largest body that defines a flag."""
SEGMENT_BYTES_MAX: Final = 524_288
"""Largest body that defines a segment: every subject at its longest, and room for more."""
PERCENT_MAX: Final = 100.0
INTEGER_MAX: Final = 2**53 - 1
"""Largest whole number that every client's numbers can hold."""

KEY_LENGTH_MAX: Final = 128
KEY_PATTERN: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
VARIANT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"

DEFAULT_ENVIRONMENT: Final = "production"
"""What a credential speaks for that is bound to no environment and names none."""

SCOPE_READ: Final = "flags:read"
SCOPE_WRITE: Final = "flags:write"
SCOPE_ADMIN: Final = "flags:admin"

COUNT_FLAGS: Final = "count/flags"
COUNT_SEGMENTS: Final = "count/segments"
COUNT_OVERRIDES: Final = "count/flag-overrides"


class FlagType(StrEnum):
    """Of what type a flag's values are; numbers with and without a fraction are two."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    OBJECT = "object"


class State(StrEnum):
    """Enabled flags follow their rules, disabled ones serve their default, archived ones are not there."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    ARCHIVED = "archived"


class Operator(StrEnum):
    """How an attribute is compared with a condition's values."""

    IN = "in"
    NOT_IN = "not_in"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    CONTAINS = "contains"
    LESS = "lt"
    AT_MOST = "lte"
    MORE = "gt"
    AT_LEAST = "gte"
    EXISTS = "exists"


Scalar = bool | int | float | str


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One comparison with an attribute of the evaluation context; an attribute that is absent never holds."""

    attribute: str
    operator: Operator
    values: tuple[Scalar, ...] = ()


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A named part of everyone who is asked about: listed targeting keys, or all of some conditions."""

    name: str
    description: str = ""
    keys: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    revision: int = 1
    changed_at_ms: int = 0
    changed_by: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets a variant: whoever everything named here holds for. What is left out holds for everyone."""

    variant: str
    name: str = ""
    tenants: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    percentage: float | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as the operator defined it.

    `rules` are asked in order, the first that holds decides; `only_tenants` are the only ones that see the flag
    at all (empty: everyone); `overridable` lets a tenant choose its variant itself.
    """

    key: str
    type: FlagType
    variants: dict[str, Any]  # Any: JSON values of the flag's type
    default: str
    state: State = State.ENABLED
    rules: tuple[Rule, ...] = ()
    only_tenants: tuple[str, ...] = ()
    overridable: bool = False
    description: str = ""
    revision: int = 1
    changed_at_ms: int = 0
    changed_by: str = ""


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant gets of a flag instead of what its rules say, in some environments or (empty) in all."""

    key: str
    variant: str
    environments: tuple[str, ...] = ()
    reason: str = ""
    changed_at_ms: int = 0
    changed_by: str = ""


class FlagDefined(Fact, frozen=True, kw_only=True):
    """A flag is defined like this from now on."""

    flag: Definition


class FlagStateSet(Fact, frozen=True, kw_only=True):
    """A flag is enabled, disabled or archived from now on."""

    key: str
    state: State
    reason: str = ""


class SegmentDefined(Fact, frozen=True, kw_only=True):
    """A segment is defined like this from now on."""

    segment: Segment


class SegmentRemoved(Fact, frozen=True, kw_only=True):
    """A segment is gone."""

    name: str


class FlagOverridden(Fact, frozen=True, kw_only=True):
    """A tenant gets this variant from now on."""

    override: Override


class FlagOverrideRemoved(Fact, frozen=True, kw_only=True):
    """A tenant gets what the rules say again."""

    key: str


FACTS: Final[tuple[type[Fact], ...]] = (
    FlagDefined,
    FlagStateSet,
    SegmentDefined,
    SegmentRemoved,
    FlagOverridden,
    FlagOverrideRemoved,
)


def flag_stream(key: str) -> str:
    """Name the aggregate of one flag, or of a tenant's override of it in the tenant's own domain."""
    return f"flag/{key}"


def segment_stream(name: str) -> str:
    """Name the aggregate of one segment."""
    return f"segment/{name}"
