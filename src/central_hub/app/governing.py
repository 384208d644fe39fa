"""Tenants and their plans, wired: who there is, what they may do, and how they come and go."""

from __future__ import annotations

from collections.abc import Sequence

from central_hub.app.parts import Core, Quotas
from central_hub.edge.operations import Operation
from central_hub.plans.portable import PortableLayers
from central_hub.plans.routes import PlanRoutes
from central_hub.plans.routes import operations as plans_operations
from central_hub.plans.usecases import Plans
from central_hub.quotas.limits import Held
from central_hub.tenants.audit import AuditTrail
from central_hub.tenants.lifecycle_routes import LifeCycleRoutes
from central_hub.tenants.lifecycle_routes import operations as lifecycle_operations
from central_hub.tenants.ports import Provision
from central_hub.tenants.routes import TenantRoutes
from central_hub.tenants.routes import operations as tenants_operations
from central_hub.tenants.transfers import Section, Transfers
from central_hub.tenants.usecases import Tenants


def rows_of(
    core: Core, quotas: Quotas, provisions: Sequence[Provision], sections: Sequence[Section], reserved: set[str]
) -> tuple[Operation, ...]:
    """Return the operations of tenants, their life, their keys and plans.

    Args:
        core: what everything stands on.
        quotas: what is used of limits.
        provisions: what a new tenant begins with.
        sections: what a tenant's document holds beside its record and entitlements.
        reserved: words that name no tenant.
    """
    tenants = Tenants(
        core.tenants,
        core.sequencer,
        core.book,
        core.stores.pepper,
        reserved=reserved,
        administered=core.authentication.end_bootstrap,
        provisions=provisions,
    )
    plans = Plans(core.plans, core.tenants, core.sequencer)
    carried = (PortableLayers(core.plans, plans, core.clock), *sections)
    transfers = Transfers(core.tenants, tenants, core.sequencer, core.clock, carried)
    audit = AuditTrail(core.stores.log, core.runner)
    routes = TenantRoutes(tenants, core.tenants, audit, core.denials, core.authentication, transfers, core.clock)
    plan_routes = PlanRoutes(
        plans=plans,
        view=core.plans,
        book=core.book,
        tenants=tenants,
        decisions=core.denials,
        usage=Held(core.quotas, quotas.budgets, core.book),
        clock=core.clock,
    )
    return (
        *tenants_operations(routes),
        *lifecycle_operations(LifeCycleRoutes(core.life)),
        *plans_operations(plan_routes),
    )
