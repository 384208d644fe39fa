"""Conditions on the evaluation context, made into functions once when a segment changes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from central_hub.flags.model import Condition, Operator, Scalar, Segment

Attributes = Mapping[str, Any]  # Any: JSON values, as the client sent them
Holds = Callable[[Attributes], bool]

_COMPARISONS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    Operator.LESS: lambda given, wanted: given < wanted,
    Operator.AT_MOST: lambda given, wanted: given <= wanted,
    Operator.MORE: lambda given, wanted: given > wanted,
    Operator.AT_LEAST: lambda given, wanted: given >= wanted,
}
_TEXTS: Final[dict[Operator, Callable[[str, str], bool]]] = {
    Operator.STARTS_WITH: lambda given, wanted: given.startswith(wanted),
    Operator.ENDS_WITH: lambda given, wanted: given.endswith(wanted),
    Operator.CONTAINS: lambda given, wanted: wanted in given,
}


def all_hold(segment: Segment) -> Holds | None:
    """Return the function that says whether all conditions of a segment hold; None when it has none."""
    tests = tuple(_test_of(condition) for condition in segment.conditions)
    if not tests:
        return None
    return lambda attributes: all(test(attributes) for test in tests)


def _test_of(condition: Condition) -> Holds:
    name, operator = condition.attribute, condition.operator
    if operator is Operator.EXISTS:
        return lambda attributes: attributes.get(name) is not None
    if operator in (Operator.IN, Operator.NOT_IN):
        return _membership(name, frozenset(map(_told_apart, condition.values)), wanted=operator is Operator.IN)
    if operator in _COMPARISONS:
        return _comparison(name, _COMPARISONS[operator], condition.values[0])
    return _text(name, operator, str(condition.values[0]))


def _membership(name: str, values: frozenset[tuple[bool, Scalar]], *, wanted: bool) -> Holds:
    def holds(attributes: Attributes) -> bool:
        given = attributes.get(name)
        if given is None:
            return False
        several = cast(list[Any], given) if isinstance(given, list) else [given]  # Any: as above
        found = any(isinstance(one, Scalar) and _told_apart(one) in values for one in several)
        return found is wanted

    return holds


def _comparison(name: str, compare: Callable[[float, float], bool], wanted: Scalar) -> Holds:
    limit = float(wanted)

    def holds(attributes: Attributes) -> bool:
        given = attributes.get(name)
        return isinstance(given, int | float) and not isinstance(given, bool) and compare(given, limit)

    return holds


def _text(name: str, operator: Operator, wanted: str) -> Holds:
    compare = _TEXTS[operator]

    def holds(attributes: Attributes) -> bool:
        given = attributes.get(name)
        if isinstance(given, list):
            return operator is Operator.CONTAINS and wanted in given
        return isinstance(given, str) and compare(given, wanted)

    return holds


def _told_apart(value: Scalar) -> tuple[bool, Scalar]:
    """Tell true from 1, which are the same to Python and not to JSON."""
    return isinstance(value, bool), value
