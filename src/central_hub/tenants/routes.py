"""The rows of tenants, keys, gateways and audit, and their handlers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.placing import ChainCheck
from central_hub.tenants.audit import AuditPage, AuditTrail
from central_hub.tenants.authentication import Authentication
from central_hub.tenants.denials import Decision, DenialLog
from central_hub.tenants.model import Gateway, LegacyCaller, State
from central_hub.tenants.schemas import (
    AddGateway,
    AuditQuery,
    ChangeTenant,
    CreatedTenant,
    CreateKey,
    CreateTenant,
    GatewayAnswer,
    GatewayList,
    ImportTenant,
    KeyAnswer,
    KeyList,
    LegacyAnswer,
    LegacyPolicy,
    Page,
    RotateKey,
    SecretAnswer,
    TenantAnswer,
    TenantList,
    WhoAmI,
    gateway_answer,
    key_answer,
    legacy_answer,
    secret_answer,
    tenant_answer,
)
from central_hub.tenants.transfers import TenantDocument, Transfers
from central_hub.tenants.usecases import SECRET_SHOWN_ONCE, Created, MintedKey, NewKey, NewTenant, Tenants
from central_hub.tenants.view import TenantsView

TENANTS: Final = "tenants"
KEYS: Final = "keys"
GATEWAYS: Final = "gateways"
AUDIT: Final = "audit"
IMPORT_BYTES_MAX: Final = 16 * 1024 * 1024
NO_STORE: Final = (("cache-control", "no-store"),)


class TenantRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(
        self,
        tenants: Tenants,
        view: TenantsView,
        audit: AuditTrail,
        denials: DenialLog,
        authentication: Authentication,
        transfers: Transfers,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._view = view
        self._audit = audit
        self._denials = denials
        self._authentication = authentication
        self._transfers = transfers
        self._clock = clock

    async def create_tenant(self, call: Call) -> Reply:
        """Create a tenant."""
        body: CreateTenant = call.body
        first_key = None if body.first_key is None else _wanted(body.first_key)
        state = State.TRIAL if body.trial or body.trial_ends_at_ms else State.ACTIVE
        wanted = NewTenant(
            id=body.id,
            name=body.name,
            tier=body.tier,
            state=state,
            trial_until_ms=body.trial_ends_at_ms,
            first_key=first_key,
        )
        made = await self._tenants.create(call.ctx, wanted, key=call.idempotency_key)
        return self._created(made)

    async def export_tenant(self, call: Call) -> Reply:
        """Show a tenant as a document."""
        return Reply(body=self._transfers.export(call.path["tenant_id"]), headers=NO_STORE)

    async def import_tenant(self, call: Call) -> Reply:
        """Make a tenant from a document."""
        body: ImportTenant = call.body
        first_key = None if body.first_key is None else _wanted(body.first_key)
        return self._created(
            await self._transfers.take(call.ctx, body.document, tenant_id=body.id, first_key=first_key)
        )

    async def list_tenants(self, call: Call) -> Reply:
        """List tenants by page."""
        page: Page = call.query
        found = self._view.tenants_after(page.cursor or "", page.limit + 1)
        more = found[page.limit - 1].id if len(found) > page.limit else None
        return Reply(body=TenantList(tenants=[tenant_answer(one) for one in found[: page.limit]], next_cursor=more))

    async def get_tenant(self, call: Call) -> Reply:
        """Show a tenant."""
        return Reply(body=tenant_answer(self._tenants.get(call.path["tenant_id"])))

    async def change_tenant(self, call: Call) -> Reply:
        """Change a tenant's name or tier."""
        body: ChangeTenant = call.body
        tenant = await self._tenants.change(
            call.ctx, call.path["tenant_id"], name=body.name, tier=body.tier, trial_until_ms=body.trial_ends_at_ms
        )
        return Reply(body=tenant_answer(tenant))

    async def create_key(self, call: Call) -> Reply:
        """Create a key; its secret is shown once."""
        body: CreateKey = call.body
        domain = _domain(call)
        minted = await self._tenants.create_key(call.ctx, domain, _wanted(body), key=call.idempotency_key)
        return self._secret(domain, minted)

    async def list_keys(self, call: Call) -> Reply:
        """List keys without their secrets."""
        page: Page = call.query
        if (domain := _domain(call)) != PLATFORM:
            self._tenants.get(domain)
        keys = sorted((key for key in self._view.keys(domain) if key.id > (page.cursor or "")), key=lambda key: key.id)
        more = keys[page.limit - 1].id if len(keys) > page.limit else None
        now_ms = self._clock.now_ms()
        return Reply(body=KeyList(keys=[key_answer(key, now_ms) for key in keys[: page.limit]], next_cursor=more))

    async def get_key(self, call: Call) -> Reply:
        """Show a key without its secret."""
        key = self._tenants.get_key(_domain(call), call.path["key_id"])
        return Reply(body=key_answer(key, self._clock.now_ms()))

    async def rotate_key(self, call: Call) -> Reply:
        """Give a key a new secret."""
        body: RotateKey = call.body or RotateKey()
        domain = _domain(call)
        minted = await self._tenants.rotate_key(
            call.ctx, domain, call.path["key_id"], grace_s=body.grace_s, key=call.idempotency_key
        )
        return self._secret(domain, minted)

    async def revoke_key(self, call: Call) -> Reply:
        """Revoke a key."""
        await self._tenants.revoke_key(call.ctx, _domain(call), call.path["key_id"])
        return Reply()

    async def add_gateway(self, call: Call) -> Reply:
        """Add a gateway."""
        body: AddGateway = call.body
        gateway = Gateway(
            id=body.id,
            issuer=body.issuer,
            audience=body.audience,
            algorithm=body.algorithm,
            public_key=body.public_key,
            tenants=None if body.tenants is None else tuple(body.tenants),
            scopes=tuple(body.scopes),
            created_at_ms=0,
        )
        return Reply(body=gateway_answer(await self._tenants.add_gateway(call.ctx, gateway)))

    async def list_gateways(self, call: Call) -> Reply:
        """List gateways."""
        return Reply(body=GatewayList(gateways=[gateway_answer(one) for one in self._view.gateways()]))

    async def remove_gateway(self, call: Call) -> Reply:
        """Remove a gateway."""
        await self._tenants.remove_gateway(call.ctx, call.path["gateway_id"])
        return Reply()

    async def set_legacy(self, call: Call) -> Reply:
        """Set the legacy policy."""
        body: LegacyPolicy = call.body
        callers = [
            LegacyCaller(caller=one.caller, networks=tuple(one.networks), until_ms=one.until_ms) for one in body.callers
        ]
        await self._tenants.set_legacy(call.ctx, callers)
        return await self.get_legacy(call)

    async def get_legacy(self, call: Call) -> Reply:
        """Show the legacy policy with its counters."""
        calls = self._authentication.legacy_calls
        shown = [legacy_answer(one, calls[one.caller]) for one in self._view.legacy_callers()]
        return Reply(body=LegacyAnswer(callers=shown))

    async def list_audit(self, call: Call) -> Reply:
        """Show a tenant's or the platform's trail by page."""
        wanted: AuditQuery = call.query
        page = await self._audit.page(_domain(call), cursor=wanted.cursor, limit=wanted.limit, latest=wanted.latest)
        return Reply(body=page)

    async def verify_audit(self, call: Call) -> Reply:
        """Verify a tenant's or the platform's trail."""
        return Reply(body=await self._audit.verify(_domain(call)))

    async def explain_decision(self, call: Call) -> Reply:
        """Explain a refusal."""
        return Reply(body=self._denials.explain(call.ctx, call.path["decision_id"]))

    async def who_am_i(self, call: Call) -> Reply:
        """Show how the hub sees the caller."""
        principal = call.ctx.principal
        return Reply(
            body=WhoAmI(
                principal=principal.id,
                kind=principal.kind.value,
                tenant_id=call.ctx.tenant_id,
                tier=call.ctx.tier,
                scopes=sorted(principal.scopes),
                user_id=call.ctx.user_id,
                may_assert=None if principal.assertable is None else sorted(principal.assertable),
            )
        )

    def _created(self, made: Created) -> Reply:
        secret = None if made.key is None else self._shown(DomainId(made.tenant.id), made.key)
        fields = msgspec.structs.asdict(tenant_answer(made.tenant))
        return Reply(body=CreatedTenant(**fields, key=secret), headers=NO_STORE)

    def _secret(self, domain: DomainId, minted: MintedKey) -> Reply:
        return Reply(body=self._shown(domain, minted), headers=NO_STORE)

    def _shown(self, domain: DomainId, minted: MintedKey) -> SecretAnswer:
        key = self._tenants.get_key(domain, minted.key_id)
        return secret_answer(key, minted.secret, "" if minted.secret else SECRET_SHOWN_ONCE)


def operations(routes: TenantRoutes) -> tuple[Operation, ...]:
    """Return the rows of tenants, keys, gateways and audit."""
    return (*_tenants(routes), *_keys(routes), *_platform(routes), *_reading(routes))


def _tenants(routes: TenantRoutes) -> tuple[Operation, ...]:
    one = "/tenants/{tenant_id}"
    path: dict[str, Any] = {"tag": TENANTS, "scope": "tenants:admin", "platform": True}  # Any: Operation's own types
    return (
        Operation(
            id="create_tenant", method="POST", path="/tenants", handler=routes.create_tenant, body=CreateTenant,
            status=201, answer=CreatedTenant,
            problems=("tenant_exists", "unknown_tier", "unknown_scope", "invalid_expiry", "default_template_missing"),
            summary="Create a tenant, with its first key if wanted; the same again changes nothing.", **path,
        ),
        Operation(
            id="list_tenants", method="GET", path="/tenants", handler=routes.list_tenants, query=Page,
            answer=TenantList, summary="List tenants in order of id.", **path,
        ),
        Operation(
            id="get_tenant", method="GET", path=one, handler=routes.get_tenant, answer=TenantAnswer, tag=TENANTS,
            scope="config:read", tenant_param="tenant_id", summary="Show a tenant: tier and status.",
        ),
        Operation(
            id="change_tenant", method="PATCH", path=one, handler=routes.change_tenant, body=ChangeTenant,
            summary="Change a tenant's name or tier, or when its trial ends; it holds before the answer.",
            problems=("unknown_tier", "invalid_expiry", "wrong_state"),
            tenant_param="tenant_id", answer=TenantAnswer, **path,
        ),
        Operation(
            id="export_tenant", method="GET", path=one + "/export", handler=routes.export_tenant,
            answer=TenantDocument, tenant_param="tenant_id",
            summary="Show a tenant as a document: its record, entitlements, configuration and flags.", **path,
        ),
        Operation(
            id="import_tenant", method="POST", path="/tenants/import", handler=routes.import_tenant, status=201,
            body=ImportTenant, body_bytes_max=IMPORT_BYTES_MAX, answer=CreatedTenant,
            problems=("invalid_export", "tenant_exists", "unknown_tier", "unknown_feature", "unknown_addon"),
            summary="Make a tenant from such a document; the same again goes on after a failure.", **path,
        ),
    )  # fmt: skip


def _keys(routes: TenantRoutes) -> tuple[Operation, ...]:
    rows: list[Operation] = []
    for prefix, of, more in (
        ("/tenants/{tenant_id}/keys", "tenant", {"tenant_param": "tenant_id", "scope": "keys:admin"}),
        ("/keys", "platform", {"platform": True, "scope": "platform:admin"}),
    ):
        row: dict[str, Any] = {"tag": KEYS, **more}  # Any: Operation's own types
        rows += [
            Operation(
                id=f"create_{of}_key", method="POST", path=prefix, handler=routes.create_key, body=CreateKey,
                answer=SecretAnswer, status=201, problems=("unknown_scope", "scope_not_grantable"),
                summary=f"Create a key of the {of}; its secret is in this answer only.", **row,
            ),
            Operation(
                id=f"list_{of}_keys", method="GET", path=prefix, handler=routes.list_keys, query=Page, answer=KeyList,
                summary=f"List the {of}'s keys, without secrets.", **row,
            ),
            Operation(
                id=f"rotate_{of}_key", method="POST", path=prefix + "/{key_id}/rotate", handler=routes.rotate_key,
                body=RotateKey, body_optional=True, answer=SecretAnswer, problems=("key_not_found",),
                summary="Give a key a new secret; the one before stays valid for grace_s.", **row,
            ),
            Operation(
                id=f"revoke_{of}_key", method="DELETE", path=prefix + "/{key_id}", handler=routes.revoke_key,
                status=204, summary="Refuse a key from now on, open streams included.", **row,
            ),
        ]  # fmt: skip
    rows.append(
        Operation(
            id="get_tenant_key", method="GET", path="/tenants/{tenant_id}/keys/{key_id}", handler=routes.get_key,
            answer=KeyAnswer, tag=KEYS, scope="keys:admin", tenant_param="tenant_id", problems=("key_not_found",),
            summary="Show a key, without its secret.",
        )
    )  # fmt: skip
    return tuple(rows)


def _platform(routes: TenantRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": GATEWAYS, "scope": "gateways:admin", "platform": True}  # Any: Operation's own types
    return (
        Operation(
            id="add_gateway", method="POST", path="/gateways", handler=routes.add_gateway, body=AddGateway,
            answer=GatewayAnswer, status=201, problems=("invalid_gateway", "gateway_exists"),
            summary="Let a gateway assert tenants with signed context tokens.", **row,
        ),
        Operation(
            id="list_gateways", method="GET", path="/gateways", handler=routes.list_gateways, answer=GatewayList,
            summary="List the gateways.", **row,
        ),
        Operation(
            id="remove_gateway", method="DELETE", path="/gateways/{gateway_id}", handler=routes.remove_gateway,
            status=204, summary="Refuse a gateway's tokens from now on.", **row,
        ),
        Operation(
            id="get_legacy_policy", method="GET", path="/legacy", handler=routes.get_legacy, answer=LegacyAnswer,
            summary="Show which callers of before tenants are served, with counters.", **row,
        ),
        Operation(
            id="set_legacy_policy", method="PUT", path="/legacy", handler=routes.set_legacy, body=LegacyPolicy,
            answer=LegacyAnswer, problems=("invalid_legacy_policy",),
            summary="Say which callers of before tenants are served, and until when.", **row,
        ),
    )  # fmt: skip


def _reading(routes: TenantRoutes) -> tuple[Operation, ...]:
    audit: dict[str, Any] = {"tag": AUDIT, "scope": "audit:read"}  # Any: Operation's own types
    own: dict[str, Any] = {"tag": AUDIT, "scope": "platform:admin", "platform": True}  # Any: as above
    return (
        Operation(
            id="list_platform_audit", method="GET", path="/audit", handler=routes.list_audit, query=AuditQuery,
            answer=AuditPage, problems=("invalid_cursor",),
            summary="Read the platform's own trail: its keys, gateways, and refusals of nobody in particular.", **own,
        ),
        Operation(
            id="verify_platform_audit", method="GET", path="/audit/verify", handler=routes.verify_audit,
            answer=ChainCheck, summary="Verify that nothing in the platform's trail was altered or removed.", **own,
        ),
        Operation(
            id="list_audit", method="GET", path="/tenants/{tenant_id}/audit", handler=routes.list_audit,
            query=AuditQuery, answer=AuditPage, tenant_param="tenant_id", problems=("invalid_cursor",),
            summary="Read a tenant's trail: who did what, when, from where.", **audit,
        ),
        Operation(
            id="verify_audit", method="GET", path="/tenants/{tenant_id}/audit/verify", handler=routes.verify_audit,
            answer=ChainCheck, tenant_param="tenant_id",
            summary="Verify that nothing in a tenant's trail was altered or removed.", **audit,
        ),
        Operation(
            id="explain_decision", method="GET", path="/decisions/{decision_id}", handler=routes.explain_decision,
            answer=Decision, problems=("decision_not_found",), summary="Explain a refusal by its decision_id.", **audit,
        ),
        Operation(
            id="who_am_i", method="GET", path="/whoami", handler=routes.who_am_i, answer=WhoAmI, tag=TENANTS,
            scope=None, public=True, summary="Show how the hub sees the caller.",
        ),
    )  # fmt: skip


def _wanted(body: CreateKey) -> NewKey:
    return NewKey(
        name=body.name,
        scopes=tuple(body.scopes),
        expires_at_ms=body.expires_at_ms,
        assertable_tenants=None if body.assertable_tenants is None else tuple(body.assertable_tenants),
        environment=body.environment or "",
    )


def _domain(call: Call) -> DomainId:
    tenant_id = call.path.get("tenant_id")
    return PLATFORM if tenant_id is None else DomainId(tenant_id)
