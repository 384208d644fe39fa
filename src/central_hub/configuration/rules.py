"""Decisions about layers: what a document may be, which revision a change is made for, what it may change. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

from central_hub.configuration.folding import ABSENT, Compiled, Placed, compiled, differ, kind_of, trace
from central_hub.configuration.merging import covers, decoded, difference, encoded, parts_of
from central_hub.configuration.model import (
    DOCUMENT_BYTES_MAX,
    DOCUMENT_DEPTH_MAX,
    DOCUMENT_LEAVES_MAX,
    GUARDS,
    GUARDS_MAX,
    KEY_LENGTH_MAX,
    Document,
    Json,
    Layer,
    Revision,
)
from central_hub.configuration.references import is_reference, references
from central_hub.kernel.context import Principal
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import check_name

ANY: Final = "*"


def etag_of(revision: Revision) -> str:
    """Return the strong entity tag of a layer's revision: `"r7.1a2b3c4d"`."""
    return f'"r{revision.number}.{hashlib.sha256(revision.document).hexdigest()[:8]}"'


def check_layer(layer: Layer, tiers: Sequence[str]) -> Layer:
    """Check the names in a layer; the tenant's is checked where it is looked up.

    Raises:
        HubError: `invalid_name`, `unknown_tier` (422).
    """
    for name, what in ((layer.service, "service"), (layer.environment, "environment")):
        if name:
            check_name(name, what, reserved=frozenset())
    if layer.tier and layer.tier not in tiers:
        raise HubError(
            "unknown_tier",
            Kind.MALFORMED,
            f"There is no tier '{layer.tier[:64]}'.",
            next_step=f"Use one of {', '.join(tiers)}.",
        )
    return layer


def check_environment(principal: Principal, environment: str) -> None:
    """Hold an environment against the one that a credential is bound to.

    Raises:
        HubError: `environment_denied` (403).
    """
    if principal.environment and environment != principal.environment:
        raise HubError(
            "environment_denied",
            Kind.DENIED,
            f"This credential speaks for the environment '{principal.environment}' only.",
            next_step=f"Name environment={principal.environment}, or use a key that is bound to none.",
        )


def check_precondition(if_match: str | None, current: Revision, seen: Revision | None) -> None:
    """Hold the revision that a change is made for against the current one.

    Args:
        if_match: what the caller sent; `*` takes whatever there is.
        current: the newest revision.
        seen: the revision the caller's tag names, if it is kept.

    Raises:
        HubError: `precondition_required` (428), `revision_moved` (412) with what changed since.
    """
    if if_match is None:
        raise HubError(
            "precondition_required",
            Kind.PRECONDITION_MISSING,
            "A change says which revision it is made for, and this one does not.",
            next_step=f"Read the layer and send its etag: 'If-Match: {etag_of(current)}'.",
            fields={"etag": etag_of(current)},
        )
    if if_match in (ANY, etag_of(current)):
        return
    fields: dict[str, object] = {"etag": etag_of(current), "revision": current.number}
    if seen is not None and etag_of(seen) == if_match:
        fields["changed_since"] = difference(decoded(seen.document), decoded(current.document))
    raise HubError(
        "revision_moved",
        Kind.PRECONDITION,
        f"The layer is at revision {current.number}, which is not the one this change was made for.",
        next_step="Look at what changed since, and make the change for the etag of this answer.",
        fields=fields,
    )


def revision_in(if_match: str | None) -> int | None:
    """Return the revision that an entity tag names, None when it names none."""
    if if_match is None or not if_match.startswith('"r'):
        return None
    number = if_match[2:].partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 16 else None


def check_document(document: Json) -> Document:
    """Check what a document is made of.

    Raises:
        HubError: `invalid_document`, `invalid_guard` (422), `document_too_large` (413).
    """
    if not isinstance(document, dict):
        raise _invalid("it is no JSON object")
    checked = cast(Document, document)
    if len(encoded(checked)) > DOCUMENT_BYTES_MAX:
        raise HubError(
            "document_too_large",
            Kind.TOO_LARGE,
            f"A layer's document has at most {DOCUMENT_BYTES_MAX} bytes.",
            next_step="Keep large values elsewhere and configure where they are.",
        )
    leaves = 0
    stack: list[tuple[int, Document]] = [(1, checked)]
    while stack:
        depth, node = stack.pop()
        if depth > DOCUMENT_DEPTH_MAX:
            raise _invalid(f"it is nested deeper than {DOCUMENT_DEPTH_MAX} levels")
        for key, value in node.items():
            if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
                raise _invalid(f"a key has 1 to {KEY_LENGTH_MAX} printable characters")
            if key.startswith("$"):
                if key == GUARDS and depth == 1:
                    _check_guards(value)
                    continue
                raise _invalid(f"'{key[:64]}' is a reserved word")
            leaves += 1
            if isinstance(value, dict) and not is_reference(value):
                stack.append((depth + 1, cast(Document, value)))
    if leaves > DOCUMENT_LEAVES_MAX:
        raise _invalid(f"it has more than {DOCUMENT_LEAVES_MAX} keys")
    references(checked)
    return checked


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_document", Kind.MALFORMED, f"The document is refused: {reason}.", next_step="Correct the document."
    )


def _check_guards(guards: Json) -> None:
    reason = ""
    if not isinstance(guards, dict):
        reason = "it is no object"
    else:
        given = cast(dict[str, Any], guards)
        lock: object = given.get("lock", [])
        bounds: list[object] = [given.get("ceiling", {}), given.get("floor", {})]
        if given.keys() - {"lock", "ceiling", "floor"}:
            reason = "it has other members"
        elif not isinstance(lock, list) or not all(isinstance(each, str) for each in cast(list[object], lock)):
            reason = "'lock' is a list of JSON pointers"
        elif not all(_are_bounds(each) for each in bounds):
            reason = "'ceiling' and 'floor' map JSON pointers to numbers"
        else:
            paths: list[str] = [*cast(list[str], lock)]
            for each in bounds:
                paths += cast(dict[str, object], each)
            if len(paths) > GUARDS_MAX:
                reason = f"it has more than {GUARDS_MAX} entries"
            elif not all(path.startswith("/") for path in paths):
                reason = "a place is a JSON pointer such as /rate_limits/api_calls_per_hour"
            for path in paths:
                parts_of(path)
    if reason:
        raise HubError(
            "invalid_guard",
            Kind.MALFORMED,
            f"'{GUARDS}' is refused: {reason}.",
            next_step='Write {"lock": ["/a/b"], "ceiling": {"/a/c": 10}, "floor": {"/a/c": 1}}.',
        )


def _are_bounds(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in cast(dict[str, object], value).values()
    )


def check_effect(
    before: Compiled | None,
    after: Compiled,
    layers: Sequence[Placed],
    granted: Mapping[str, Json],
    sections: Collection[str],
) -> None:
    """Check that what a document newly says takes effect, under the layers before it.

    Args:
        before: what the layer said.
        after: what it is to say.
        layers: all that come before it, and last the layer itself.
        granted: leaves of the plan, which layers may lower and never raise.
        sections: those that plans make; nothing is taken away there.

    Raises:
        HubError: `locked`, `out_of_bounds` (403), `type_changed` (422).
    """
    known = {} if before is None else before.leaves
    here = len(layers) - 1
    for path, said in after.leaves.items():
        if not differ(known.get(path, ABSENT), said):
            continue
        found = trace(path, layers, granted)
        if found.place == here and found.limited_by < 0:
            continue
        if 0 <= found.locked_by < here:
            raise _locked(path)
        if found.limited_by >= 0:
            raise HubError(
                "out_of_bounds",
                Kind.DENIED,
                f"'{path}' may be {encoded(found.value).decode()} here, not {encoded(said).decode()[:64]}.",
                next_step="Stay within what the tier and the layers above allow, or ask the operator for more.",
                fields={"path": path, "allowed": found.value},
            )
        if found.value is not ABSENT and kind_of(found.value) != kind_of(said):
            raise HubError(
                "type_changed",
                Kind.MALFORMED,
                f"'{path}' is a {kind_of(found.value)} in an earlier layer and cannot become a {kind_of(said)}.",
                next_step="Keep the type, or configure it under another key.",
                fields={"path": path},
            )
        raise _locked(path)
    new = set(after.deletes) - set(() if before is None else before.deletes)
    for path in new:
        if parts_of(path)[0] in sections or any(
            layer is not None and covers(layer.locks, path) for layer, _ in layers[:-1]
        ):
            raise _locked(path)


def _locked(path: str) -> HubError:
    return HubError(
        "locked",
        Kind.DENIED,
        f"'{path}' is locked by a layer above, or belongs to the plan.",
        next_step="Ask the operator; GET /config/{tenant_id}/explain names the layer.",
        fields={"path": path},
    )


def as_compiled(document: Document) -> Compiled | None:
    """Return a document ready to be folded, None when it says nothing."""
    return compiled(encoded(document))
