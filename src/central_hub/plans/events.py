"""The events of plans: what a tenant may do besides its plan changed, or the catalogue did for everyone."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.plans.model import (
    AddonAttached,
    AddonDetached,
    Catalogue,
    CatalogueApplied,
    EntitlementGranted,
    GrantRevoked,
    OverrideRemoved,
    OverrideSet,
)


class CatalogueData(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the plans there are, and why they are as they are."""

    plans: tuple[str, ...]
    reason: str


def _of_feature(fact: Any) -> str:  # Any: a fact about one feature
    return f"entitlement/{fact.feature}"


def _of_addon(fact: Any) -> str:  # Any: a fact about one add-on
    return f"addon/{fact.addon}"


_GRANT: Final = "0198a3c4-0000-7000-8000-000000000006"

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}plan.catalogue-applied.v1", fact=CatalogueApplied, order="plans",
        example=CatalogueApplied(catalogue=Catalogue(features={}, plans={}), reason="spring prices"),
        subject=lambda _: "plans", shape=CatalogueData,
        data=lambda fact: CatalogueData(plans=tuple(fact.catalogue.plans), reason=fact.reason),
        summary="What plans grant is something else for everyone.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.addon-attached.v1", fact=AddonAttached, order="addon/{addon}",
        example=AddonAttached(addon="more-seats"), subject=_of_addon, data=fields_of("addon"),
        summary="A tenant has an add-on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.addon-detached.v1", fact=AddonDetached, order="addon/{addon}",
        example=AddonDetached(addon="more-seats"), subject=_of_addon, data=fields_of("addon"),
        summary="A tenant has an add-on no more.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.entitlement-granted.v1", fact=EntitlementGranted, order="entitlement/{feature}",
        example=EntitlementGranted(grant_id=_GRANT, feature="advanced_ai", value=True, reason="trial"),
        subject=_of_feature, data=fields_of("grant_id", "feature", "value", "reason"),
        summary="A tenant is given a feature, for a while or for good.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.grant-revoked.v1", fact=GrantRevoked, order="grant/{grant_id}",
        example=GrantRevoked(grant_id=_GRANT), subject=lambda fact: f"grant/{fact.grant_id}",
        data=fields_of("grant_id"), summary="What a tenant was given counts no more.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.override-set.v1", fact=OverrideSet, order="entitlement/{feature}",
        example=OverrideSet(feature="websocket_connections", value=75, reason="contract"),
        subject=_of_feature, data=fields_of("feature", "value", "reason"),
        summary="The operator's last word about a feature for this tenant.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}plan.override-removed.v1", fact=OverrideRemoved, order="entitlement/{feature}",
        example=OverrideRemoved(feature="websocket_connections"), subject=_of_feature, data=fields_of("feature"),
        summary="Plan, add-ons and grants decide about a feature again.",
    ),
)  # fmt: skip
