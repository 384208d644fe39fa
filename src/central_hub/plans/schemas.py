"""What HTTP adds to the model of plans: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.kernel.clock import TIME_MS_MAX, rfc3339
from central_hub.kernel.ids import NAME_PATTERN
from central_hub.plans.model import (
    NUMBER_MAX,
    PRIORITY_MAX,
    REASON_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    Above,
    Catalogue,
    Grant,
    Value,
)
from central_hub.plans.ports import Entitlement, Used
from central_hub.plans.rules import Change

PAGE_MAX = 500

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Reason = Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=PRIORITY_MAX)]
TimeMs = Annotated[int, msgspec.Meta(ge=1, le=TIME_MS_MAX)]
Whole = Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
Said = bool | Whole | float | Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)] | None


class PutPlans(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole catalogue; with `if_revision` only if that is the one in force."""

    catalogue: Catalogue
    if_revision: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)] | None = None
    reason: Reason = ""


class PutPlansQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether it is only looked at."""

    dry_run: bool = False


class PlansAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue in force; revision 0 is the one the hub started with."""

    revision: int
    catalogue: Catalogue


class PlansApplied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a catalogue changed; nothing yet on a dry run."""

    revision: int
    dry_run: bool
    changes: list[Change]


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feature to grant: yes or no, a value, or a limit (null for none); without `expires_at_ms` for good."""

    feature: Name
    value: Said
    priority: Priority = 0
    expires_at_ms: TimeMs | None = None
    reason: Reason = ""


class OverrideBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last word about a feature."""

    value: Said
    reason: Reason = ""


class LayerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Something above a tenant's plan: an add-on, a grant or an override; `id` is what to take back."""

    layer: str
    id: str
    feature: str | None
    value: Value
    priority: int
    expires_at: str | None
    live: bool
    reason: str
    author: str
    created_at: str


class LayerQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the list is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class LayerList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what stands above a tenant's plan."""

    layers: list[LayerAnswer]
    next_cursor: str | None = None


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What one layer says about a feature."""

    source: str
    value: Value


class EntitlementAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a tenant may use a feature, how much of it, and which layer says so."""

    feature: str
    kind: str
    allowed: bool
    source: str
    value: Value
    limit: int | None
    used: int | None
    remaining: int | None
    resets_at: str | None
    unit: str
    period: str
    soft: bool
    upgrade_to: str | None


class EntitlementExplained(EntitlementAnswer, frozen=True, kw_only=True):
    """The same with every layer that says something, the one that decides first, and a token to refer to it."""

    tenant_id: str
    tier: str
    layers: list[Word]
    decision_id: str


class EntitlementList(msgspec.Struct, frozen=True, kw_only=True):
    """Every feature of the catalogue for one tenant, in order of name."""

    tenant_id: str
    tier: str
    entitlements: list[EntitlementAnswer]
    next_cursor: str | None = None


def entitlement_fields(found: Entitlement, used: Used | None) -> dict[str, object]:
    """Return the fields of an answer."""
    amount = None if used is None else used.amount
    return {
        "feature": found.feature,
        "kind": found.kind.value,
        "allowed": found.allowed,
        "source": found.source,
        "value": found.value,
        "limit": found.limit,
        "used": amount,
        "remaining": None if amount is None or found.limit is None else max(0, found.limit - amount),
        "resets_at": rfc3339(used.resets_at_ms) if used is not None and used.resets_at_ms else None,
        "unit": found.unit,
        "period": found.period,
        "soft": found.soft,
        "upgrade_to": found.upgrade_to,
    }


def layer_answers(above: Above, priorities: dict[str, int], now_ms: int) -> list[LayerAnswer]:
    """Show what stands above a plan: add-ons, then grants, then overrides, each in order of id.

    Args:
        above: what there is.
        priorities: of the add-ons in the catalogue; one that is gone from it is not live.
        now_ms: grants end by it.
    """
    addons = [
        LayerAnswer(
            layer="addon", id=one.addon, feature=None, value=None, priority=priorities.get(one.addon, 0),
            expires_at=None, live=one.addon in priorities, reason="", author=one.author,
            created_at=rfc3339(one.created_at_ms),
        )
        for one in sorted(above.addons.values(), key=lambda one: one.addon)
    ]  # fmt: skip
    grants = [grant_answer(one, now_ms) for one in sorted(above.grants.values(), key=lambda one: one.id)]
    overrides = [
        LayerAnswer(
            layer="override", id=one.feature, feature=one.feature, value=one.value, priority=0, expires_at=None,
            live=True, reason=one.reason, author=one.author, created_at=rfc3339(one.created_at_ms),
        )
        for one in sorted(above.overrides.values(), key=lambda one: one.feature)
    ]  # fmt: skip
    return [*addons, *grants, *overrides]


def grant_answer(grant: Grant, now_ms: int) -> LayerAnswer:
    """Show a grant."""
    return LayerAnswer(
        layer="grant",
        id=grant.id,
        feature=grant.feature,
        value=grant.value,
        priority=grant.priority,
        expires_at=rfc3339(grant.expires_at_ms) if grant.expires_at_ms else None,
        live=grant.is_live(now_ms),
        reason=grant.reason,
        author=grant.author,
        created_at=rfc3339(grant.created_at_ms),
    )
