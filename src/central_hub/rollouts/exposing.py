"""The values that rollouts have some try out before the rest: which they are, and who gets them.

While nobody can have other values than the rest nothing here is asked, and a read costs what it did before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from central_hub.configuration.effective import Effective
from central_hub.configuration.folding import Compiled
from central_hub.configuration.in_force import InForce
from central_hub.configuration.model import Layer
from central_hub.configuration.ports import Customers, Defaults
from central_hub.configuration.rules import as_compiled
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.rollouts.model import Rollout, Unit
from central_hub.rollouts.rules import concerns, is_exposed
from central_hub.rollouts.view import RolloutsView

COMBINATIONS_KEPT_MAX: Final = 64
"""Sets of rollouts whose values are kept at a time; who is in another set is resolved again."""


class Tried:
    """The layers as they are now, with what some rollouts change in them. Implements `Layers`.

    Args:
        view: the layers.
        rollouts: whose changes apply; no two of them change the same layer.
    """

    def __init__(self, view: ConfigurationView, rollouts: Iterable[Rollout]) -> None:
        self._view = view
        self._changed: dict[Layer, Compiled | None] = {
            change.of: as_compiled(change.document) for rollout in rollouts for change in rollout.changes
        }
        self._own: dict[DomainId, dict[Layer, object]] = {}
        for layer, folded in self._changed.items():
            self._own.setdefault(layer.domain, {})[layer] = folded

    @property
    def platform_generation(self) -> int:
        """Moves with the platform's layers; what is tried out never changes."""
        return self._view.platform_generation

    def generation(self, domain: DomainId) -> int:
        """Return a number that moves with the domain's layers; never 0 where something is tried out."""
        return self._view.generation(domain) + (1 if domain in self._own else 0)

    def layers(self, domain: DomainId) -> Mapping[Layer, object]:
        """Return the layers of a domain."""
        tried = self._own.get(domain)
        return {**self._view.layers(domain), **tried} if tried else self._view.layers(domain)

    def folded(self, domain: DomainId, layer: Layer | None) -> Compiled | None:
        """Return a layer ready to be folded."""
        if layer is not None and layer in self._changed:
            return self._changed[layer]
        return self._view.folded(domain, layer)


class Exposing:
    """Implements configuration's `Candidates` on what rollouts have reached.

    Args:
        rollouts: which there are.
        configuration: the layers.
        defaults: what tiers grant.
        customers: which tenants there are.
        in_force: told whether there is anything to ask here.
    """

    def __init__(
        self,
        rollouts: RolloutsView,
        configuration: ConfigurationView,
        defaults: Defaults,
        customers: Customers,
        in_force: InForce,
    ) -> None:
        self._rollouts = rollouts
        self._configuration = configuration
        self._defaults = defaults
        self._customers = customers
        self._in_force = in_force
        self._kept: dict[frozenset[str], Effective] = {}
        self._seen = -1
        self._asked = False

    def refresh(self) -> bool:
        """Take up what became of rollouts; says whether anything did. Called after every batch of facts."""
        if self._seen == self._rollouts.generation:
            return False
        self._seen = self._rollouts.generation
        going_on = {
            rollout_id for domain in self._rollouts.domains(PLATFORM) for rollout_id in self._rollouts.going_on(domain)
        }
        self._kept = {names: kept for names, kept in self._kept.items() if names <= going_on}
        if not going_on and not self._asked:
            return False
        self._asked = bool(going_on)
        self._in_force.try_out(self if going_on else None)
        return True

    def effective_for(self, domain: DomainId, tier: str, service: str, instance: str) -> Effective | None:
        """Return the values that somebody gets instead; None for whoever no rollout has reached."""
        reached = [
            rollout
            for rollout in self._of(domain)
            if concerns(rollout, domain, tier, service) and is_exposed(rollout, domain, tier, service, instance)
        ]
        return self.effective_with(reached) if reached else None

    def splits(self, domain: DomainId) -> bool:
        """Say whether a rollout reaches some instances of a domain before others."""
        return any(
            rollout.unit is Unit.INSTANCE or any(stage.instances for stage in rollout.reached)
            for rollout in self._of(domain)
        )

    def effective_with(self, rollouts: Iterable[Rollout]) -> Effective:
        """Return the values of whoever is exposed to these rollouts and to no other."""
        some = list(rollouts)
        names = frozenset(rollout.id for rollout in some)
        kept = self._kept.get(names)
        if kept is None:
            if len(self._kept) >= COMBINATIONS_KEPT_MAX:
                self._kept.clear()
            kept = self._kept[names] = Effective(Tried(self._configuration, some), self._defaults, self._customers)
        return kept

    def going_on(self, domain: DomainId) -> list[Rollout]:
        """Return the rollouts of a domain that are not over."""
        return list(self._rollouts.going_on(domain).values())

    def reached(self, domain: DomainId, tier: str, service: str, instance: str) -> list[str]:
        """Return the rollouts whose values somebody gets."""
        return [
            rollout.id
            for rollout in self._of(domain)
            if concerns(rollout, domain, tier, service) and is_exposed(rollout, domain, tier, service, instance)
        ]

    def _of(self, domain: DomainId) -> list[Rollout]:
        return [*self._rollouts.going_on(PLATFORM).values(), *self._rollouts.going_on(domain).values()]
