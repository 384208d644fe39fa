"""What stands above a tenant's plan, as a section of the document that a tenant is exported as."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.plans.model import Grant, Value
from central_hub.plans.usecases import NewGrant, Plans
from central_hub.plans.view import PlansView
from central_hub.tenants.transfers import TypedSection

NAME: Final = "entitlements"


class _Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    feature: str
    value: Value
    priority: int = 0
    expires_at_ms: int = 0
    reason: str = ""


class _Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    feature: str
    value: Value
    reason: str = ""


class _Layers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    addons: list[str] = []
    grants: list[_Grant] = []
    overrides: list[_Override] = []


class PortableLayers(TypedSection[_Layers]):
    """The tenants' section of add-ons, grants that still count, and overrides.

    Args:
        view: what there is.
        plans: takes it in, through its ordinary commands.
        clock: grants end by it.
    """

    def __init__(self, view: PlansView, plans: Plans, clock: Clock) -> None:
        super().__init__(NAME, _Layers)
        self._view = view
        self._plans = plans
        self._clock = clock

    def kept(self, domain: DomainId) -> _Layers:
        """Return what stands above a tenant's plan."""
        above, now_ms = self._view.above(domain), self._clock.now_ms()
        return _Layers(
            addons=sorted(above.addons),
            grants=[_exported(one) for one in above.grants.values() if one.is_live(now_ms)],
            overrides=[
                _Override(feature=one.feature, value=one.value, reason=one.reason) for one in above.overrides.values()
            ],
        )

    async def keep(self, ctx: TenantContext, domain: DomainId, kept: _Layers) -> None:
        """Give a tenant what was exported; grants that have ended since are left out."""
        for addon in kept.addons:
            await self._plans.attach(ctx, domain, addon)
        for grant in kept.grants:
            if 0 < grant.expires_at_ms <= self._clock.now_ms():
                continue
            wanted = NewGrant(
                feature=grant.feature,
                value=grant.value,
                priority=grant.priority,
                expires_at_ms=grant.expires_at_ms or None,
                reason=grant.reason,
            )
            await self._plans.grant(ctx, domain, wanted, key=f"import/{grant.id[:64]}")
        for override in kept.overrides:
            await self._plans.override(ctx, domain, override.feature, override.value, reason=override.reason)


def _exported(grant: Grant) -> _Grant:
    return _Grant(
        id=grant.id,
        feature=grant.feature,
        value=grant.value,
        priority=grant.priority,
        expires_at_ms=grant.expires_at_ms,
        reason=grant.reason,
    )
