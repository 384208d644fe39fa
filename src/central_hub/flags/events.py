"""The events of flags: definitions, which are the platform's, and what one tenant gets instead."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.flags.model import (
    Definition,
    FlagDefined,
    FlagOverridden,
    FlagOverrideRemoved,
    FlagStateSet,
    FlagType,
    Override,
    State,
)
from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of


class DefinedData(msgspec.Struct, frozen=True, kw_only=True):
    """A flag's new revision."""

    key: str
    type: FlagType
    revision: int


class OverriddenData(msgspec.Struct, frozen=True, kw_only=True):
    """The variant that a tenant gets, in some environments or (empty) in all."""

    key: str
    variant: str
    environments: tuple[str, ...]


def _defined(fact: FlagDefined) -> DefinedData:
    return DefinedData(key=fact.flag.key, type=fact.flag.type, revision=fact.flag.revision)


def _overridden(fact: FlagOverridden) -> OverriddenData:
    said = fact.override
    return OverriddenData(key=said.key, variant=said.variant, environments=said.environments)


_FLAG: Final = Definition(
    key="new-search", type=FlagType.BOOLEAN, variants={"on": True, "off": False}, default="off", revision=3
)  # fmt: skip

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}flag.defined.v1", fact=FlagDefined, order="flag/{key}",
        example=FlagDefined(flag=_FLAG), subject=lambda fact: f"flag/{fact.flag.key}",
        data=_defined, shape=DefinedData,
        summary="A flag is defined anew.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}flag.state-changed.v1", fact=FlagStateSet, order="flag/{key}",
        example=FlagStateSet(key="new-search", state=State.DISABLED, reason="errors"),
        subject=lambda fact: f"flag/{fact.key}", data=fields_of("key", "state", "reason"),
        summary="A flag was enabled, disabled or archived.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}flag.overridden.v1", fact=FlagOverridden, order="flag/{key}",
        example=FlagOverridden(override=Override(key="new-search", variant="on", environments=("staging",))),
        subject=lambda fact: f"flag/{fact.override.key}",
        data=_overridden, shape=OverriddenData,
        summary="A tenant gets this variant of a flag.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}flag.override-removed.v1", fact=FlagOverrideRemoved, order="flag/{key}",
        example=FlagOverrideRemoved(key="new-search"),
        subject=lambda fact: f"flag/{fact.key}", data=fields_of("key"),
        summary="A tenant gets what a flag's rules say again.",
    ),
)  # fmt: skip
