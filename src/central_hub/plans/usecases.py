"""Commands about the catalogue and about what stands above a tenant's plan."""

from __future__ import annotations

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.plans.model import (
    ABOVE_STREAM,
    ADDONS_PER_TENANT_MAX,
    GRANTS_PER_TENANT_MAX,
    PLANS_STREAM,
    Above,
    AddonAttached,
    AddonDetached,
    Attached,
    Catalogue,
    CatalogueApplied,
    EntitlementGranted,
    Grant,
    GrantRevoked,
    Override,
    OverrideRemoved,
    OverrideSet,
    Value,
)
from central_hub.plans.rules import Change, check_catalogue, check_value, differences
from central_hub.plans.view import PlansView
from central_hub.tenants.model import TENANT_STREAM
from central_hub.tenants.usecases import tenant_missing
from central_hub.tenants.view import TenantsView


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a catalogue changed, or would."""

    changes: list[Change]
    revision: int


class NewGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be granted."""

    feature: str
    value: Value
    priority: int = 0
    expires_at_ms: int | None = None
    reason: str = ""


class Plans:
    """Changes the catalogue, and gives single tenants more or less than their plan.

    Args:
        view: what there is.
        tenants: who exists, at which tier.
        sequencer: makes facts durable.
    """

    def __init__(self, view: PlansView, tenants: TenantsView, sequencer: Sequencer) -> None:
        self._view = view
        self._tenants = tenants
        self._sequencer = sequencer

    async def apply(
        self,
        ctx: TenantContext,
        catalogue: Catalogue,
        *,
        dry_run: bool,
        if_revision: int | None = None,
        reason: str = "",
    ) -> Applied:
        """Replace the catalogue; what is the same already writes nothing.

        Args:
            ctx: who asks.
            catalogue: all of it.
            dry_run: only say what would change.
            if_revision: refuse unless this is the catalogue in force, the one that was looked at.
            reason: kept in the trail.

        Raises:
            HubError: `invalid_plans` (422), `plan_in_use` (409), `plans_changed` (412).
        """
        check_catalogue(catalogue)
        if dry_run:
            return self._judged(catalogue, if_revision)

        def decide(tx: Tx) -> list[Change]:
            tx.touch(PLATFORM, PLANS_STREAM)
            judged = self._judged(catalogue, if_revision)
            if judged.changes:
                tx.append(PLATFORM, CatalogueApplied(catalogue=catalogue, reason=reason), streams=(PLANS_STREAM,))
            return judged.changes

        committed = await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        return Applied(changes=committed.answer, revision=self._view.revision)

    async def grant(self, ctx: TenantContext, tenant_id: str, wanted: NewGrant, *, key: str | None = None) -> Grant:
        """Give a tenant a feature, for a while or for good.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_feature`, `invalid_entitlement`, `invalid_expiry` (422),
                `limit_reached` (429).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> str:
            above = self._touched(tx, domain)
            tx.touch(PLATFORM, PLANS_STREAM)
            check_value(self._view.ladder.catalogue, wanted.feature, wanted.value)
            if wanted.expires_at_ms is not None and wanted.expires_at_ms <= tx.now_ms:
                raise HubError(
                    "invalid_expiry",
                    Kind.MALFORMED,
                    "The grant would end before it begins.",
                    next_step="Give a later time, or leave it out.",
                )
            if len(above.grants) >= GRANTS_PER_TENANT_MAX:
                raise _limit("grants", GRANTS_PER_TENANT_MAX)
            fact = EntitlementGranted(
                grant_id=tx.new_id(),
                feature=wanted.feature,
                value=wanted.value,
                priority=wanted.priority,
                expires_at_ms=wanted.expires_at_ms or 0,
                reason=wanted.reason,
            )
            tx.append(domain, fact, streams=(ABOVE_STREAM,))
            return fact.grant_id

        idempotency = None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"grant/{key}")
        committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=idempotency)
        found = self._view.above(domain).grants.get(committed.answer)
        if found is None:  # the replay of a grant that was revoked since
            raise _grant_gone()
        return found

    async def revoke(self, ctx: TenantContext, tenant_id: str, grant_id: str) -> None:
        """Take a grant back; one that is not there is back already.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            if grant_id in self._touched(tx, domain).grants:
                tx.append(domain, GrantRevoked(grant_id=grant_id), streams=(ABOVE_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    async def override(
        self, ctx: TenantContext, tenant_id: str, feature: str, value: Value, *, reason: str = ""
    ) -> Override:
        """Say the last word about a feature for a tenant; the same again writes nothing.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_feature`, `invalid_entitlement` (422).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            before = self._touched(tx, domain).overrides.get(feature)
            tx.touch(PLATFORM, PLANS_STREAM)
            check_value(self._view.ladder.catalogue, feature, value)
            same = before is not None and before.value == value and type(before.value) is type(value)
            if not same or (before is not None and before.reason != reason):
                tx.append(domain, OverrideSet(feature=feature, value=value, reason=reason), streams=(ABOVE_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self._view.above(domain).overrides[feature]

    async def remove_override(self, ctx: TenantContext, tenant_id: str, feature: str) -> None:
        """Let the layers below decide again; without an override they do already.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            if feature in self._touched(tx, domain).overrides:
                tx.append(domain, OverrideRemoved(feature=feature), streams=(ABOVE_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    async def attach(self, ctx: TenantContext, tenant_id: str, addon: str) -> Attached:
        """Let a tenant have an add-on; one that it has already writes nothing.

        Raises:
            HubError: `tenant_not_found` (404), `unknown_addon` (422), `limit_reached` (429).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            above = self._touched(tx, domain)
            tx.touch(PLATFORM, PLANS_STREAM)
            addons = self._view.ladder.catalogue.addons
            if addon not in addons:
                raise HubError(
                    "unknown_addon",
                    Kind.MALFORMED,
                    f"There is no add-on '{addon[:64]}' in the plans.",
                    next_step=f"Use one of {', '.join(sorted(addons))}." if addons else "Add it to the plans first.",
                )
            if addon in above.addons:
                return
            if len(above.addons) >= ADDONS_PER_TENANT_MAX:
                raise _limit("add-ons", ADDONS_PER_TENANT_MAX)
            tx.append(domain, AddonAttached(addon=addon), streams=(ABOVE_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self._view.above(domain).addons[addon]

    async def detach(self, ctx: TenantContext, tenant_id: str, addon: str) -> None:
        """Take an add-on away; one that is not there is away already.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        domain = DomainId(tenant_id)

        def decide(tx: Tx) -> None:
            if addon in self._touched(tx, domain).addons:
                tx.append(domain, AddonDetached(addon=addon), streams=(ABOVE_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def _touched(self, tx: Tx, domain: DomainId) -> Above:
        tx.touch(domain, TENANT_STREAM)
        tx.touch(domain, ABOVE_STREAM)
        if self._tenants.tenant(domain) is None:
            raise tenant_missing()
        return self._view.above(domain)

    def _judged(self, catalogue: Catalogue, if_revision: int | None) -> Applied:
        now = self._view.ladder.catalogue
        if if_revision is not None and if_revision != self._view.revision:
            raise HubError(
                "plans_changed",
                Kind.PRECONDITION,
                f"The plans are at revision {self._view.revision} by now, not {if_revision}.",
                next_step="Look at the changes again, and apply those.",
                fields={"revision": self._view.revision},
            )
        for name in now.plans.keys() - catalogue.plans.keys():
            count = self._tenants.count_at_tier(name)
            if count:
                raise HubError(
                    "plan_in_use",
                    Kind.CONFLICT,
                    f"The plan '{name}' cannot go: {count} tenants are on it.",
                    next_step="Move them to another plan first, or keep it.",
                    fields={"plan": name, "tenants": count},
                )
        return Applied(changes=differences(now, catalogue), revision=self._view.revision)


def _limit(what: str, limit: int) -> HubError:
    return HubError(
        "limit_reached",
        Kind.LIMIT,
        f"The tenant has {limit} {what} already, which is the limit.",
        next_step=f"Take back {what} that are not needed.",
        retry_after_s=60,
        fields={"limit": limit},
    )


def _grant_gone() -> HubError:
    return HubError(
        "grant_not_found",
        Kind.NOT_FOUND,
        "The grant that this key made was taken back since.",
        next_step="Use another Idempotency-Key to grant it again.",
    )
