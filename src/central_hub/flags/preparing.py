"""What a flag says, prepared for one kind of asker: what cannot vary is decided, what can is compiled. Pure.

Tenant, tier and environment are known before a request comes, so rules are held against them once; what is
left depends on the evaluation context: segments and percentages. A flag without any of those for its asker has
one answer, already encoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from central_hub.flags.conditions import Attributes, Holds, all_hold
from central_hub.flags.model import PERCENT_MAX, Definition, Rule, Segment, State

PLACES: Final = 100_000
"""Places a subject can have in a flag: a percentage counts in thousandths of a percent."""

TARGETING_KEY: Final = "targetingKey"
TENANT_ID: Final = "tenant_id"
TIER: Final = "tier"
ENVIRONMENT: Final = "environment"
KNOWN_TO_HUB: Final = frozenset({TENANT_ID, TIER, ENVIRONMENT})
"""Attributes that the hub sets, whatever the client says."""


class Reason:
    """Reasons as OFREP writes them, and DEFAULT, which OFREP calls UNKNOWN."""

    STATIC: Final = "STATIC"
    TARGETING_MATCH: Final = "TARGETING_MATCH"
    SPLIT: Final = "SPLIT"
    DISABLED: Final = "DISABLED"
    DEFAULT: Final = "DEFAULT"
    ERROR: Final = "ERROR"


ON_THE_WIRE: Final = {Reason.DEFAULT: "UNKNOWN"}
"""The protocol has no word for "asked, and nothing held"."""


class Source:
    """Which layer decided."""

    DEFAULT: Final = "default"
    RULE: Final = "rule"
    OVERRIDE: Final = "override"
    ENTITLEMENT: Final = "entitlement"


class TargetingKeyMissing(Exception):
    """A rule asks who it is about, and the context does not say."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One answer; `encoded` is it as it goes on the wire."""

    variant: str
    value: Any  # Any: a JSON value of the flag's type
    reason: str
    source: str
    encoded: bytes


Member = tuple[frozenset[str], Holds | None]
"""A segment: who is listed, and what holds for the others in it."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """A rule that depends on the context: in one of the segments, and among the first places."""

    segments: tuple[Member, ...]
    places: int | None
    outcome: Outcome


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """A flag for one kind of asker: rules that are left, and what is answered when none holds.

    `missed` is the answer for those whom a percentage left out. `digest` is the same for the same behaviour.
    `asks_hub` says that a condition is about what the hub knows of the asker.
    """

    key: str
    steps: tuple[Step, ...]
    otherwise: Outcome
    missed: Outcome
    digest: bytes
    asks_hub: bool = False

    def evaluate(self, attributes: Attributes) -> Outcome:
        """Return the answer for a context.

        Raises:
            TargetingKeyMissing: a rule asks for the targeting key, and there is none.
        """
        steps = self.steps
        if not steps:
            return self.otherwise
        subject = attributes.get(TARGETING_KEY)
        left_out = False
        for step in steps:
            if step.segments and not _in_any(step.segments, subject, attributes):
                continue
            if step.places is None:
                return step.outcome
            if not subject:
                raise TargetingKeyMissing
            if place(self.key, subject) < step.places:
                return step.outcome
            left_out = True
        return self.missed if left_out else self.otherwise


def place(key: str, subject: str) -> int:
    """Return a subject's place in a flag, from 0: the same for ever, whatever the percentages are."""
    digest = hashlib.blake2b(f"{key}\n{subject}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PLACES


def places_of(percentage: float) -> int:
    """Return how many of the first places a percentage covers."""
    return round(percentage * PLACES / PERCENT_MAX)


def prepare(
    flag: Definition, segment_of: Callable[[str], Segment | None], *, tenant_id: str, tier: str, environment: str
) -> Prepared:
    """Hold a flag's rules against what is known of the asker, and compile the rest.

    Args:
        flag: the definition.
        segment_of: segments by name; one that is gone has nobody in it.
        tenant_id, tier, environment: who asks, and for what.
    """
    if flag.state is not State.ENABLED:
        return fixed(flag, flag.default, Reason.DISABLED, Source.DEFAULT)
    steps: list[Step] = []
    traits: list[object] = []
    asks_hub = False
    for rule in flag.rules:
        if not concerns(rule, tenant_id=tenant_id, tier=tier, environment=environment):
            continue
        if not rule.segments and rule.percentage is None:
            last = (rule.variant, Reason.TARGETING_MATCH, Source.RULE)
            return _finished(flag, steps, traits, last, asks_hub=asks_hub)
        segments = [found for name in rule.segments if (found := segment_of(name)) is not None]
        if rule.segments and not segments:
            continue
        places = None if rule.percentage is None else places_of(rule.percentage)
        reason = Reason.TARGETING_MATCH if places is None else Reason.SPLIT
        asks_hub = asks_hub or any(test.attribute in KNOWN_TO_HUB for one in segments for test in one.conditions)
        outcome = outcome_of(flag, rule.variant, reason, Source.RULE)
        steps.append(Step(tuple((frozenset(one.keys), all_hold(one)) for one in segments), places, outcome))
        traits.append(([(sorted(one.keys), one.conditions) for one in segments], places, outcome.encoded))
    if not steps:
        return fixed(flag, flag.default, Reason.STATIC, Source.DEFAULT)
    last = (flag.default, Reason.DEFAULT, Source.DEFAULT)
    return _finished(flag, steps, traits, last, asks_hub=asks_hub)


def fixed(flag: Definition, variant: str, reason: str, source: str) -> Prepared:
    """Return a flag that says one thing to everyone of its kind."""
    return _finished(flag, [], [], (variant, reason, source))


def concerns(rule: Rule, *, tenant_id: str, tier: str, environment: str) -> bool:
    """Say whether a rule can hold at all for a tenant at its tier in an environment."""
    return (
        (not rule.tenants or tenant_id in rule.tenants)
        and (not rule.tiers or tier in rule.tiers)
        and (not rule.environments or environment in rule.environments)
    )


def outcome_of(flag: Definition, variant: str, reason: str, source: str) -> Outcome:
    """Return an answer of a flag, encoded."""
    value = flag.variants[variant]
    return Outcome(variant, value, reason, source, encode(flag.key, value, variant, reason, {"source": source}))


def encode(key: str, value: object, variant: str, reason: str, metadata: Mapping[str, str]) -> bytes:
    """Write an answer as OFREP has it; every member is always there, since some clients need each."""
    return msgspec.json.encode(
        {
            "key": key,
            "value": value,
            "reason": ON_THE_WIRE.get(reason, reason),
            "variant": variant,
            "metadata": metadata,
        }
    )


def _finished(
    flag: Definition,
    steps: list[Step],
    traits: list[object],
    last: tuple[str, str, str],
    *,
    asks_hub: bool = False,
) -> Prepared:
    otherwise = outcome_of(flag, *last)
    missed = otherwise
    if last[1] == Reason.DEFAULT and any(step.places is not None for step in steps):
        missed = outcome_of(flag, flag.default, Reason.SPLIT, Source.DEFAULT)
    digest = hashlib.sha256(msgspec.msgpack.encode((flag.key, traits, otherwise.encoded))).digest()
    return Prepared(flag.key, tuple(steps), otherwise, missed, digest, asks_hub)


def _in_any(segments: tuple[Member, ...], subject: object, attributes: Attributes) -> bool:
    listed = False
    for keys, holds in segments:
        if subject in keys or (holds is not None and holds(attributes)):
            return True
        listed = listed or bool(keys)
    if listed and not subject:
        raise TargetingKeyMissing
    return False
