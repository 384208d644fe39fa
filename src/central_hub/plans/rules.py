"""Decisions about plans: is a catalogue sound, what changes with another one, and what a tenant may do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.plans.model import (
    ADDONS_MAX,
    DESCRIPTION_LENGTH_MAX,
    FEATURES_MAX,
    NUMBER_MAX,
    PLANS_MAX,
    PRIORITY_MAX,
    TEXT_LENGTH_MAX,
    UNIT_LENGTH_MAX,
    Above,
    Addon,
    Catalogue,
    Feature,
    Grant,
    Period,
    Value,
)
from central_hub.plans.ports import Entitlement, EntitlementKind

RANK_MAX: Final = 1_000_000
NOTHING_ABOVE: Final = Above()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two catalogues; `action` is add, change or remove, `path` says of what."""

    action: str
    path: str
    before: Any = None  # Any: a JSON value
    after: Any = None  # Any: a JSON value


class Ladder:
    """A catalogue with its plans in order of rank.

    Args:
        catalogue: a sound one.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._by_rank = sorted((plan.rank, name) for name, plan in catalogue.plans.items())
        self._ranks = {name: rank for rank, name in self._by_rank}

    @property
    def highest_rank(self) -> int:
        """The rank of the highest plan."""
        return self._by_rank[-1][0]

    @property
    def ranks(self) -> Mapping[str, int]:
        """Every plan's rank."""
        return self._ranks

    def names(self) -> tuple[str, ...]:
        """Return the plans' names, lowest rank first."""
        return tuple(name for _, name in self._by_rank)

    def rank_of(self, tier: str) -> int | None:
        """Return a plan's rank; None for an unknown one."""
        return self._ranks.get(tier)

    def tier_at(self, rank: int) -> str | None:
        """Return the lowest plan whose rank is at least `rank`; None when there is none."""
        return next((name for at, name in self._by_rank if at >= rank), None)

    def upgrade_to(self, tier: str, feature: str, kind: EntitlementKind, value: Value) -> str | None:
        """Return the lowest plan above a tier that grants more of a feature than `value`; None when none does."""
        if kind is EntitlementKind.VALUE:
            return None
        rank = self._ranks.get(tier, 0)
        plans = self.catalogue.plans
        return next(
            (
                name
                for at, name in self._by_rank
                if at > rank and _grants_more(plans[name].entitlements[feature], value, kind)
            ),
            None,
        )


def decide(ladder: Ladder, above: Above, tier: str, feature: str, now_ms: int) -> Entitlement:
    """Answer what a tenant of a tier may do: the highest layer that names the feature decides.

    Plan, then add-on, then grant, then override. What is unknown, a tier or a feature, is denied;
    so is a layer's word of another kind than the feature's.
    """
    known = ladder.catalogue.features.get(feature)
    if known is None:
        return Entitlement(feature=feature, kind=EntitlementKind.BOOLEAN, allowed=False)
    plan = ladder.catalogue.plans.get(tier)
    if plan is None:
        return _answer(feature, known, False if known.kind is EntitlementKind.BOOLEAN else 0, "none", None)
    value, source = _decided(ladder.catalogue, above, tier, feature, known, now_ms)
    return _answer(feature, known, value, source, ladder.upgrade_to(tier, feature, known.kind, value))


def layers_of(catalogue: Catalogue, above: Above, tier: str, feature: str, now_ms: int) -> Iterator[tuple[str, Value]]:
    """Yield every layer that says something about a feature, the one that decides first."""
    override = above.overrides.get(feature)
    if override is not None:
        yield "override", override.value
    grants = (grant for grant in above.grants.values() if grant.feature == feature and grant.is_live(now_ms))
    for grant in sorted(grants, key=_precedence, reverse=True):
        yield f"grant:{grant.id}", grant.value
    attached = ((name, catalogue.addons[name]) for name in above.addons if name in catalogue.addons)
    for name, addon in sorted(attached, key=lambda one: (-one[1].priority, one[0])):
        if feature in addon.entitlements:
            yield f"addon:{name}", addon.entitlements[feature]
    plan = catalogue.plans.get(tier)
    if plan is not None and feature in plan.entitlements:
        yield f"plan:{tier}", plan.entitlements[feature]


def fits(feature: Feature, value: Value) -> bool:
    """Say whether a value is of a feature's kind: yes or no, a value, or a limit from 0 (None for no limit)."""
    if feature.kind is EntitlementKind.BOOLEAN:
        return isinstance(value, bool)
    if feature.kind is EntitlementKind.METERED:
        return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_MAX)
    if isinstance(value, str):
        return len(value) <= TEXT_LENGTH_MAX
    return isinstance(value, bool) or (isinstance(value, int | float) and -NUMBER_MAX <= value <= NUMBER_MAX)


def check_value(catalogue: Catalogue, name: str, value: Value) -> None:
    """Check what a grant or override says.

    Raises:
        HubError: `unknown_feature`, `invalid_entitlement` (422).
    """
    feature = catalogue.features.get(name)
    if feature is None:
        raise unknown_feature(name)
    if not fits(feature, value):
        raise HubError(
            "invalid_entitlement",
            Kind.MALFORMED,
            f"'{name}' is {feature.kind.value}: {_WANTED[feature.kind]}.",
            next_step="Send a value of that kind.",
            fields={"feature": name, "kind": feature.kind.value},
        )


def check_catalogue(catalogue: Catalogue) -> Catalogue:
    """Return a catalogue that is sound: ranks distinct from 1 up, every plan lists every feature, values fit.

    Raises:
        HubError: `invalid_plans`.
    """
    reason = next(_faults(catalogue), None)
    if reason is not None:
        raise invalid_plans(reason)
    return catalogue


def differences(before: Catalogue, after: Catalogue) -> list[Change]:
    """Return what becomes different, in order of path."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changes: list[Change] = []
    for path in sorted(old.keys() | new.keys()):
        if path not in new:
            changes.append(Change(action="remove", path=path, before=old[path]))
        elif path not in old:
            changes.append(Change(action="add", path=path, after=new[path]))
        elif old[path] != new[path] or type(old[path]) is not type(new[path]):
            changes.append(Change(action="change", path=path, before=old[path], after=new[path]))
    return changes


def invalid_plans(reason: str) -> HubError:
    """Return the refusal of a catalogue."""
    return HubError(
        "invalid_plans",
        Kind.MALFORMED,
        f"The plans are not valid: {reason}.",
        next_step="Correct the file of plans.",
    )


def unknown_feature(name: str) -> HubError:
    """Return the refusal of a feature that is not in the catalogue."""
    return HubError(
        "unknown_feature",
        Kind.MALFORMED,
        f"There is no feature '{name[:64]}' in the plans.",
        next_step="Use one that GET /plans lists, or add it to the plans first.",
    )


_WANTED: Final = {
    EntitlementKind.BOOLEAN: "true or false",
    EntitlementKind.VALUE: f"a number, a text of up to {TEXT_LENGTH_MAX} characters, true or false",
    EntitlementKind.METERED: "a whole number from 0, or null for no limit",
}


def _decided(
    catalogue: Catalogue, above: Above, tier: str, feature: str, known: Feature, now_ms: int
) -> tuple[Value, str]:
    if above.is_empty:
        return catalogue.plans[tier].entitlements[feature], f"plan:{tier}"
    for source, value in layers_of(catalogue, above, tier, feature, now_ms):
        if fits(known, value):
            return value, source
    raise AssertionError("a sound catalogue's plans fit every feature")


def _precedence(grant: Grant) -> tuple[int, float, int, str]:
    """Order grants: by priority, then the one that lasts longer, then the newer one."""
    return grant.priority, grant.expires_at_ms or float("inf"), grant.created_at_ms, grant.id


def _answer(name: str, feature: Feature, value: Value, source: str, upgrade_to: str | None) -> Entitlement:
    metered = feature.kind is EntitlementKind.METERED
    limit = value if isinstance(value, int) and metered else None
    known = source != "none"
    allowed = value is True if feature.kind is EntitlementKind.BOOLEAN else known and not (metered and limit == 0)
    return Entitlement(
        feature=name,
        kind=feature.kind,
        allowed=allowed,
        value=value if feature.kind is EntitlementKind.VALUE and known else None,
        limit=limit,
        unit=feature.unit,
        period=feature.period.value,
        soft=feature.soft,
        source=source,
        upgrade_to=upgrade_to,
    )


def _grants_more(offered: Value, than: Value, kind: EntitlementKind) -> bool:
    if kind is EntitlementKind.BOOLEAN:
        return offered is True and than is not True
    if than is None:
        return False
    return offered is None or (isinstance(offered, int) and isinstance(than, int) and offered > than)


def _faults(catalogue: Catalogue) -> Iterator[str]:
    ranks = [plan.rank for plan in catalogue.plans.values()]
    if not 0 < len(ranks) <= PLANS_MAX:
        yield f"there have to be 1 to {PLANS_MAX} plans"
    if len(set(ranks)) != len(ranks) or any(not 1 <= rank <= RANK_MAX for rank in ranks):
        yield f"each plan needs a rank of its own, from 1 to {RANK_MAX}"
    if len(catalogue.features) > FEATURES_MAX or len(catalogue.addons) > ADDONS_MAX:
        yield f"there are at most {FEATURES_MAX} features and {ADDONS_MAX} add-ons"
    for name in (*catalogue.plans, *catalogue.addons, *catalogue.features):
        if not is_name(name):
            yield f"'{name[:64]}' is not a name (a-z, 0-9, '_' and '-')"
    for name, feature in catalogue.features.items():
        yield from _feature_faults(name, feature)
    for name, plan in catalogue.plans.items():
        missing = sorted(catalogue.features.keys() - plan.entitlements.keys())
        if missing:
            yield f"the plan '{name}' does not say anything about '{missing[0]}': every plan lists every feature"
        if plan.template and not is_name(plan.template):
            yield f"the plan '{name}' begins with '{plan.template[:64]}', which is not the name of a template"
        yield from _value_faults(catalogue, f"plan '{name}'", plan.entitlements)
    for name, addon in catalogue.addons.items():
        yield from _addon_faults(catalogue, name, addon)


def _feature_faults(name: str, feature: Feature) -> Iterator[str]:
    if feature.kind is not EntitlementKind.METERED and (feature.unit or feature.period is not Period.HELD):
        yield f"'{name}' is not metered and so has neither unit nor period"
    if feature.kind is not EntitlementKind.METERED and feature.soft:
        yield f"'{name}' is not metered and so cannot be soft"
    if len(feature.unit) > UNIT_LENGTH_MAX or len(feature.description) > DESCRIPTION_LENGTH_MAX:
        yield f"the unit or the description of '{name}' is too long"


def _addon_faults(catalogue: Catalogue, name: str, addon: Addon) -> Iterator[str]:
    if not addon.entitlements:
        yield f"the add-on '{name}' says nothing"
    if not 0 <= addon.priority <= PRIORITY_MAX:
        yield f"the priority of the add-on '{name}' is not from 0 to {PRIORITY_MAX}"
    yield from _value_faults(catalogue, f"add-on '{name}'", addon.entitlements)


def _value_faults(catalogue: Catalogue, where: str, entitlements: Mapping[str, Value]) -> Iterator[str]:
    for name, value in entitlements.items():
        feature = catalogue.features.get(name)
        if feature is None:
            yield f"the {where} names '{name[:64]}', which is not among the features"
        elif not fits(feature, value):
            yield f"the {where} gives '{name}' ({feature.kind.value}) something else than {_WANTED[feature.kind]}"


def _leaves(catalogue: Catalogue) -> Iterable[tuple[str, object]]:
    for name, feature in catalogue.features.items():
        yield f"features.{name}", msgspec.to_builtins(feature)
    for kind, entries in (("plans", catalogue.plans), ("addons", catalogue.addons)):
        for name, entry in entries.items():
            if isinstance(entry, Addon):
                yield f"{kind}.{name}.priority", entry.priority
            else:
                yield f"{kind}.{name}.rank", entry.rank
                if entry.template:
                    yield f"{kind}.{name}.template", entry.template
            for feature, value in entry.entitlements.items():
                yield f"{kind}.{name}.{feature}", value
