"""Answers what a flag says for one asker: flags, tenants' overrides, and entitlements, which are flags too.

Everything is prepared at the first question after a change and kept with the definition it came from, so there
is nothing to invalidate. Tenants that no rule names share what is prepared; memory grows with definitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from central_hub.flags.conditions import Attributes
from central_hub.flags.model import Definition, Override, State
from central_hub.flags.ports import Features
from central_hub.flags.preparing import (
    ENVIRONMENT,
    TENANT_ID,
    TIER,
    Outcome,
    Prepared,
    Reason,
    Source,
    TargetingKeyMissing,
    encode,
    fixed,
    prepare,
)
from central_hub.flags.rules import is_visible
from central_hub.flags.view import FlagsView
from central_hub.kernel.ids import PLATFORM, DomainId

GRANTED: Final = "granted"
DENIED: Final = "denied"
FINGERPRINT_LENGTH: Final = 32
KINDS_MAX: Final = 4_096
"""Kinds of askers that one flag keeps prepared; past it they are prepared again."""


class Asker(msgspec.Struct, frozen=True, gc=False):
    """For whom flags are evaluated: all of it proven or recorded, nothing claimed."""

    domain: DomainId
    tier: str
    environment: str


class Evaluated(msgspec.Struct, frozen=True, gc=False):
    """One flag's answer, or why there is none."""

    key: str
    outcome: Outcome | None
    error_code: str = ""
    error_details: str = ""


class FlagSets:
    """Evaluates flags in process.

    Args:
        view: definitions, segments and overrides.
        features: boolean entitlements.
    """

    def __init__(self, view: FlagsView, features: Features) -> None:
        self._view = view
        self._features = features
        self._kept: dict[str, _Kept] = {}
        self._feature_names: Sequence[str] = ()
        self._feature_set: frozenset[str] = frozenset()

    def evaluate(self, asker: Asker, key: str, context: Attributes) -> Outcome | None:
        """Return what a flag says; None when there is no such flag for this asker.

        Raises:
            TargetingKeyMissing: a rule asks for the targeting key and the context has none.
        """
        if key in self._names():
            return self._entitlement(asker, key)
        prepared = self.prepared(asker, key)
        if prepared is None:
            return None
        return prepared.evaluate(_attributes(asker, context) if prepared.asks_hub else context)

    def evaluate_all(self, asker: Asker, context: Attributes) -> list[Evaluated]:
        """Return every flag that the asker sees, in order of key."""
        features = self._names()
        keys = [key for key in self._view.keys(asker.domain) if key not in features]
        attributes = _attributes(asker, context)
        return [self._one_of_all(asker, key, attributes) for key in sorted((*keys, *features))]

    def prepared(self, asker: Asker, key: str) -> Prepared | None:
        """Return a flag as it is for an asker; None when there is none, or for an entitlement."""
        flag = self._view.flag(PLATFORM, key)
        if flag is None or not is_visible(flag, asker.domain):
            return None
        kept = self._kept.get(key)
        if kept is None or kept.flag is not flag or kept.generation != self._view.segments_generation:
            kept = self._kept[key] = _Kept(flag, self._view.segments_generation)
        override = self._view.override(asker.domain, key)
        if override is not None and applies(override, flag, asker.environment):
            return kept.overridden(override.variant)
        return kept.prepared(self._view, asker)

    def fingerprint(self, asker: Asker) -> str:
        """Return a digest of all that an asker's flags can say: the same as long as nothing changed for it."""
        total = hashlib.sha256(repr((asker.tier, asker.environment)).encode())
        for key in self._view.keys(asker.domain):
            prepared = self.prepared(asker, key)
            if prepared is not None:
                total.update(prepared.digest)
        for name in sorted(self._names()):
            total.update(self._entitlement(asker, name).encoded)
        return total.hexdigest()[:FINGERPRINT_LENGTH]

    def is_feature(self, key: str) -> bool:
        """Say whether a key is a boolean entitlement."""
        return key in self._names()

    def feature_names(self) -> frozenset[str]:
        """Return the boolean entitlements."""
        return self._names()

    def _one_of_all(self, asker: Asker, key: str, attributes: Attributes) -> Evaluated:
        if key in self._feature_set:
            return Evaluated(key, self._entitlement(asker, key))
        prepared = self.prepared(asker, key)
        assert prepared is not None, "the view named it a moment ago"
        try:
            return Evaluated(key, prepared.evaluate(attributes))
        except TargetingKeyMissing:
            return Evaluated(key, None, "TARGETING_KEY_MISSING", MISSING_KEY_DETAILS)

    def _entitlement(self, asker: Asker, feature: str) -> Outcome:
        told = self._features.ask(asker.domain, asker.tier, feature)
        variant = GRANTED if told.allowed else DENIED
        layer = told.source.partition(":")[0]  # which plan or grant is not every browser's to know
        metadata = {"source": Source.ENTITLEMENT, "decided_by": layer}
        if told.upgrade_to:
            metadata["upgrade_to"] = told.upgrade_to
        encoded = encode(feature, told.allowed, variant, Reason.TARGETING_MATCH, metadata)
        return Outcome(variant, told.allowed, Reason.TARGETING_MATCH, Source.ENTITLEMENT, encoded)

    def _names(self) -> frozenset[str]:
        names = self._features.names()
        if names is not self._feature_names:
            self._feature_names, self._feature_set = names, frozenset(names)
        return self._feature_set


MISSING_KEY_DETAILS: Final = "The flag has a rule about who is asking: send context.targetingKey."


def applies(override: Override, flag: Definition, environment: str) -> bool:
    """Say whether an override decides: the flag is on, still has the variant, and the environment is meant."""
    return (
        flag.state is State.ENABLED
        and override.variant in flag.variants
        and (not override.environments or environment in override.environments)
    )


class _Kept:
    """What is prepared of one definition, for each kind of asker that asked."""

    __slots__ = ("_by_kind", "_environments", "_overridden", "_tenants", "_tiers", "flag", "generation")

    def __init__(self, flag: Definition, generation: int) -> None:
        self.flag = flag
        self.generation = generation
        self._tenants = frozenset(tenant for rule in flag.rules for tenant in rule.tenants)
        self._tiers = frozenset(tier for rule in flag.rules for tier in rule.tiers)
        self._environments = frozenset(one for rule in flag.rules for one in rule.environments)
        self._by_kind: dict[tuple[str, str, str], Prepared] = {}
        self._overridden: dict[str, Prepared] = {}

    def prepared(self, view: FlagsView, asker: Asker) -> Prepared:
        # Askers whom no rule tells apart are of one kind, so what clients invent takes no memory.
        tenant = asker.domain if asker.domain in self._tenants else ""
        tier = asker.tier if asker.tier in self._tiers else ""
        environment = asker.environment if asker.environment in self._environments else ""
        kind = (tenant, tier, environment)
        found = self._by_kind.get(kind)
        if found is None:
            if len(self._by_kind) >= KINDS_MAX:
                self._by_kind.clear()
            found = self._by_kind[kind] = prepare(
                self.flag,
                lambda name: view.segment(PLATFORM, name),
                tenant_id=tenant,
                tier=tier,
                environment=environment,
            )
        return found

    def overridden(self, variant: str) -> Prepared:
        found = self._overridden.get(variant)
        if found is None:
            found = fixed(self.flag, variant, Reason.TARGETING_MATCH, Source.OVERRIDE)
            self._overridden[variant] = found
        return found


def _attributes(asker: Asker, context: Attributes) -> Attributes:
    """Return the context with what the hub knows better than the client."""
    attributes: dict[str, Any] = {**context}  # Any: JSON values
    attributes[TENANT_ID] = asker.domain
    attributes[TIER] = asker.tier
    attributes[ENVIRONMENT] = asker.environment
    return attributes
