"""Commands about layers: change one, change many at once, go back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from central_hub.configuration.describing import Descriptions
from central_hub.configuration.effective import tenant_missing
from central_hub.configuration.folding import Compiled, Placed
from central_hub.configuration.merging import decoded, encoded
from central_hub.configuration.model import (
    CHANGES_PER_SET_MAX,
    COUNT_LAYERS,
    EMPTY,
    PLATFORM_LAYERS_MAX,
    SCHEMAS_STREAM,
    TENANT_LAYERS_MAX,
    ConfigurationReloaded,
    Document,
    Json,
    Layer,
    Revision,
    TenantConfigurationChanged,
    layers_for,
)
from central_hub.configuration.ports import Customers, Defaults, Held, KnownSecrets
from central_hub.configuration.references import references, unknown_secret
from central_hub.configuration.rules import (
    as_compiled,
    check_document,
    check_effect,
    check_environment,
    check_layer,
    check_precondition,
    revision_in,
)
from central_hub.configuration.sections import Sections
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.secrets.model import secret_stream
from central_hub.tenants.model import TENANT_STREAM

Edit = Callable[[Document], Json]
"""What a change makes of a document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A change of one layer: for which revision, and what it makes of the document."""

    layer: Layer
    if_match: str | None
    edit: Edit
    restores: int = 0
    unresolved: bool = False
    """Whether it may refer to secrets that are not there: an import, whose secrets are put afterwards."""
    begins_at: str = ""
    """The tier of a tenant that begins in this very step, and so is in no view yet."""


class Proposed:
    """The layers as they would be: what is committed, under what a change would make of some."""

    def __init__(self, view: ConfigurationView) -> None:
        self._view = view
        self.changed: dict[Layer, Compiled | None] = {}
        self.platform_generation = 0

    def put(self, layer: Layer, document: Document) -> None:
        """Take a change."""
        self.changed[layer] = as_compiled(document)
        self.platform_generation += 1

    def generation(self, domain: DomainId) -> int:
        """Return whether the domain has layers; asked once all changes were put."""
        return 1 if self.layers(domain) else 0

    def layers(self, domain: DomainId) -> Mapping[Layer, object]:
        """Return the layers of a domain."""
        new = {layer: folded for layer, folded in self.changed.items() if layer.domain == domain}
        return {**self._view.layers(domain), **new} if new else self._view.layers(domain)

    def folded(self, domain: DomainId, layer: Layer | None) -> Compiled | None:
        """Return a layer ready to be folded."""
        if layer is not None and layer in self.changed:
            return self.changed[layer]
        return self._view.folded(domain, layer)


class Configuration:
    """Changes layers, all or nothing, each with a revision of its own.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        sections: what may be configured.
        defaults: what a tier grants.
        customers: which tenants there are.
        held: which layers a rollout has in hand; none when left out.
        secrets: which secrets references may lead to; none when left out.
    """

    def __init__(
        self,
        view: ConfigurationView,
        sequencer: Sequencer,
        sections: Sections,
        defaults: Defaults,
        customers: Customers,
        held: Held | None = None,
        secrets: KnownSecrets | None = None,
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._sections = sections
        self.describe: Final = Descriptions(view, sequencer, sections).describe
        self._defaults = defaults
        self._customers = customers
        self._secrets = secrets
        self._held = held

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers there are."""
        return self._defaults.names()

    async def change(
        self, ctx: TenantContext, wishes: Sequence[Wish], *, reason: str = "", key: str | None = None
    ) -> list[Revision]:
        """Make changes of one or many layers, all of them or none.

        Returns:
            The revision of each, in order; the one there was where nothing changes.

        Raises:
            HubError: `precondition_required` (428), `revision_moved` (412), `tenant_not_found` (404), `locked`,
                `out_of_bounds`, `environment_denied` (403), `unknown_key`, `invalid_value`, `invalid_document`,
                `invalid_guard`, `invalid_patch`, `type_changed`, `invalid_name`, `unknown_tier`,
                `invalid_change_set`, `unknown_secret`, `secret_literal` (422), `document_too_large` (413),
                `layer_in_rollout` (409), `limit_reached` (429).
        """
        self.check(ctx, wishes)
        domains = sorted({wish.layer.domain for wish in wishes})
        proposed: list[Proposed] = []  # held until the change is in force: documents are made ready to be folded once

        def decide(tx: Tx) -> list[tuple[Layer, int]]:
            self.touch(tx, wishes)
            for wish in wishes:
                self.check_free(wish.layer)
            proposed[:] = [Proposed(self._view)]
            return self.make(tx, wishes, reason, proposed[0], new=True)

        source = None if key is None else Idempotency(domain=domains[0], source=ctx.principal.id, id=f"config/{key}")
        committed = await self._sequencer.submit(ctx.actor, domains, decide, idempotency=source)
        return [self._revision(Layer(*layer), number) for layer, number in committed.answer]

    def make(
        self, tx: Tx, wishes: Sequence[Wish], reason: str, proposed: Proposed | None = None, *, new: bool = False
    ) -> list[tuple[Layer, int]]:
        """Propose changes within somebody's decision, which has touched what they depend on.

        Args:
            tx: the decision's.
            wishes: the changes.
            reason: why.
            proposed: told of every change.
            new: whether they were not planned before: then what they refer to has to be there.

        Returns:
            Each layer with its revision.

        Raises:
            HubError: as `change`.
        """
        change_set = tx.new_id() if len(wishes) > 1 else ""
        written: list[tuple[Layer, int]] = []
        for wish, before, document in self.planned(wishes, proposed, new=new):
            if new:
                self._touch_secrets(tx, wish.layer, document)
            number = before.number
            if encoded(document) != before.document:
                number += 1
                self._append(tx, wish, number, document, reason, change_set)
            written.append((wish.layer, number))
        return written

    def check_free(self, layer: Layer) -> None:
        """Refuse to change a layer that a rollout has in hand; within a decision, after touching it.

        Raises:
            HubError: `layer_in_rollout` (409).
        """
        holder = "" if self._held is None else self._held.holder(layer.domain, layer)
        if holder:
            raise HubError(
                "layer_in_rollout",
                Kind.CONFLICT,
                f"{layer.text} is being rolled out and cannot be changed until that is over.",
                next_step=f"Wait for it, or abort it: central-hub rollout abort {holder}",
                fields={"rollout_id": holder, "layer": layer.text},
            )

    def check(self, ctx: TenantContext, wishes: Sequence[Wish]) -> None:
        """Check what can be known of changes before they are decided.

        Raises:
            HubError: as `change`.
        """
        layers = [wish.layer for wish in wishes]
        if not layers or len(layers) > CHANGES_PER_SET_MAX or len(set(layers)) != len(layers):
            raise HubError(
                "invalid_change_set",
                Kind.MALFORMED,
                f"A change set has 1 to {CHANGES_PER_SET_MAX} changes, each of another layer.",
                next_step="Put what you change of one layer into one change.",
            )
        for layer in layers:
            check_layer(layer, self._defaults.names())
            check_environment(ctx.principal, layer.environment)

    def planned(
        self, wishes: Sequence[Wish], proposed: Proposed | None = None, *, new: bool = True
    ) -> list[tuple[Wish, Revision, Document]]:
        """Return what each change makes of its layer, checked under those before it in the set.

        Args:
            proposed: told of every change.
            new: whether what they newly refer to has to be there.

        Raises:
            HubError: as `change`.
        """
        proposed = proposed or Proposed(self._view)
        plan: list[tuple[Wish, Revision, Document]] = []
        for wish in wishes:
            layer = wish.layer
            if layer.tenant and self._tier_of(wish) is None:
                raise tenant_missing()
            before = self._view.current(layer.domain, layer)
            named = revision_in(wish.if_match)
            seen = None if named is None else self._view.revision(layer.domain, layer, named)
            check_precondition(wish.if_match, before, seen)
            document = check_document(wish.edit(decoded(before.document)))
            self._sections.check(self._view.schemas(PLATFORM), document)
            if new and not wish.restores and not wish.unresolved:
                self._check_references(layer, decoded(before.document), document)
            proposed.put(layer, document)
            self._check_effect(wish, proposed)
            plan.append((wish, before, document))
        return plan

    def _check_references(self, layer: Layer, before: Document, after: Document) -> None:
        known = references(before)
        for at, path in references(after).items():
            if known.get(at) == path:
                continue
            if self._secrets is None or not self._secrets.resolves(layer.domain, path):
                raise unknown_secret(
                    at, path, "" if self._secrets is None else self._secrets.suggest(layer.domain, path)
                )

    def _touch_secrets(self, tx: Tx, layer: Layer, document: Document) -> None:
        for path in references(document).values():
            for domain in {layer.domain, PLATFORM}:
                tx.touch(domain, secret_stream(path))

    def _tier_of(self, wish: Wish) -> str | None:
        return wish.begins_at or self._customers.tier_of(wish.layer.domain)

    def _check_effect(self, wish: Wish, proposed: Proposed) -> None:
        layer = wish.layer
        after = proposed.folded(layer.domain, layer)
        if after is None:
            return
        tier = layer.tier or (self._tier_of(wish) or "" if layer.tenant else "")
        default = self._defaults.compiled(layer.domain, tier) if tier else None
        placed = [Placed(default, own=False)]
        for each in layers_for(tier, layer.tenant, layer.service, layer.environment):
            if each is None or (each.tier and not tier):
                continue
            placed.append(Placed(proposed.folded(each.domain, each), own=bool(each.tenant)))
            if each == layer:
                break
        granted = {} if default is None else default.leaves
        check_effect(self._view.folded(layer.domain, layer), after, placed, granted, self._sections.built_in)

    def touch(self, tx: Tx, wishes: Sequence[Wish]) -> None:
        """Declare what changes of these layers depend on."""
        tx.touch(PLATFORM, SCHEMAS_STREAM)
        for wish in wishes:
            layer = wish.layer
            if layer.tenant:
                tx.touch(layer.domain, TENANT_STREAM)
            tier = layer.tier or (self._tier_of(wish) or "" if layer.tenant else "")
            for each in layers_for(tier, layer.tenant, layer.service, layer.environment):
                if each is not None:
                    tx.touch(each.domain, each.stream)

    def _append(self, tx: Tx, wish: Wish, number: int, document: Document, reason: str, change_set: str) -> None:
        layer = wish.layer
        counts: dict[str, int] | None = None
        if number == 1:
            limit = TENANT_LAYERS_MAX if layer.tenant else PLATFORM_LAYERS_MAX
            if len(self._view.layers(layer.domain)) + tx.pending(layer.domain, COUNT_LAYERS) >= limit:
                raise HubError(
                    "limit_reached", Kind.LIMIT, f"There are {limit} layers here already, which is the limit.",
                    next_step="Configure fewer exact combinations.", retry_after_s=60, fields={"limit": limit},
                )  # fmt: skip
            counts = {COUNT_LAYERS: 1}
        kind = TenantConfigurationChanged if layer.tenant else ConfigurationReloaded
        fact = kind(
            layer=(layer.tier, layer.tenant, layer.service, layer.environment),
            revision=number,
            document=document,
            reason=reason,
            restores=wish.restores,
            change_set=change_set,
        )
        tx.append(layer.domain, fact, streams=(layer.stream,), counts=counts)

    def restoring(self, layer: Layer, number: int, if_match: str | None) -> Wish:
        """Return the change that goes back to a revision; it becomes a new one.

        Raises:
            HubError: `revision_not_found` (404) for one that is not kept.
        """
        document = self.revision(layer, number).document
        return Wish(layer=layer, if_match=if_match, edit=lambda _: decoded(document), restores=number)

    def revision(self, layer: Layer, number: int) -> Revision:
        """Return a revision of a layer.

        Raises:
            HubError: `revision_not_found` (404).
        """
        found = self._view.revision(layer.domain, layer, number)
        if found is None:
            raise HubError(
                "revision_not_found",
                Kind.NOT_FOUND,
                f"Revision {number} of this layer is not kept.",
                next_step="Read the layer's history for the revisions that are.",
            )
        return found

    def _revision(self, layer: Layer, number: int) -> Revision:
        found = self._view.revision(layer.domain, layer, number)
        return EMPTY if found is None else found
