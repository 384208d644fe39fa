"""The command that describes a section, and the look at all layers that it takes.

Thousands of tenants may say something in a section. Their layers are looked at in slices before the decision; the
decision itself looks again only at those that were revised meanwhile, and fails whoever else writes one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Final

from central_hub.configuration.merging import decoded
from central_hub.configuration.model import (
    SCHEMAS_STREAM,
    SECTIONS_MAX,
    ConfigurationSchemaSet,
    Document,
    Layer,
)
from central_hub.configuration.sections import Section, Sections, is_covered
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, check_name
from central_hub.kernel.ports import Idempotency, StreamKey
from central_hub.kernel.sequencer import Sequencer, Tx

LAYERS_STREAMS: Final = "config/"
SLICE_LAYERS: Final = 512
SLICE_BYTES: Final = 16_384
"""Of documents that are held against the schema, before the event loop gets its turn."""
RECHECKED_MAX: Final = 32
"""Layers that the decision itself looks at again; when more were revised meanwhile, they are looked at before it."""
BROKEN_SHOWN_MAX: Final = 20
ROUNDS_MAX: Final = 16


class _Moved(Exception):
    """Too many layers were revised since they were looked at."""


class _Look:
    """What was found of layers that do not fit the sections as they would be."""

    def __init__(self, view: ConfigurationView, sections: Sections, schemas: dict[str, Document], section: str) -> None:
        self._view = view
        self._sections = Sections(lambda: sections.built_in)  # its own: each keeps one schema a section ready
        self._name = section
        self._quoted = section.encode()
        self.schemas = schemas
        self.mark = view.revised
        self.is_whole = False
        self.streams: set[StreamKey] = set()
        self._broken: dict[Layer, None] = {}

    def everything(self) -> Iterator[int]:
        """Look at every layer; yields the bytes that each took."""
        for domain in self._view.domains(PLATFORM):
            for layer in list(self._view.layers(domain)):
                yield self.at(domain, layer)
        self.is_whole = True

    def revised(self, limit: int) -> Iterator[int]:
        """Look again at what was revised since; yields as `everything`.

        Raises:
            _Moved: there is more than `limit`, or than is remembered.
        """
        mark, found = self._view.revised, self._view.revised_since(PLATFORM, self.mark)
        if found is None or len(found) > limit:
            raise _Moved
        for domain, layer in found:
            yield self.at(domain, layer)
        self.mark = mark

    def at(self, domain: DomainId, layer: Layer) -> int:
        """Look at one layer as it is; returns how many bytes were held against the schema."""
        self.streams.add((domain, layer.stream))
        self._broken.pop(layer, None)
        data = self._view.current(domain, layer).document
        if self._quoted not in data:
            return 0
        said: Document = decoded(data)
        if is_covered(self._name, said):
            try:
                self._sections.check(self.schemas, said)
            except HubError:
                self._broken[layer] = None
        return len(data)

    def settle(self) -> None:
        """Refuse when something does not fit.

        Raises:
            HubError: `schema_breaks_layers` (409).
        """
        if self._broken:
            names = [layer.text for layer in self._broken]
            raise HubError(
                "schema_breaks_layers",
                Kind.CONFLICT,
                f"{len(names)} layers say what this schema does not allow, '{names[0]}' among them.",
                next_step="Change those layers first.",
                fields={"layers": names[:BROKEN_SHOWN_MAX], "count": len(names)},
            )


class Descriptions:
    """Says what sections may hold.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        sections: what may be configured.
    """

    def __init__(self, view: ConfigurationView, sequencer: Sequencer, sections: Sections) -> None:
        self._view = view
        self._sequencer = sequencer
        self._sections = sections

    async def describe(
        self, ctx: TenantContext, section: str, document: Document | None, *, key: str | None = None
    ) -> None:
        """Say what a section may hold, or with None that it is no section any more.

        Raises:
            HubError: `invalid_name`, `invalid_schema`, `built_in_section` (422), `schema_breaks_layers`,
                `contended` (409), `limit_reached` (429).
        """
        check_name(section, "section", reserved=frozenset())
        if section in self._sections.built_in:
            raise HubError(
                "built_in_section",
                Kind.MALFORMED,
                f"What '{section}' holds is said by the tiers.",
                next_step="Change the tiers, or describe another section.",
            )
        if document is not None:
            Section(section, document)
        source = None if key is None else Idempotency(domain=PLATFORM, source=ctx.principal.id, id=f"section/{key}")
        for _ in range(ROUNDS_MAX):
            look = await self._look(section, document)
            try:
                decide = partial(self._decide, look, section, document)
                await self._sequencer.submit(ctx.actor, (PLATFORM,), decide, idempotency=source)
                return
            except _Moved:
                continue
        raise HubError(
            "contended",
            Kind.CONFLICT,
            "Layers and sections kept changing while they were held against the schema.",
            next_step="Send it again when fewer change.",
        )

    async def _look(self, section: str, document: Document | None) -> _Look:
        """Look at every layer in slices, and at those revised meanwhile until they are few."""
        look = _Look(self._view, self._sections, self._with(section, document), section)
        if self._view.schemas(PLATFORM).get(section) == document:
            return look
        await _in_slices(look.everything())
        while (found := self._view.revised_since(PLATFORM, look.mark)) is not None and len(found) > RECHECKED_MAX:
            await _in_slices(look.revised(len(found)))
        return look

    def _with(self, section: str, document: Document | None) -> dict[str, Document]:
        schemas = dict(self._view.schemas(PLATFORM))
        schemas.pop(section, None)
        if document is not None:
            schemas[section] = document
        return schemas

    def _decide(self, look: _Look, section: str, document: Document | None, tx: Tx) -> None:
        tx.touch(PLATFORM, SCHEMAS_STREAM)
        schemas = self._view.schemas(PLATFORM)
        if schemas.get(section) == document:
            return
        if document is not None and section not in schemas and len(schemas) >= SECTIONS_MAX:
            raise HubError(
                "limit_reached", Kind.LIMIT, f"There are {SECTIONS_MAX} sections already, which is the limit.",
                next_step="Take sections away that are not used.", retry_after_s=60, fields={"limit": SECTIONS_MAX},
            )  # fmt: skip
        if not look.is_whole or self._with(section, document) != look.schemas:
            raise _Moved
        tx.touch_all(look.streams, LAYERS_STREAMS)
        for _ in look.revised(RECHECKED_MAX):
            pass
        look.settle()
        tx.append(PLATFORM, ConfigurationSchemaSet(section=section, document=document), streams=(SCHEMAS_STREAM,))


async def _in_slices(work: Iterator[int]) -> None:
    layers = size = 0
    for took in work:
        layers, size = layers + 1, size + took
        if layers >= SLICE_LAYERS or size >= SLICE_BYTES:
            layers = size = 0
            await asyncio.sleep(0)
