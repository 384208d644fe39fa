"""What is remembered of plans: the catalogue, and for each tenant what stands above its plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.plans.ports import EntitlementKind

FEATURES_MAX: Final = 512
PLANS_MAX: Final = 64
ADDONS_MAX: Final = 128
GRANTS_PER_TENANT_MAX: Final = 256
"""Grants of one tenant, ended ones included."""
ADDONS_PER_TENANT_MAX: Final = 32
PRIORITY_MAX: Final = 1_000
REASON_LENGTH_MAX: Final = 256
DESCRIPTION_LENGTH_MAX: Final = 256
UNIT_LENGTH_MAX: Final = 32
TEXT_LENGTH_MAX: Final = 256
NUMBER_MAX: Final = 2**53 - 1
"""Largest number of a value or limit: every JSON reader keeps it exactly."""

PLANS_STREAM: Final = "plans"
ABOVE_STREAM: Final = "entitlements"
"""The aggregate of what stands above a tenant's plan."""

SCOPE_ADMIN: Final = "plans:admin"
SCOPE_GRANT: Final = "tenants:admin"
SCOPE_READ: Final = "config:read"

HUB_PREFIX: Final = "hub_"
"""Features that begin with it are about the use of the hub itself, and not of the platform that it serves."""
UNKNOWN: Final = "none"
"""Source of an entitlement that nothing grants."""

Value = bool | int | float | str | None
"""What a layer says about a feature: yes or no, a value, or a limit; None is no limit."""


class Period(StrEnum):
    """Over which time a metered feature is counted; empty for what is held at one time."""

    HELD = ""
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Feature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a plan says something about, and what can be said.

    `soft` limits are reported when they are passed, and not enforced.
    """

    kind: EntitlementKind
    unit: str = ""
    period: Period = Period.HELD
    soft: bool = False
    description: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a tier grants, feature by feature; a higher rank sees everything that a lower one does.

    `template` names the configuration template that a new tenant's own layer begins with; empty for none.
    """

    rank: int
    entitlements: Mapping[str, Value]
    template: str = ""


class Addon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a tenant can have besides its plan; of two that name a feature the one of higher priority decides."""

    entitlements: Mapping[str, Value]
    priority: int = 0


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything there is to subscribe to."""

    features: Mapping[str, Feature]
    plans: Mapping[str, Plan]
    addons: Mapping[str, Addon] = {}


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A feature given to one tenant, for a while or for good; `expires_at_ms` 0 is for good."""

    id: str
    feature: str
    value: Value
    priority: int = 0
    expires_at_ms: int = 0
    reason: str = ""
    author: str = ""
    created_at_ms: int = 0

    def is_live(self, now_ms: int) -> bool:
        """Say whether it still counts."""
        return not 0 < self.expires_at_ms <= now_ms


class Override(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last word about a feature for one tenant."""

    feature: str
    value: Value
    reason: str = ""
    author: str = ""
    created_at_ms: int = 0


class Attached(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An add-on that a tenant has."""

    addon: str
    author: str = ""
    created_at_ms: int = 0


class Above(msgspec.Struct, kw_only=True):
    """What stands above one tenant's plan."""

    addons: dict[str, Attached] = {}
    grants: dict[str, Grant] = {}
    overrides: dict[str, Override] = {}

    @property
    def is_empty(self) -> bool:
        """Whether the plan alone decides."""
        return not (self.addons or self.grants or self.overrides)


class CatalogueApplied(Fact, frozen=True, kw_only=True):
    """The catalogue is this from now on."""

    catalogue: Catalogue
    reason: str = ""


class AddonAttached(Fact, frozen=True, kw_only=True):
    """The tenant has an add-on."""

    addon: str


class AddonDetached(Fact, frozen=True, kw_only=True):
    """The tenant has an add-on no more."""

    addon: str


class EntitlementGranted(Fact, frozen=True, kw_only=True):
    """The tenant is given a feature."""

    grant_id: str
    feature: str
    value: Value
    priority: int = 0
    expires_at_ms: int = 0
    reason: str = ""


class GrantRevoked(Fact, frozen=True, kw_only=True):
    """A grant counts no more."""

    grant_id: str


class OverrideSet(Fact, frozen=True, kw_only=True):
    """The operator's last word about a feature for this tenant."""

    feature: str
    value: Value
    reason: str = ""


class OverrideRemoved(Fact, frozen=True, kw_only=True):
    """The layers below decide again."""

    feature: str


FACTS: Final[tuple[type[Fact], ...]] = (
    CatalogueApplied,
    AddonAttached,
    AddonDetached,
    EntitlementGranted,
    GrantRevoked,
    OverrideSet,
    OverrideRemoved,
)
