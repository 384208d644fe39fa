"""Decisions about flags, segments and overrides: what may be defined, and by whom. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from central_hub.flags.model import (
    INTEGER_MAX,
    KEY_LENGTH_MAX,
    KEY_PATTERN,
    PERCENT_MAX,
    RULES_MAX,
    VALUE_BYTES_MAX,
    VARIANT_PATTERN,
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
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name

SHOWN_MAX: Final = 10
"""Names that a refusal suggests."""

_KEY: Final = re.compile(KEY_PATTERN[:-1] + r"\Z")
_VARIANT: Final = re.compile(VARIANT_PATTERN[:-1] + r"\Z")
_ONE_TEXT: Final = frozenset({Operator.STARTS_WITH, Operator.ENDS_WITH, Operator.CONTAINS})
_ONE_NUMBER: Final = frozenset({Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST})


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The names a definition may refer to."""

    tiers: Collection[str]
    segments: Collection[str]
    features: Collection[str]
    is_tenant: Callable[[str], bool]


def is_key(text: str) -> bool:
    """Say whether `text` can name a flag: it stands in a URL's path as it is."""
    return len(text) <= KEY_LENGTH_MAX and _KEY.match(text) is not None


def check_definition(flag: Definition, known: Known) -> Definition:
    """Return a definition as it is kept: whole numbers of a flag of numbers become fractional ones.

    Raises:
        HubError: `invalid_flag`, `unknown_variant`, `unknown_segment`, `unknown_tier`, `unknown_tenant` (422),
            `flag_is_entitlement` (409).
    """
    if not is_key(flag.key):
        raise _invalid(f"a key has 1 to {KEY_LENGTH_MAX} of A-Z, a-z, 0-9, '.', '_' and '-', no two dots in a row")
    if flag.key in known.features:
        raise HubError(
            "flag_is_entitlement",
            Kind.CONFLICT,
            f"'{flag.key}' is an entitlement, which plans decide about.",
            next_step="Choose another key, or change the plan.",
        )
    if not 0 < len(flag.variants) <= VARIANTS_MAX:
        raise _invalid(f"it has 1 to {VARIANTS_MAX} variants")
    variants = {name: _value(flag.type, name, value) for name, value in flag.variants.items()}
    _check_variant(flag.default, variants)
    if len(flag.rules) > RULES_MAX:
        raise _invalid(f"it has at most {RULES_MAX} rules")
    for rule in flag.rules:
        _check_rule(rule, variants, known)
    for tenant in flag.only_tenants:
        _check_tenant(tenant, known)
    return msgspec.structs.replace(flag, variants=variants)


def check_segment(segment: Segment) -> Segment:
    """Return a segment if it can be asked.

    Raises:
        HubError: `invalid_segment` (422).
    """
    if not is_name(segment.name):
        raise _bad_segment("its name is not a name")
    if not segment.keys and not segment.conditions:
        raise _bad_segment("it lists no targeting keys and has no conditions, so that nobody would be in it")
    for condition in segment.conditions:
        _check_condition(condition)
    return segment


def check_override(override: Override, flag: Definition | None, *, by_operator: bool) -> Override:
    """Return an override if that flag has the variant and may be overridden by whoever asks.

    Raises:
        HubError: `flag_not_found` (404), `unknown_variant` (422), `flag_not_overridable` (403).
    """
    if flag is None or flag.state is State.ARCHIVED:
        raise flag_missing()
    if not by_operator and not flag.overridable:
        raise HubError(
            "flag_not_overridable",
            Kind.DENIED,
            "This flag's variant is the operator's to choose.",
            next_step="Ask the operator.",
        )
    _check_variant(override.variant, flag.variants)
    return override


def is_visible(flag: Definition, tenant_id: str) -> bool:
    """Say whether a tenant sees a flag at all."""
    return flag.state is not State.ARCHIVED and (not flag.only_tenants or tenant_id in flag.only_tenants)


def check_environment(bound: str, wanted: str, default: str) -> str:
    """Return the environment that is asked about: the credential's own, or the one named where it is bound to none.

    Raises:
        HubError: `environment_mismatch` (403).
    """
    if not bound:
        return wanted or default
    if wanted and wanted != bound:
        raise HubError(
            "environment_mismatch",
            Kind.DENIED,
            "The credential does not speak for the environment that the request names.",
            next_step="Leave the environment out, or use a key of that environment.",
        )
    return bound


def check_revision(given: str | None, revision: int, *, document: object = None) -> None:
    """Hold a precondition against what is there: a change names the revision that it replaces.

    Args:
        given: the If-Match header.
        revision: of what is there, 0 for nothing.
        document: what is there, shown to whoever is late.

    Raises:
        HubError: `precondition_required` (428), `revision_moved` (412).
    """
    if given is None and revision == 0:
        return
    if given is None:
        raise HubError(
            "precondition_required",
            Kind.PRECONDITION_MISSING,
            "It is there already: say which revision this replaces.",
            next_step="Read it, and send its ETag as If-Match.",
            fields={"revision": revision},
        )
    tags = {tag.strip() for tag in given.split(",")}
    if revision and ("*" in tags or etag_of(revision) in tags):
        return
    raise HubError(
        "revision_moved",
        Kind.PRECONDITION,
        "It was changed since, or is not there." if revision else "There is nothing to replace.",
        next_step="Read it again, and repeat the change on what is there now.",
        fields={"revision": revision, "current": document},
    )


def etag_of(revision: int) -> str:
    """Return the entity tag of a revision."""
    return f'"{revision}"'


def flag_missing() -> HubError:
    """Return the refusal for a flag that is not there, or not for this caller."""
    return HubError(
        "flag_not_found",
        Kind.NOT_FOUND,
        "There is no such flag.",
        next_step="List the flags to see their keys.",
    )


def _value(kind: FlagType, name: str, value: Any) -> Any:  # Any: JSON values
    if not _VARIANT.match(name):
        raise _invalid("a variant's name has 1 to 63 of A-Z, a-z, 0-9, '_' and '-'")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        FlagType.BOOLEAN: isinstance(value, bool),
        FlagType.STRING: isinstance(value, str),
        FlagType.INTEGER: number and isinstance(value, int) and abs(value) <= INTEGER_MAX,
        FlagType.NUMBER: number and abs(value) <= INTEGER_MAX and isfinite(value),
        FlagType.OBJECT: isinstance(value, dict),
    }[kind]
    if not fits:
        raise _invalid(f"the value of variant '{name}' is no {kind.value}")
    if _length(value) > VALUE_BYTES_MAX:
        raise _invalid(
            f"the value of variant '{name}' is longer than {VALUE_BYTES_MAX} bytes, or holds numbers past 64 bits"
        )
    return float(value) if kind == FlagType.NUMBER else value


def _length(value: object) -> int:
    try:
        msgspec.msgpack.encode(value)  # as the log keeps it: it has no whole numbers past 64 bits
        return len(msgspec.json.encode(value))
    except OverflowError:
        return VALUE_BYTES_MAX + 1


def _check_rule(rule: Rule, variants: Mapping[str, Any], known: Known) -> None:  # Any: JSON values
    _check_variant(rule.variant, variants)
    for tier in rule.tiers:
        if tier not in known.tiers:
            raise HubError(
                "unknown_tier",
                Kind.MALFORMED,
                f"There is no tier '{tier[:64]}'.",
                next_step=_use_one_of(known.tiers),
            )
    for segment in rule.segments:
        if segment not in known.segments:
            raise HubError(
                "unknown_segment",
                Kind.MALFORMED,
                f"There is no segment '{segment[:64]}'.",
                next_step=_use_one_of(known.segments),
            )
    for tenant in rule.tenants:
        _check_tenant(tenant, known)
    for environment in rule.environments:
        if not is_name(environment):
            raise _invalid("an environment's name is not a name")
    if rule.percentage is not None and not 0 <= rule.percentage <= PERCENT_MAX:
        raise _invalid(f"a percentage is a number from 0 to {PERCENT_MAX:g}")


def _check_variant(variant: str, variants: Mapping[str, Any]) -> None:  # Any: JSON values
    if variant not in variants:
        raise HubError(
            "unknown_variant",
            Kind.MALFORMED,
            f"The flag has no variant '{variant[:64]}'.",
            next_step=_use_one_of(variants),
        )


def _check_tenant(tenant_id: str, known: Known) -> None:
    if not known.is_tenant(tenant_id):
        raise HubError(
            "unknown_tenant",
            Kind.MALFORMED,
            f"There is no tenant '{tenant_id[:64]}'.",
            next_step="Create the tenant first, or correct its id.",
        )


def _check_condition(condition: Condition) -> None:
    values, operator = condition.values, condition.operator
    if operator is Operator.EXISTS:
        fits = not values
    elif operator in _ONE_TEXT:
        fits = len(values) == 1 and isinstance(values[0], str)
    elif operator in _ONE_NUMBER:
        fits = len(values) == 1 and _is_number(values[0])
    else:
        fits = bool(values)
    if not fits or any(_is_number(value) and not abs(float(value)) <= INTEGER_MAX for value in values):
        raise _bad_segment(f"the values of '{condition.attribute}' do not suit '{operator.value}'")


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _use_one_of(known: Collection[str]) -> str:
    return f"Use one of {', '.join(sorted(known)[:SHOWN_MAX])}." if known else "Create it first."


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_flag", Kind.MALFORMED, f"The flag is refused: {reason}.", next_step="Correct the definition."
    )


def _bad_segment(reason: str) -> HubError:
    return HubError(
        "invalid_segment", Kind.MALFORMED, f"The segment is refused: {reason}.", next_step="Correct the segment."
    )
