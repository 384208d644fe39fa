"""Whoever is not entitled is never a candidate, whatever changes between one decision and the next."""

from __future__ import annotations

import random

import pytest

from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.registry.model import Instance
from central_hub.routing.asking import Asked
from central_hub.routing.constraints import Require, wanted_of
from central_hub.routing.deciding import Decided, Router
from central_hub.routing.model import Entitlement, Lifecycle, Offering
from central_hub.routing.view import Declared

TENANTS = ("a", "b", "c")
TIERS = {"free": 1, "pro": 2, "gold": 3}
FEATURES = ("x", "y")
SERVICES = ("s0", "s1", "s2")
STEPS, FULL_STEPS = 4_000, 1_000_000
WANTED = wanted_of(Require(task="t"))


class World:
    """Who sees what, who is granted what; changed between decisions."""

    def __init__(self) -> None:
        self.hidden: set[tuple[str, str]] = set()
        self.granted: set[tuple[str, str]] = set()
        self.well: set[str] = set()

    def sees(self, ctx: TenantContext, domain: DomainId, service: str) -> bool:
        return domain == ctx.domain or (ctx.domain, service) not in self.hidden

    def require(self, ctx: TenantContext, service: str) -> DomainId:
        return SHARED

    def instance(self, domain: DomainId, service: str, instance_id: str) -> Instance:
        return Instance(service_name=service, instance_id=instance_id, host="h", port=1)

    def takes_work(self, domain: DomainId, instance: Instance) -> bool:
        return instance.instance_id not in self.well

    def rank_of(self, tier: str) -> int | None:
        return TIERS.get(tier)

    def grants(self, ctx: TenantContext, feature: str) -> bool:
        return (ctx.domain, feature) in self.granted

    def features(self) -> tuple[str, ...]:
        return FEATURES


Key = tuple[DomainId, str, str]


def entitled(world: World, ctx: TenantContext, key: Key, offering: Offering) -> bool:
    """Say it once more, in the plainest words."""
    domain, service, instance_id = key
    if domain not in (SHARED, ctx.domain) or not world.sees(ctx, domain, service):
        return False
    if instance_id in world.well or offering.lifecycle is Lifecycle.RETIRED:
        return False
    asked = offering.entitlement or Entitlement()
    if asked.tenants and ctx.domain not in asked.tenants:
        return False
    if ctx.domain in asked.denied or not all(world.grants(ctx, one) for one in asked.features):
        return False
    return not asked.tiers or ctx.rank >= min(TIERS[tier] for tier in asked.tiers)


def caller(rng: random.Random) -> TenantContext:
    name, tier = rng.choice(TENANTS), rng.choice(list(TIERS))
    principal = Principal(id=name, kind=PrincipalKind.KEY, home=DomainId(name), scopes=frozenset())
    return TenantContext(principal=principal, tenant_id=TenantId(name), tier=tier, rank=TIERS[tier])


def drawn(rng: random.Random) -> Offering:
    def some(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(rng.sample(words, rng.choice((0, 0, 1, 2))))

    asked = Entitlement(tenants=some(TENANTS), denied=some(TENANTS), tiers=some(tuple(TIERS)), features=some(FEATURES))
    retired = rng.random() < 0.1
    return Offering(
        id="o", model="m", task=rng.choice("tt") if rng.random() < 0.8 else "u",
        entitlement=rng.choice((None, asked)), lifecycle=Lifecycle.RETIRED if retired else Lifecycle.GA,
    )  # fmt: skip


def _change(rng: random.Random, world: World, router: Router, offered: dict[Key, Offering]) -> None:
    domain, service = DomainId(rng.choice((SHARED, SHARED, *TENANTS))), rng.choice(SERVICES)
    key = (domain, service, f"{domain}-{service}-{rng.randrange(4)}")
    match rng.randrange(5):
        case 0 | 1:
            offered[key] = drawn(rng)
            router.put(*key, Declared(offerings=(offered[key],), revision=1))
        case 2:
            offered.pop(key, None)
            router.put(*key, None)
        case 3:
            world.granted ^= {(rng.choice(TENANTS), rng.choice(FEATURES))}  # grants begin and end by time alone
        case _:
            world.hidden ^= {(rng.choice(TENANTS), service)}
            router.epoch += 1
            world.well ^= {key[2]}
            router.look_at(*key)


def _lived(seed: int, steps: int) -> int:
    rng = random.Random(seed)
    world = World()
    router = Router(world, world, rng.getrandbits)
    offered: dict[Key, Offering] = {}
    decided = 0
    for step in range(steps):
        if rng.random() < 0.3:
            _change(rng, world, router, offered)
        ctx = caller(rng)
        found = router.decide(ctx, Asked(wanted=WANTED), step * 0.01, step * 10)
        allowed = {
            (key[1], key[2])
            for key, offering in offered.items()
            if offering.task == "t" and entitled(world, ctx, key, offering)
        }
        matched = found.matched if isinstance(found, Decided) else found
        assert {(row.service, row.instance_id) for row in matched.rows} == allowed
        decided += isinstance(found, Decided)
    return decided


def test_whoever_is_not_entitled_is_never_a_candidate() -> None:
    assert _lived(1, STEPS) > STEPS / 4


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_whoever_is_not_entitled_is_never_a_candidate_a_million_times() -> None:
    assert sum(_lived(seed, FULL_STEPS // 10) for seed in range(10)) > FULL_STEPS / 4
