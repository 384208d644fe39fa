"""Templates: documents with typed parameters, and nothing else: no expressions, no loops, no text pasted together.

A string that is exactly `${name}` stands for the parameter of that name and becomes its value, with its type. What
comes out is checked as any other document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from central_hub.configuration.merging import encoded
from central_hub.configuration.model import (
    DOCUMENT_BYTES_MAX,
    PARAMETERS_MAX,
    TEMPLATES_MAX,
    TEMPLATES_STREAM,
    ConfigurationTemplateSet,
    Document,
    Json,
    Template,
)
from central_hub.configuration.rules import check_document
from central_hub.configuration.sections import Section
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, check_name
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx

DEFAULT: Final = "default"
_PARAMETER: Final = re.compile(r"\$\{([^{}]*)\}")


def check_template(template: Template) -> Template:
    """Check that every parameter is described and used, and every one that is used described.

    Raises:
        HubError: `invalid_template` (422).
    """
    if len(template.parameters) > PARAMETERS_MAX or len(encoded(template)) > DOCUMENT_BYTES_MAX:
        raise _invalid(f"it has more than {PARAMETERS_MAX} parameters or {DOCUMENT_BYTES_MAX} bytes")
    try:
        section = _section(template)
        section.check(["parameters"], _defaults(template))
        check_document(template.document)
    except HubError as error:
        raise _invalid(error.message.rstrip(".")) from None
    used: set[str] = set()
    _replaced(template.document, dict.fromkeys(template.parameters, True), used)
    unused = template.parameters.keys() - used
    if unused:
        raise _invalid(f"nothing uses its parameter '{min(unused)[:64]}'")
    return template


def rendered(template: Template, given: Mapping[str, Json]) -> Document:
    """Return the document with its parameters filled in.

    Raises:
        HubError: `unknown_key`, `invalid_value`, `parameter_missing` (422).
    """
    _section(template).check(["parameters"], dict(given))
    values = {**_defaults(template), **{name: value for name, value in given.items() if value is not None}}
    missing = template.parameters.keys() - values.keys()
    if missing:
        raise HubError(
            "parameter_missing",
            Kind.MALFORMED,
            f"The template's parameter '{min(missing)}' has no default and is not given.",
            next_step="Give a value for every parameter without a default.",
            fields={"missing": sorted(missing)},
        )
    return _replaced(template.document, values, set())


def _section(template: Template) -> Section:
    described = {
        name: {word: value for word, value in schema.items() if word != DEFAULT}
        for name, schema in template.parameters.items()
    }
    return Section("parameters", {"type": "object", "properties": described})


def _defaults(template: Template) -> Document:
    return {name: schema[DEFAULT] for name, schema in template.parameters.items() if DEFAULT in schema}


def _replaced(node: Json, values: Mapping[str, Json], used: set[str]) -> Any:  # Any: JSON
    if isinstance(node, dict):
        return {key: _replaced(value, values, used) for key, value in cast(Document, node).items()}
    if isinstance(node, list):
        return [_replaced(value, values, used) for value in cast(list[Json], node)]
    if not isinstance(node, str) or "${" not in node:
        return node
    found = _PARAMETER.fullmatch(node)
    if found is None or found.group(1) not in values:
        raise _invalid(f"'{node[:64]}' is no parameter of it; a parameter stands alone, as \"${{name}}\"")
    used.add(found.group(1))
    return values[found.group(1)]


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_template",
        Kind.MALFORMED,
        f"The template is refused: {reason}.",
        next_step="Describe each parameter by its type, and use it as a whole value.",
    )


class Templates:
    """Keeps templates.

    Args:
        view: those there are.
        sequencer: makes facts durable.
    """

    def __init__(self, view: ConfigurationView, sequencer: Sequencer) -> None:
        self._view = view
        self._sequencer = sequencer

    async def put(self, ctx: TenantContext, name: str, template: Template | None, *, key: str | None = None) -> None:
        """Keep a template under a name, or with None none any more.

        Raises:
            HubError: `invalid_name`, `invalid_template` (422), `limit_reached` (429).
        """
        check_name(name, "template", reserved=frozenset())
        if template is not None:
            check_template(template)

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, TEMPLATES_STREAM)
            known = self._view.templates(PLATFORM)
            if known.get(name) == template:
                return
            if name not in known and len(known) >= TEMPLATES_MAX:
                raise HubError(
                    "limit_reached", Kind.LIMIT, f"There are {TEMPLATES_MAX} templates already, which is the limit.",
                    next_step="Take templates away that are not used.", retry_after_s=60,
                    fields={"limit": TEMPLATES_MAX},
                )  # fmt: skip
            tx.append(PLATFORM, ConfigurationTemplateSet(name=name, template=template), streams=(TEMPLATES_STREAM,))

        source = None if key is None else Idempotency(domain=PLATFORM, source=ctx.principal.id, id=f"template/{key}")
        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide, idempotency=source)

    def get(self, name: str) -> Template:
        """Return a template.

        Raises:
            HubError: `template_not_found` (404).
        """
        found = self._view.templates(PLATFORM).get(name)
        if found is None:
            raise HubError(
                "template_not_found",
                Kind.NOT_FOUND,
                "There is no such template.",
                next_step="GET /config/templates lists them.",
            )
        return found
