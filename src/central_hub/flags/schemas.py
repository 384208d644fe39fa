"""What HTTP adds to the model of flags: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from central_hub.flags.model import (
    CONDITION_VALUES_MAX,
    CONDITIONS_MAX,
    DESCRIPTION_MAX,
    FLAGS_MAX,
    KEY_LENGTH_MAX,
    KEY_PATTERN,
    NAMED_MAX,
    PERCENT_MAX,
    RULES_MAX,
    SEGMENT_KEYS_MAX,
    TEXT_MAX,
    VARIANTS_MAX,
    Condition,
    Definition,
    FlagType,
    Operator,
    Override,
    Rule,
    Scalar,
    Segment,
    State,
)
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.ids import NAME_PATTERN

PAGE_MAX: Final = 500
CONTEXT_MEMBERS_MAX: Final = 256

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Key = Annotated[str, msgspec.Meta(pattern=KEY_PATTERN, max_length=KEY_LENGTH_MAX)]
Variant = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
Description = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)]
Names = Annotated[list[Name], msgspec.Meta(max_length=NAMED_MAX)]
Percentage = Annotated[float, msgspec.Meta(ge=0, le=PERCENT_MAX)]
Context = Annotated[dict[str, Any], msgspec.Meta(max_length=CONTEXT_MEMBERS_MAX)]  # Any: JSON values


class FlagPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the flags is wanted; archived ones only by name of their state."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    state: State | None = None


class NamePage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a collection is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class RuleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who gets a variant: whoever everything named here holds for; the first rule that holds decides."""

    variant: Variant
    name: Annotated[str, msgspec.Meta(max_length=63)] = ""
    tenants: Names = []
    tiers: Annotated[list[Text], msgspec.Meta(max_length=NAMED_MAX)] = []
    environments: Names = []
    segments: Names = []
    percentage: Percentage | None = None


class DefineFlag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flag to create or replace; values are of the flag's type, `default` names one of the variants."""

    type: FlagType
    variants: Annotated[dict[Variant, Any], msgspec.Meta(min_length=1, max_length=VARIANTS_MAX)]  # Any: JSON values
    default: Variant
    state: State = State.ENABLED
    rules: Annotated[list[RuleBody], msgspec.Meta(max_length=RULES_MAX)] = []
    only_tenants: Names = []
    overridable: bool = False
    description: Description = ""


class SetState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a flag is from now on, and why; kept in the trail."""

    state: State
    reason: Annotated[str, msgspec.Meta(max_length=256)] = ""


class FlagAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as it is defined."""

    key: str
    type: FlagType
    variants: dict[str, Any]  # Any: JSON values
    default: str
    state: State
    rules: list[RuleBody]
    only_tenants: list[str]
    overridable: bool
    description: str
    revision: int
    changed_at: str
    changed_by: str


class FlagList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of flags in order of key."""

    flags: list[FlagAnswer]
    next_cursor: str | None = None


class ConditionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One comparison with an attribute of the context; an attribute that is absent never holds."""

    attribute: Text
    operator: Operator
    values: Annotated[list[Scalar], msgspec.Meta(max_length=CONDITION_VALUES_MAX)] = []


class DefineSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is in a segment: whoever is listed, and whoever all conditions hold for."""

    keys: Annotated[list[Text], msgspec.Meta(max_length=SEGMENT_KEYS_MAX)] = []
    conditions: Annotated[list[ConditionBody], msgspec.Meta(max_length=CONDITIONS_MAX)] = []
    description: Description = ""


class SegmentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as it is defined."""

    name: str
    keys: list[str]
    conditions: list[ConditionBody]
    description: str
    revision: int
    changed_at: str
    changed_by: str


class SegmentList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of segments in order of name."""

    segments: list[SegmentAnswer]
    next_cursor: str | None = None


class SetOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant gets of a flag, in the environments that are named or in all, and why."""

    variant: Variant
    environments: Names = []
    reason: Annotated[str, msgspec.Meta(max_length=256)] = ""


class OverrideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's override of a flag."""

    key: str
    variant: str
    environments: list[str]
    reason: str
    changed_at: str
    changed_by: str


class OverrideList(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's overrides in order of key."""

    overrides: Annotated[list[OverrideAnswer], msgspec.Meta(max_length=FLAGS_MAX)]
    next_cursor: str | None = None


class ExplainFlag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The context to explain an evaluation for; the environment where the credential is bound to none."""

    context: Context = {}
    environment: Name | None = None


def definition_of(key: str, body: DefineFlag) -> Definition:
    """Return what a body defines."""
    return Definition(
        key=key,
        type=body.type,
        variants=body.variants,
        default=body.default,
        state=body.state,
        rules=tuple(
            Rule(
                variant=rule.variant, name=rule.name, tenants=tuple(rule.tenants), tiers=tuple(rule.tiers),
                environments=tuple(rule.environments), segments=tuple(rule.segments), percentage=rule.percentage,
            )
            for rule in body.rules
        ),
        only_tenants=tuple(body.only_tenants),
        overridable=body.overridable,
        description=body.description,
    )  # fmt: skip


def segment_of(name: str, body: DefineSegment) -> Segment:
    """Return what a body defines."""
    conditions = tuple(
        Condition(attribute=one.attribute, operator=one.operator, values=tuple(one.values)) for one in body.conditions
    )
    return Segment(name=name, description=body.description, keys=tuple(body.keys), conditions=conditions)


def flag_answer(flag: Definition) -> FlagAnswer:
    """Show a flag."""
    return FlagAnswer(
        key=flag.key,
        type=flag.type,
        variants=flag.variants,
        default=flag.default,
        state=flag.state,
        rules=[
            RuleBody(
                variant=rule.variant, name=rule.name, tenants=list(rule.tenants), tiers=list(rule.tiers),
                environments=list(rule.environments), segments=list(rule.segments), percentage=rule.percentage,
            )
            for rule in flag.rules
        ],
        only_tenants=list(flag.only_tenants),
        overridable=flag.overridable,
        description=flag.description,
        revision=flag.revision,
        changed_at=rfc3339(flag.changed_at_ms),
        changed_by=flag.changed_by,
    )  # fmt: skip


def segment_answer(segment: Segment) -> SegmentAnswer:
    """Show a segment."""
    conditions = [
        ConditionBody(attribute=one.attribute, operator=one.operator, values=list(one.values))
        for one in segment.conditions
    ]
    return SegmentAnswer(
        name=segment.name,
        keys=list(segment.keys),
        conditions=conditions,
        description=segment.description,
        revision=segment.revision,
        changed_at=rfc3339(segment.changed_at_ms),
        changed_by=segment.changed_by,
    )


def override_answer(override: Override) -> OverrideAnswer:
    """Show an override."""
    return OverrideAnswer(
        key=override.key,
        variant=override.variant,
        environments=list(override.environments),
        reason=override.reason,
        changed_at=rfc3339(override.changed_at_ms),
        changed_by=override.changed_by,
    )
