"""Small pieces the registry's tests share: applied facts, a view, contexts, implementations of ports."""

from __future__ import annotations

from collections.abc import Mapping

from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.registry.model import Instance
from central_hub.registry.ports import Advice, LeaseTerms, Verdict
from central_hub.registry.view import RegistryView

RANKS = {"free": 0, "pro": 1, "enterprise": 2}
LIMITS = {"free": {"max_concurrent_requests": 10}, "pro": {"max_concurrent_requests": 100}, "enterprise": {}}
SCOPES = frozenset({"registry:read", "registry:write"})
ACME = DomainId("acme")


class TierTable:
    """The three default tiers."""

    def rank_of(self, tier: str) -> int | None:
        return RANKS.get(tier)

    def tier_at(self, rank: int) -> str | None:
        return next((name for name, at in RANKS.items() if at >= rank), None)

    def limits_of(self, domain: DomainId, tier: str) -> Mapping[str, int]:
        return LIMITS.get(tier, {})


class Verdicts:
    """Verdicts a test sets."""

    def __init__(self) -> None:
        self.by_instance: dict[tuple[str, str, str], Verdict] = {}

    def verdict(self, domain: DomainId, service: str, instance_id: str) -> Verdict | None:
        return self.by_instance.get((domain, service, instance_id))


class FixedAdvice:
    """Heartbeats when a TTL is given, probes otherwise."""

    def __init__(self) -> None:
        self.advised: list[str] = []

    def advise(self, domain: DomainId, instance: Instance) -> Advice:
        self.advised.append(instance.instance_id)
        if instance.lease_ttl_s is not None:
            return Advice(lease=LeaseTerms(ttl_s=instance.lease_ttl_s, kept_by="heartbeat"))
        return Advice(lease=LeaseTerms(ttl_s=3600.0, kept_by="nothing"), warnings=("probing is not granted",))


class OpenAccess:
    """Access that a test can change: refusals and replacements by principal id."""

    def __init__(self) -> None:
        self.refused: dict[str, Exception] = {}
        self.replaced: dict[str, TenantContext] = {}

    def current(self, ctx: TenantContext) -> TenantContext:
        refusal = self.refused.get(ctx.principal.id)
        if refusal is not None:
            raise refusal
        return self.replaced.get(ctx.principal.id, ctx)


def ctx_of(
    tenant: str | None = "acme",
    *,
    tier: str = "free",
    scopes: frozenset[str] = SCOPES,
    principal: str = "key-1",
    kind: PrincipalKind = PrincipalKind.KEY,
    epoch: int = 0,
    caller: str = "",
) -> TenantContext:
    home = SHARED if tenant is None else DomainId(tenant)
    return TenantContext(
        principal=Principal(id=principal, kind=kind, home=home, scopes=scopes),
        tenant_id=None if tenant is None else TenantId(tenant),
        tier=tier,
        rank=RANKS[tier],
        epoch=epoch,
        caller_service=caller,
    )


def instance(service: str = "risk", instance_id: str = "i-1", **fields: object) -> Instance:
    given = {"host": "10.0.0.1", "port": 8080, "owner": "key-1", **fields}
    return Instance(service_name=service, instance_id=instance_id, **given)  # type: ignore[arg-type]


class Fold:
    """A view with a log of its own: positions per domain, nothing else."""

    def __init__(self) -> None:
        self.view = RegistryView(TierTable().rank_of)
        self.seqs: dict[DomainId, int] = {}
        self.pos = 0
        self.incarnation = "inc1"

    def position(self, domain: DomainId) -> int:
        return self.seqs.get(domain, 0)

    def apply(self, fact: Fact, domain: DomainId = SHARED, time_ms: int = 1_000) -> Applied:
        self.pos += 1
        seq = self.seqs[domain] = self.seqs.get(domain, 0) + 1
        applied = Applied(
            pos=self.pos,
            domain=domain,
            domain_seq=seq,
            streams=("x",),
            category=Category.FACT,
            type=type(fact).__name__,
            id=str(self.pos),
            time_ms=time_ms,
            actor=HUB_ACTOR,
            fact=fact,
        )
        if type(fact) in self.view.facts:
            self.view.apply(applied)
        return applied
