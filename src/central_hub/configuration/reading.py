"""What is asked about configuration: the effective value, where each leaf came from, layers and their history."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from central_hub.configuration.effective import Effective
from central_hub.configuration.folding import Absent
from central_hub.configuration.merging import decoded, difference
from central_hub.configuration.model import EMPTY, Json, Layer, Revision, layers_for
from central_hub.configuration.ports import KnownSecrets
from central_hub.configuration.resolving import Resolved
from central_hub.configuration.rules import etag_of
from central_hub.configuration.schemas import (
    DiffAnswer,
    DocumentChange,
    ExplainAnswer,
    ExplainedValue,
    HistoryAnswer,
    LayerAnswer,
    RevisionAnswer,
)
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.rules import referred

PLAN = "plan"
"""What explain calls the layer below all others: what the tenant is granted."""
OPERATOR = "platform"
"""What a tenant sees for the author of a layer of the platform."""


def config_answer(domain: DomainId, value: Resolved, config: bytes) -> tuple[bytes, bytes]:
    """Return the body of GET /config/{tenant_id}: what is the tenant's own, and what it shares."""
    head = msgspec.json.encode({"tenant_id": domain, "subscription_tier": value.stack.tier})
    return head[:-1] + b',"config":', config + b"}"


class ConfigurationReading:
    """Answers questions.

    Args:
        view: the layers.
        effective: the values.
        secrets: which secrets references may lead to.
    """

    def __init__(self, view: ConfigurationView, effective: Effective, secrets: KnownSecrets) -> None:
        self._view = view
        self._effective = effective
        self._secrets = secrets

    def explain(self, ctx: TenantContext, domain: DomainId, service: str, environment: str) -> ExplainAnswer:
        """Say where every leaf of a tenant's value came from, and what binds it.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        value = self._effective.of(domain, service, environment, claimed=ctx.tier)
        tier = value.stack.tier
        layers = (None, *layers_for(tier, domain, service, environment))
        revisions = [EMPTY if layer is None else self._view.current(layer.domain, layer) for layer in layers]
        names = [
            f"{PLAN}/{tier}" if at == 0 else "" if layer is None else layer.text for at, layer in enumerate(layers)
        ]
        values: dict[str, ExplainedValue] = {}
        for path, traced in value.trace().items():
            layer = layers[traced.place]
            values[path] = ExplainedValue(
                value=traced.value,
                layer=names[traced.place],
                revision=revisions[traced.place].number,
                author=PLAN if layer is None else _author(ctx, layer, revisions[traced.place]),
                locked=names[traced.locked_by] if traced.locked_by >= 0 else "",
                limited=names[traced.limited_by] if traced.limited_by >= 0 else "",
                unresolved=self._is_unresolved(domain, traced.value),
            )
        return ExplainAnswer(
            tenant_id=domain, subscription_tier=tier, layers=[name for name in names if name], values=values
        )

    def _is_unresolved(self, domain: DomainId, value: Json | Absent) -> bool:
        path = referred(value)
        return path is not None and not self._secrets.resolves(domain, path)

    def layer(self, ctx: TenantContext, layer: Layer, revision: Revision | None = None) -> LayerAnswer:
        """Show a layer as it is, or one of its revisions."""
        shown = revision or self._view.current(layer.domain, layer)
        return LayerAnswer(
            layer=layer.text,
            revision=shown.number,
            etag=etag_of(shown),
            document=decoded(shown.document),
            author=_author(ctx, layer, shown),
            changed_at=rfc3339(shown.time_ms) if shown.number else "",
            reason=shown.reason,
            restores=shown.restores,
        )

    def history(self, ctx: TenantContext, layer: Layer, *, before: int | None, limit: int) -> HistoryAnswer:
        """List the kept revisions of a layer, newest first."""
        kept = [
            each for each in reversed(self._view.history(layer.domain, layer)) if before is None or each.number < before
        ]
        shown: Sequence[Revision] = kept[:limit]
        answers = [
            RevisionAnswer(
                revision=each.number,
                etag=etag_of(each),
                author=_author(ctx, layer, each),
                changed_at=rfc3339(each.time_ms),
                reason=each.reason,
                restores=each.restores,
                change_set=each.change_set,
            )
            for each in shown
        ]
        more = str(shown[-1].number) if len(kept) > limit else None
        return HistoryAnswer(layer=layer.text, revisions=answers, next_cursor=more)


def diff_answer(layer: Layer, one: Revision, other: Revision) -> DiffAnswer:
    """Show what differs between two revisions."""
    changes = [
        DocumentChange(
            path=each["path"], before=each.get("before", msgspec.UNSET), after=each.get("after", msgspec.UNSET)
        )
        for each in difference(decoded(one.document), decoded(other.document))
    ]
    return DiffAnswer(layer=layer.text, from_=one.number, to=other.number, changes=changes)


def _author(ctx: TenantContext, layer: Layer, revision: Revision) -> str:
    """Name who made a revision; a tenant is not told which of the operator's keys it was."""
    if not revision.author or ctx.principal.home == PLATFORM or layer.tenant:
        return revision.author
    return OPERATOR
