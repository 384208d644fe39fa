"""What a request asks of whoever serves it: a small typed language, total and without evaluation. Pure.

`require` is kept to, `prefer` only leans. Where a value is unknown the default is to reject, save for latency, which
is learned by sending requests, and for limits of size, which most models do not state; every bound can say otherwise.
The strings of the first users ("< 100ms", "> 95%") are sugar for bounds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from central_hub.kernel.errors import HubError, Kind
from central_hub.routing.calibration import LEVELS
from central_hub.routing.model import MS_MAX, PRICE_MAX, UNITS_MAX, WORD_LENGTH_MAX, WORDS_MAX, Evidence
from central_hub.routing.sizes import Size

LATENCY_LEVEL: Final = 0.95
"""Which quantile is meant where a latency is bounded without one."""
METRICS_MAX: Final = 8
COST: Final = "cost_max"
LATENCY: Final = "latency_ms"

_BOUND: Final = re.compile(
    r"\s*(?P<sign><=|>=|<|>|=)?\s*(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(?P<unit>[a-zµ%]{0,2})\s*\Z"
)
_MS: Final = {"": 1.0, "ms": 1.0, "s": 1_000.0, "us": 0.001, "µs": 0.001, "m": 60_000.0}

Word = Annotated[str, Meta(min_length=1, max_length=WORD_LENGTH_MAX)]
Words = Annotated[list[Word], Meta(min_length=1, max_length=WORDS_MAX)]
Text = Annotated[str, Meta(min_length=1, max_length=32)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(ge=0.0, le=100.0)]
Unknown = Literal["reject", "accept"]


class Strategy(StrEnum):
    """What counts among those that meet the requirements."""

    PERFORMANCE = "performance_optimized"
    COST = "cost_optimized"
    ACCURACY = "accuracy_optimized"
    BALANCED = "balanced"
    LEAST_LOADED = "least_loaded"
    STICKY = "sticky"


class QualityBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Between which values a metric has to be, and by which evidence at least."""

    min: Number | None = None
    max: Number | None = None
    evidence: Evidence = Evidence.DECLARED
    unknown: Unknown = "reject"


class LatencyBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Below how many milliseconds a share `p` of requests (0.5, 0.9, 0.95 or 0.99) has to stay, as predicted."""

    max: Annotated[float, Meta(gt=0.0, le=MS_MAX)]
    p: Annotated[float, Meta(ge=0.5, le=0.99)] = LATENCY_LEVEL
    unknown: Unknown = "accept"


class Require(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold. Lists of words are any-of, but `features`, which are all wanted."""

    task: Word | None = None
    model: Word | Words | None = None
    version: Word | None = None
    input: Word | None = None
    output: Word | None = None
    features: Words | None = None
    data_size: Word | None = None
    region: Word | Words | None = None
    zone: Word | Words | None = None
    hardware: Word | Words | None = None
    precision: Word | Words | None = None
    lifecycle: Words | None = None
    latency_ms: LatencyBound | Number | Text | None = None
    quality: Annotated[dict[Word, QualityBound | Number | Text], Meta(max_length=METRICS_MAX)] | None = None
    cost_max: Annotated[float, Meta(ge=0.0, le=PRICE_MAX)] | Text | None = None


class Prefer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is leaned to: weights of the strategy `balanced`, and a region or zone that is better than others."""

    latency: Weight = 0.5
    cost: Weight = 0.25
    quality: Weight = 0.25
    region: Word | None = None
    zone: Word | None = None


class SizeHint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a request is: input and output in the unit that is usual for its task."""

    input: Annotated[float, Meta(ge=0.0, le=UNITS_MAX)] = 0.0
    output: Annotated[float, Meta(ge=0.0, le=UNITS_MAX)] = 0.0


class AnyOf(msgspec.Struct, frozen=True, gc=False):
    """A field is one of some words."""

    field: str
    words: tuple[str, ...]


class Holds(msgspec.Struct, frozen=True, gc=False):
    """A field that lists words lists this one, or nothing where that means all."""

    field: str
    word: str
    empty_is_all: bool = False


class Between(msgspec.Struct, frozen=True, gc=False):
    """A number is within bounds; `column` says which."""

    field: str
    column: str
    least: float
    most: float
    evidence: Evidence = Evidence.DECLARED
    unknown_passes: bool = False


Predicate = AnyOf | Holds | Between


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A request's requirements, made ready: `predicates` hang on offerings alone, the rest on its size and the moment.

    Two requests that ask the same are equal, so that an answer to one is the answer to both.
    """

    predicates: tuple[Predicate, ...] = ()
    cost_max: float = -1.0
    """Highest price; below 0 for none."""
    latency_max_ms: float = 0.0
    """0 for none."""
    latency_level: float = LATENCY_LEVEL
    latency_unknown_passes: bool = True
    metric: str = ""
    """The quality that `accuracy_optimized` goes by."""


def wanted_of(require: Require) -> Wanted:
    """Make requirements ready.

    Raises:
        HubError: `invalid_constraint` (422).
    """
    predicates: list[Predicate] = []
    for field in ("task", "model", "version", "region", "zone", "hardware", "precision", "lifecycle"):
        said = getattr(require, field)
        if said is not None:
            predicates.append(AnyOf(field, (said,) if isinstance(said, str) else tuple(sorted(set(said)))))
    for field, word in (("inputs", require.input), ("outputs", require.output)):
        if word is not None:
            predicates.append(Holds(field, word))
    predicates += [Holds("features", word) for word in sorted(set(require.features or ()))]
    if require.data_size is not None:
        predicates.append(Holds("data_sizes", require.data_size, empty_is_all=True))
    for metric, said in sorted((require.quality or {}).items()):
        predicates.append(_quality(metric, said))
    most = require.cost_max
    if isinstance(most, str):
        most = _number(most, COST, ("<", "<=", None))
    latency = _latency(require.latency_ms)
    return Wanted(
        predicates=tuple(predicates),
        cost_max=-1.0 if most is None else most,
        latency_max_ms=0.0 if latency is None else latency.max,
        latency_level=LATENCY_LEVEL if latency is None else latency.p,
        latency_unknown_passes=latency is None or latency.unknown == "accept",
        metric=min(require.quality) if require.quality else "",
    )


def sized(wanted: Wanted, size: Size) -> tuple[Between, ...]:
    """Return the requirements that hang on how much a request is."""
    found = [
        Between(field, field, units, UNITS_MAX, unknown_passes=True)
        for field, units in (("input_max", size[0]), ("output_max", size[1]))
        if units > 0.0
    ]
    if wanted.cost_max >= 0.0:
        found.append(Between(COST, COST, 0.0, wanted.cost_max))
    return tuple(found)


def _quality(metric: str, said: QualityBound | float | str) -> Between:
    if isinstance(said, float | int):
        said = QualityBound(min=said)
    elif isinstance(said, str):
        sign, number, unit = _parsed(said, f"quality.{metric}")
        value = number / 100.0 if unit == "%" else number
        if unit not in ("", "%"):
            raise invalid_constraint(f"quality.{metric}", "a share is written like '> 95%' or '>= 0.95'")
        said = QualityBound(max=value) if sign in ("<", "<=") else QualityBound(min=value)
    if said.min is None and said.max is None:
        raise invalid_constraint(f"quality.{metric}", "it has a 'min', a 'max' or both")
    least = -1e12 if said.min is None else said.min
    most = 1e12 if said.max is None else said.max
    if least > most:
        raise invalid_constraint(f"quality.{metric}", "its 'min' is above its 'max'")
    return Between(
        f"quality.{metric}", metric, least, most, evidence=said.evidence, unknown_passes=said.unknown == "accept"
    )


def _latency(said: LatencyBound | float | str | None) -> LatencyBound | None:
    if isinstance(said, LatencyBound) and said.p not in LEVELS:
        raise invalid_constraint(LATENCY, f"'p' is one of {', '.join(map(str, LEVELS))}")
    if said is None or isinstance(said, LatencyBound):
        return said
    if isinstance(said, str):
        sign, number, unit = _parsed(said, LATENCY)
        if unit not in _MS or sign in (">", ">="):
            raise invalid_constraint(LATENCY, "a latency is written like '< 100ms' or '<= 0.5s'")
        said = number * _MS[unit]
    if not 0.0 < said <= MS_MAX:
        raise invalid_constraint(LATENCY, f"it is above 0 and at most {MS_MAX:,.0f} ms")
    return LatencyBound(max=said)


def _number(text: str, field: str, signs: tuple[str | None, ...]) -> float:
    sign, number, unit = _parsed(text, field)
    if sign not in signs or unit:
        raise invalid_constraint(field, "it is written like '< 0.01'")
    return number


def _parsed(text: str, field: str) -> tuple[str | None, float, str]:
    found = _BOUND.match(text)
    if found is None:
        raise invalid_constraint(
            field, "it is a number with an optional comparison and unit, like '< 100ms' or '> 95%'"
        )
    return found["sign"], float(found["number"]), found["unit"]


def invalid_constraint(field: str, reason: str) -> HubError:
    """Return the refusal of a requirement that cannot be read."""
    return HubError(
        "invalid_constraint", Kind.MALFORMED, f"The requirement '{field}' is refused: {reason}.",
        next_step="Correct it, or leave it out.", fields={"field": field},
    )  # fmt: skip
