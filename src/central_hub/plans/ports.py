"""What others ask of plans, and what plans ask of others."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from central_hub.kernel.ids import DomainId


class EntitlementKind(StrEnum):
    """What an entitlement says: yes or no, a fixed value, or how much."""

    BOOLEAN = "boolean"
    VALUE = "value"
    METERED = "metered"


class Entitlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one question: may this tenant use that feature, how much of it, and who says so.

    Args:
        feature: what was asked for.
        kind: of the answer; a feature that nothing names is BOOLEAN and denied.
        allowed: whether it may be used at all.
        value: of a VALUE.
        limit: of a METERED one; None for no limit.
        unit: what a METERED one counts, such as "calls".
        period: "hour", "day" or "month" for what is counted up; empty for what is held at one time.
        soft: whether use past the limit is only reported, not refused.
        source: the layer that decided: "plan:pro", "addon:…", "grant:…", "override", or "none" for unknown.
        upgrade_to: the lowest plan that grants what this one does not; None when there is none.
    """

    feature: str
    kind: EntitlementKind
    allowed: bool
    value: bool | int | float | str | None = None
    limit: int | None = None
    unit: str = ""
    period: str = ""
    soft: bool = False
    source: str = "none"
    upgrade_to: str | None = None


class Used(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much of a metered feature a tenant has used, and when its counting begins again (0: never by itself)."""

    amount: int
    resets_at_ms: int = 0


class Usage(Protocol):
    """Who counts what is metered; quotas implements it."""

    def used(self, domain: DomainId, feature: str) -> Used | None:
        """Return what a tenant has used; None where nobody counts."""
        ...


class Entitlements(Protocol):
    """The one place that answers what a tenant may do."""

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        """Answer for one tenant at its tier; an unknown tier or feature is denied, never an error."""
        ...
