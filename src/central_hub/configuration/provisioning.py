"""What a new tenant's own configuration begins with: the template that its plan names, filled in.

It is part of the step that creates the tenant, so there is no tenant with half a beginning. The template is read at
that moment: changing it, or the plan, changes nothing of tenants that are there.
"""

from __future__ import annotations

from typing import Final

from central_hub.configuration.model import TEMPLATES_STREAM, Layer
from central_hub.configuration.templates import rendered
from central_hub.configuration.usecases import Configuration, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.sequencer import Tx
from central_hub.plans.model import PLANS_STREAM
from central_hub.plans.view import PlansView

TENANT_ID: Final = "tenant_id"
TIER: Final = "tier"
"""Parameters that the hub fills in where a template has them; every other one needs a default."""


class DefaultTemplate:
    """Implements the tenants' `Provision`.

    Args:
        plans: which template a plan names.
        view: the templates there are.
        configuration: checks and proposes the layer, as any other.
    """

    def __init__(self, plans: PlansView, view: ConfigurationView, configuration: Configuration) -> None:
        self._plans = plans
        self._view = view
        self._configuration = configuration

    def provision(self, tx: Tx, domain: DomainId, tier: str) -> None:
        """Propose the tenant's own layer; nothing where its plan names no template.

        Raises:
            HubError: `default_template_missing` (409); `parameter_missing`, and what a layer is refused for.
        """
        tx.touch(PLATFORM, PLANS_STREAM)
        plan = self._plans.ladder.catalogue.plans.get(tier)
        if plan is None or not plan.template:
            return
        tx.touch(PLATFORM, TEMPLATES_STREAM)
        template = self._view.templates(PLATFORM).get(plan.template)
        if template is None:
            raise HubError(
                "default_template_missing",
                Kind.CONFLICT,
                f"The plan '{tier}' begins tenants from the template '{plan.template}', which there is none of.",
                next_step="Keep a template of that name, or take it out of the plan.",
                fields={"template": plan.template},
            )
        known = {TENANT_ID: domain, TIER: tier}
        document = rendered(template, {name: known[name] for name in template.parameters.keys() & known.keys()})
        wish = Wish(layer=Layer(tenant=domain), if_match="*", edit=lambda _: document, begins_at=tier)
        self._configuration.touch(tx, [wish])
        self._configuration.make(tx, [wish], f"template {plan.template}", new=True)
