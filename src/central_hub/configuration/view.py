"""Layers and their revisions as the log tells them. Pure.

Keyed by domain first: a tenant's own layers in its own, all others in the platform's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from central_hub.configuration.folding import Compiled, compiled
from central_hub.configuration.merging import encoded
from central_hub.configuration.model import (
    EMPTY,
    FACTS,
    HISTORY_MAX,
    ConfigurationReloaded,
    ConfigurationSchemaSet,
    ConfigurationTemplateSet,
    Document,
    Layer,
    Revision,
    Template,
    TenantConfigurationChanged,
)
from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import TenantShredded

CHUNK_BYTES: Final = 262_144
REVISED_KEPT_MAX: Final = 4_096
"""Changes of layers that are remembered for whoever goes through all layers meanwhile."""
_NONE: Final[Mapping[Layer, History]] = {}


class History:
    """The kept revisions of one layer, oldest first, and the newest ready to be folded."""

    __slots__ = ("folded", "revisions")

    def __init__(self, revisions: list[Revision]) -> None:
        self.revisions = revisions
        self.folded: Compiled | None = compiled(revisions[-1].document)

    def add(self, revision: Revision) -> None:
        """Take a new revision; the oldest goes when there are too many."""
        self.revisions.append(revision)
        del self.revisions[:-HISTORY_MAX]
        self.folded = compiled(revision.document)


class _Dump(msgspec.Struct, kw_only=True):
    layers: list[tuple[tuple[str, str, str, str], list[Revision]]] = []
    schemas: dict[str, Document] = {}
    templates: dict[str, Template] = {}


class ConfigurationView:
    """What every layer says and said.

    `platform_generation` moves with every change of a layer of the platform, `revised` with every change of any.
    """

    def __init__(self) -> None:
        self._layers: dict[DomainId, dict[Layer, History]] = {}
        self._schemas: dict[str, Document] = {}
        self._templates: dict[str, Template] = {}
        self._generations: dict[DomainId, int] = {}
        self.platform_generation = 0
        self.revised = 0
        self._revised: deque[tuple[DomainId, Layer]] = deque(maxlen=REVISED_KEPT_MAX)

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "configuration"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    def layers(self, domain: DomainId) -> Mapping[Layer, History]:
        """Return the layers of a domain that were ever written."""
        return self._layers.get(domain, _NONE)

    def generation(self, domain: DomainId) -> int:
        """Return a number that moves with every change of a layer of the domain; 0 while there are none."""
        return self._generations.get(domain, 0)

    def current(self, domain: DomainId, layer: Layer) -> Revision:
        """Return the newest revision of a layer; revision 0 before it was ever written."""
        history = self._layers.get(domain, _NONE).get(layer)
        return EMPTY if history is None else history.revisions[-1]

    def folded(self, domain: DomainId, layer: Layer | None) -> Compiled | None:
        """Return a layer's document ready to be folded; None when it says nothing."""
        if layer is None:
            return None
        history = self._layers.get(domain, _NONE).get(layer)
        return None if history is None else history.folded

    def history(self, domain: DomainId, layer: Layer) -> Sequence[Revision]:
        """Return the kept revisions of a layer, oldest first."""
        history = self._layers.get(domain, _NONE).get(layer)
        return () if history is None else history.revisions

    def revision(self, domain: DomainId, layer: Layer, number: int) -> Revision | None:
        """Return one revision of a layer; 0 is the empty document, None one that is not kept."""
        if number == 0:
            return EMPTY
        return next((each for each in self.history(domain, layer) if each.number == number), None)

    def schemas(self, domain: DomainId) -> Mapping[str, Document]:
        """Return the schemas of the sections that the platform described; other domains have none."""
        return self._schemas if domain == PLATFORM else {}

    def templates(self, domain: DomainId) -> Mapping[str, Template]:
        """Return the platform's templates by name; other domains have none."""
        return self._templates if domain == PLATFORM else {}

    def revised_since(self, domain: DomainId, mark: int) -> list[tuple[DomainId, Layer]] | None:
        """Return the layers that were revised since `revised` was `mark`, for the platform; a tenant sees its own.

        None when that is longer ago than is remembered.
        """
        count = self.revised - mark
        if count > len(self._revised):
            return None
        found = list(islice(self._revised, len(self._revised) - count, None))
        return found if domain == PLATFORM else [each for each in found if each[0] == domain]

    def domains(self, domain: DomainId) -> list[DomainId]:
        """Return every domain with layers, for the platform; a tenant has only its own."""
        return list(self._layers) if domain == PLATFORM else [domain]

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        fact = applied.fact
        match fact:
            case TenantConfigurationChanged() | ConfigurationReloaded():
                self._revise(applied, fact)
            case ConfigurationSchemaSet(section=section, document=document):
                if document is None:
                    self._schemas.pop(section, None)
                else:
                    self._schemas[section] = document
            case ConfigurationTemplateSet(name=name, template=template):
                if template is None:
                    self._templates.pop(name, None)
                else:
                    self._templates[name] = template
            case TenantShredded(tenant_id=tenant_id):
                self._layers.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def _revise(self, applied: Applied, fact: TenantConfigurationChanged | ConfigurationReloaded) -> None:
        revision = Revision(
            number=fact.revision,
            document=encoded(fact.document),
            author=applied.actor.principal,
            time_ms=applied.time_ms,
            reason=fact.reason,
            restores=fact.restores,
            change_set=fact.change_set,
        )
        layers = self._layers.setdefault(applied.domain, {})
        layer = Layer(*fact.layer)
        history = layers.get(layer)
        if history is None:
            layers[layer] = History([revision])
        else:
            history.add(revision)
        self._generations[applied.domain] = self.generation(applied.domain) + 1
        self.revised += 1
        self._revised.append((applied.domain, layer))
        if applied.domain == PLATFORM:
            self.platform_generation += 1

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of about `CHUNK_BYTES`."""
        chunk, size = _Dump(), 0
        for layer, history in self.layers(domain).items():
            chunk.layers.append(((layer.tier, layer.tenant, layer.service, layer.environment), list(history.revisions)))
            size += sum(len(each.document) for each in history.revisions)
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = _Dump(), 0
        if domain == PLATFORM:
            chunk.schemas, chunk.templates = dict(self._schemas), dict(self._templates)
        if chunk.layers or chunk.schemas or chunk.templates:
            yield chunk

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            for names, revisions in dumped.layers:
                self._layers.setdefault(domain, {})[Layer(*names)] = History(revisions)
                self._generations[domain] = self.generation(domain) + 1
            self._schemas.update(dumped.schemas)
            self._templates.update(dumped.templates)
        if domain == PLATFORM:
            self.platform_generation += 1
