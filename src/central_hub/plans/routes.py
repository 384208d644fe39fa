"""The rows of plans and entitlements, and their handlers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.plans.book import PlanBook
from central_hub.plans.document import DOCUMENT_BYTES_MAX
from central_hub.plans.model import SCOPE_ADMIN, SCOPE_GRANT, SCOPE_READ
from central_hub.plans.ports import Entitlement, Usage
from central_hub.plans.rules import layers_of
from central_hub.plans.schemas import (
    EntitlementAnswer,
    EntitlementExplained,
    EntitlementList,
    GrantBody,
    LayerAnswer,
    LayerList,
    LayerQuery,
    OverrideBody,
    PlansAnswer,
    PlansApplied,
    PutPlans,
    PutPlansQuery,
    Word,
    entitlement_fields,
    grant_answer,
    layer_answers,
)
from central_hub.plans.usecases import NewGrant, Plans
from central_hub.plans.view import PlansView
from central_hub.tenants.denials import DenialLog
from central_hub.tenants.usecases import Tenants

PLANS: Final = "plans"
ENTITLEMENTS: Final = "entitlements"


class PlanRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(
        self,
        *,
        plans: Plans,
        view: PlansView,
        book: PlanBook,
        tenants: Tenants,
        decisions: DenialLog,
        usage: Usage,
        clock: Clock,
    ) -> None:
        self._plans = plans
        self._view = view
        self._book = book
        self._tenants = tenants
        self._decisions = decisions
        self._usage = usage
        self._clock = clock

    async def get_plans(self, call: Call) -> Reply:
        """Show the catalogue."""
        return Reply(body=PlansAnswer(revision=self._view.revision, catalogue=self._book.catalogue))

    async def put_plans(self, call: Call) -> Reply:
        """Replace the catalogue, or say what that would change."""
        body: PutPlans = call.body
        query: PutPlansQuery = call.query
        done = await self._plans.apply(
            call.ctx, body.catalogue, dry_run=query.dry_run, if_revision=body.if_revision, reason=body.reason
        )
        return Reply(body=PlansApplied(revision=done.revision, dry_run=query.dry_run, changes=done.changes))

    async def list_entitlements(self, call: Call) -> Reply:
        """Show what a tenant may do, feature by feature."""
        domain, tier = DomainId(call.path["tenant_id"]), call.ctx.tier
        answers = [
            self._answer(domain, self._book.ask(domain, tier, feature))
            for feature in sorted(self._book.catalogue.features)
        ]
        return Reply(body=EntitlementList(tenant_id=domain, tier=tier, entitlements=answers))

    async def get_entitlement(self, call: Call) -> Reply:
        """Show what a tenant may do with one feature, and why."""
        domain, tier, feature = DomainId(call.path["tenant_id"]), call.ctx.tier, call.path["feature"]
        found = self._book.ask(domain, tier, feature)
        layers = layers_of(self._book.catalogue, self._view.above(domain), tier, feature, self._clock.now_ms())
        explained = {
            **entitlement_fields(found, self._usage.used(domain, feature)),
            "tenant_id": domain,
            "tier": tier,
            "layers": [Word(source=source, value=value) for source, value in layers] if found.source != "none" else [],
            "decision_id": self._decision(call.ctx, found),
        }
        return Reply(body=msgspec.convert(explained, EntitlementExplained))

    async def list_layers(self, call: Call) -> Reply:
        """Show what stands above a tenant's plan."""
        page: LayerQuery = call.query
        addons = self._book.catalogue.addons
        layers = layer_answers(
            self._view.above(DomainId(call.path["tenant_id"])),
            {name: addon.priority for name, addon in addons.items()},
            self._clock.now_ms(),
        )
        start = 0
        if page.cursor is not None:
            places = [at for at, one in enumerate(layers) if f"{one.layer}:{one.id}" == page.cursor]
            if not places:
                raise HubError(
                    "invalid_cursor",
                    Kind.INVALID,
                    "The cursor is not one that a page gave, or what it named is gone.",
                    next_step="Leave it out to start from the beginning.",
                )
            start = places[0] + 1
        shown = layers[start : start + page.limit]
        more = f"{shown[-1].layer}:{shown[-1].id}" if start + page.limit < len(layers) else None
        return Reply(body=LayerList(layers=shown, next_cursor=more))

    async def grant(self, call: Call) -> Reply:
        """Give a tenant a feature."""
        body: GrantBody = call.body
        wanted = NewGrant(
            feature=body.feature,
            value=body.value,
            priority=body.priority,
            expires_at_ms=body.expires_at_ms,
            reason=body.reason,
        )
        grant = await self._plans.grant(call.ctx, call.path["tenant_id"], wanted, key=call.idempotency_key)
        return Reply(body=grant_answer(grant, self._clock.now_ms()))

    async def revoke_grant(self, call: Call) -> Reply:
        """Take a grant back."""
        await self._plans.revoke(call.ctx, call.path["tenant_id"], call.path["grant_id"])
        return Reply()

    async def set_override(self, call: Call) -> Reply:
        """Say the last word about a feature."""
        body: OverrideBody = call.body
        tenant_id, feature = call.path["tenant_id"], call.path["feature"]
        await self._plans.override(call.ctx, tenant_id, feature, body.value, reason=body.reason)
        return self._layer(tenant_id, "override", feature)

    async def remove_override(self, call: Call) -> Reply:
        """Let the layers below decide again."""
        await self._plans.remove_override(call.ctx, call.path["tenant_id"], call.path["feature"])
        return Reply()

    async def attach_addon(self, call: Call) -> Reply:
        """Let a tenant have an add-on."""
        tenant_id, addon = call.path["tenant_id"], call.path["addon"]
        await self._plans.attach(call.ctx, tenant_id, addon)
        return self._layer(tenant_id, "addon", addon)

    async def detach_addon(self, call: Call) -> Reply:
        """Take an add-on away."""
        await self._plans.detach(call.ctx, call.path["tenant_id"], call.path["addon"])
        return Reply()

    def _answer(self, domain: DomainId, found: Entitlement) -> EntitlementAnswer:
        return msgspec.convert(entitlement_fields(found, self._usage.used(domain, found.feature)), EntitlementAnswer)

    def _layer(self, tenant_id: str, layer: str, layer_id: str) -> Reply:
        above = self._view.above(DomainId(tenant_id))
        addons = {name: addon.priority for name, addon in self._book.catalogue.addons.items()}
        shown = layer_answers(above, addons, self._clock.now_ms())
        return Reply(body=next(one for one in shown if (one.layer, one.id) == (layer, layer_id)))

    def _decision(self, ctx: TenantContext, found: Entitlement) -> str:
        how_much = f" up to {found.limit} {found.unit}".rstrip() if found.limit is not None else ""
        said = "is granted" if found.allowed else "is denied"
        return self._decisions.seal(
            ctx,
            code="entitled" if found.allowed else "not_entitled",
            message=f"'{found.feature[:64]}' {said}{how_much}, by {found.source}.",
            operation="get_entitlement",
            next_step=f"The plan '{found.upgrade_to}' grants more." if found.upgrade_to else "",
        )


def operations(routes: PlanRoutes) -> tuple[Operation, ...]:
    """Return the rows of plans and entitlements."""
    return (*_plans(routes), *_reading(routes), *_above(routes))


def _plans(routes: PlanRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": PLANS, "scope": SCOPE_ADMIN, "platform": True}  # Any: Operation's own types
    return (
        Operation(
            id="get_plans", method="GET", path="/plans", handler=routes.get_plans, answer=PlansAnswer,
            summary="Show the plans, add-ons and features in force.", **row,
        ),
        Operation(
            id="put_plans", method="PUT", path="/plans", handler=routes.put_plans, query=PutPlansQuery, body=PutPlans,
            body_bytes_max=DOCUMENT_BYTES_MAX, answer=PlansApplied,
            problems=("invalid_plans", "plan_in_use", "plans_changed"),
            summary="Replace the plans, add-ons and features; with dry_run only say what would change.", **row,
        ),
    )  # fmt: skip


def _reading(routes: PlanRoutes) -> tuple[Operation, ...]:
    one = "/tenants/{tenant_id}/entitlements"
    row: dict[str, Any] = {  # Any: Operation's own types
        "tag": ENTITLEMENTS, "scope": SCOPE_READ, "tenant_param": "tenant_id", "method": "GET",
    }  # fmt: skip
    return (
        Operation(
            id="list_entitlements", path=one, handler=routes.list_entitlements, answer=EntitlementList,
            summary="Show what a tenant may do: limits, what is used, and which layer says so.", **row,
        ),
        Operation(
            id="get_entitlement", path=one + "/{feature}", handler=routes.get_entitlement,
            answer=EntitlementExplained,
            summary="Show what a tenant may do with one feature, and why; an unknown one is denied.", **row,
        ),
        Operation(
            id="list_layers", path="/tenants/{tenant_id}/grants", handler=routes.list_layers, query=LayerQuery,
            answer=LayerList, problems=("invalid_cursor",),
            summary="List what stands above a tenant's plan: add-ons, grants, overrides.", **row,
        ),
    )  # fmt: skip


def _above(routes: PlanRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {  # Any: Operation's own types
        "tag": ENTITLEMENTS, "scope": SCOPE_GRANT, "platform": True, "tenant_param": "tenant_id",
    }  # fmt: skip
    wrong = ("unknown_feature", "invalid_entitlement")
    grants, overrides, addons = (f"/tenants/{{tenant_id}}/{what}" for what in ("grants", "overrides", "addons"))
    return (
        Operation(
            id="grant_entitlement", method="POST", path=grants, handler=routes.grant, body=GrantBody, status=201,
            answer=LayerAnswer, problems=(*wrong, "invalid_expiry", "limit_reached"),
            summary="Give a tenant a feature, for a while or for good.", **row,
        ),
        Operation(
            id="revoke_grant", method="DELETE", path=grants + "/{grant_id}", handler=routes.revoke_grant, status=204,
            summary="Take a grant back.", **row,
        ),
        Operation(
            id="set_override", method="PUT", path=overrides + "/{feature}", handler=routes.set_override,
            body=OverrideBody, answer=LayerAnswer, problems=wrong,
            summary="Say the last word about a feature for a tenant.", **row,
        ),
        Operation(
            id="remove_override", method="DELETE", path=overrides + "/{feature}", handler=routes.remove_override,
            status=204, summary="Let the layers below decide about a feature again.", **row,
        ),
        Operation(
            id="attach_addon", method="PUT", path=addons + "/{addon}", handler=routes.attach_addon,
            answer=LayerAnswer, problems=("unknown_addon", "limit_reached"),
            summary="Let a tenant have an add-on.", **row,
        ),
        Operation(
            id="detach_addon", method="DELETE", path=addons + "/{addon}", handler=routes.detach_addon, status=204,
            summary="Take an add-on away from a tenant.", **row,
        ),
    )  # fmt: skip
