"""Documents taken apart and put together: leaves, RFC 7396 merge patch, RFC 6902 JSON patch, differences. Pure.

A document is looked at as leaves: a JSON pointer (RFC 6901) for every value that is not an object, or is a reference
to a secret. Null takes away what other layers say at that place and below. An empty object says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from central_hub.configuration.model import GUARDS, Document, Json
from central_hub.configuration.references import is_reference
from central_hub.kernel.errors import HubError, Kind

_encoder: Final = msgspec.json.Encoder(order="sorted")
_decoder: Final = msgspec.json.Decoder()


def encoded(document: Json) -> bytes:
    """Encode JSON so that equal values are equal bytes."""
    return _encoder.encode(document)


def decoded(data: bytes) -> Any:  # Any: JSON
    """Decode JSON."""
    return _decoder.decode(data)


def pointer(parts: Iterable[str]) -> str:
    """Return the JSON pointer of a path."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(text: str) -> list[str]:
    """Return the path of a JSON pointer.

    Raises:
        HubError: `invalid_patch` (422) when it is none.
    """
    if text and not text.startswith("/"):
        raise invalid_patch(f"'{text[:64]}' is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def covers(prefixes: Iterable[str], path: str) -> bool:
    """Say whether a pointer is one of the prefixes or below one."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def flattened(document: Mapping[str, Json]) -> dict[str, Json]:
    """Return the leaves of a document by pointer; null stays null; guards are left out."""
    found: dict[str, Json] = {}
    stack: list[tuple[str, Mapping[str, Json]]] = [("", document)]
    while stack:
        prefix, node = stack.pop()
        for key, value in node.items():
            if not prefix and key == GUARDS:
                continue
            path = f"{prefix}/{key}" if "~" not in key and "/" not in key else prefix + pointer((key,))
            if isinstance(value, dict) and not is_reference(value):
                stack.append((path, cast(Mapping[str, Json], value)))
            else:
                found[path] = value
    return found


def nested(leaves: Mapping[str, Json]) -> Document:
    """Put leaves together again; where one stands above another, it wins."""
    document: Document = {}
    for path in sorted(leaves):
        node: Any = document  # Any: JSON
        parts = path.split("/")
        if "~" in path:
            parts = ["", *parts_of(path)]
        for part in parts[1:-1]:
            node = cast(Document, node).setdefault(part, {})
            if not isinstance(node, dict):
                break
        else:
            node[parts[-1]] = leaves[path]
    return document


def ordered(document: Json) -> Any:  # Any: JSON
    """Return a document with the keys of every object in order."""
    if not isinstance(document, dict):
        return document
    members = cast(Document, document)
    return {key: ordered(members[key]) for key in sorted(members)}


def altered(document: Document, leaves: Mapping[str, Json]) -> Document:
    """Return a document with other leaves; objects without any of them are shared with the one given.

    Args:
        document: with its keys in order, as the answer has them.
        leaves: new values by pointer; what is no JSON value takes away.
    """
    root = dict(document)
    copies: dict[str, Document] = {"": root}
    unordered: set[str] = set()
    for path in sorted(leaves):
        value = leaves[path]
        above, _, last = path.rpartition("/")
        node = _opened(root, above, copies, unordered)
        key = last.replace("~1", "/").replace("~0", "~") if "~" in last else last
        if node is None:
            continue
        if isinstance(value, bool | int | float | str | list) or is_reference(value):
            if key not in node:
                unordered.add(above)
            node[key] = value
        else:
            node.pop(key, None)
    for place in sorted(copies, key=len, reverse=True):
        node = copies[place]
        above, _, last = place.rpartition("/")
        if place and not node:
            copies[above].pop(parts_of("/" + last)[0], None)
        elif place in unordered:
            in_order = {key: node[key] for key in sorted(node)}
            node.clear()
            node.update(in_order)
    return root


def _opened(root: Document, place: str, copies: dict[str, Document], unordered: set[str]) -> Document | None:
    """Return the copy of the object at a place, made on the way down; None where a value stands in the way."""
    found = copies.get(place)
    if found is not None:
        return found
    node, at = root, ""
    for part in parts_of(place):
        above, at = at, at + pointer((part,))
        known = copies.get(at)
        if known is None:
            inner = node.get(part)
            if inner is None:
                unordered.add(above)
            elif not isinstance(inner, dict):
                return None
            known = copies[at] = dict(cast(Document, inner or {}))
            node[part] = known
        node = known
    return node


def merge_patch(target: Json, patch: Json) -> Json:
    """Apply a merge patch (RFC 7396, section 2); neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    merged: Document = dict(cast(Document, target)) if isinstance(target, dict) else {}
    for key, value in cast(Document, patch).items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def difference(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Return what differs between two documents, by pointer: `before` and `after`, each only where there was one."""
    old, new = _all_leaves(before), _all_leaves(after)
    changes: list[dict[str, Json]] = []
    for path in sorted(old.keys() | new.keys()):
        if path in old and path in new and same(old[path], new[path]):
            continue
        change: dict[str, Json] = {"path": path}
        if path in old:
            change["before"] = old[path]
        if path in new:
            change["after"] = new[path]
        changes.append(change)
    return changes


def same(one: Json, other: Json) -> bool:
    """Say whether two JSON values are the same; True is not 1."""
    return one == other and _encoder.encode(one) == _encoder.encode(other)


def _all_leaves(document: Mapping[str, Json]) -> dict[str, Json]:
    leaves = flattened(document)
    if GUARDS in document:
        leaves[pointer((GUARDS,))] = document[GUARDS]
    return leaves


def json_patch(target: Json, operations: Sequence[Mapping[str, Json]]) -> Json:
    """Apply a JSON patch (RFC 6902), all of it or nothing; neither argument is changed.

    Raises:
        HubError: `invalid_patch` (422) when an operation cannot be done, `patch_test_failed` (409).
    """
    document = decoded(encoded(target))
    for operation in operations:
        document = _applied(document, operation)
    return document


def _applied(document: Json, operation: Mapping[str, Json]) -> Json:
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise invalid_patch("an operation has no path")
    parts = parts_of(path)
    if name == "test":
        if not same(_at(document, parts), _value_of(operation)):
            raise HubError(
                "patch_test_failed",
                Kind.CONFLICT,
                f"The value at '{path[:64]}' is not what the patch expects.",
                next_step="Read the layer again and make the patch anew.",
            )
        return document
    if name == "add":
        return _put(document, parts, _value_of(operation), replace=False)
    if name == "replace":
        _at(document, parts)
        return _put(document, parts, _value_of(operation), replace=True)
    if name == "remove":
        return _removed(document, parts)
    if name in ("move", "copy"):
        origin = operation.get("from")
        if not isinstance(origin, str):
            raise invalid_patch(f"'{name}' has no 'from'")
        if name == "move" and path.startswith(origin + "/"):
            raise invalid_patch("a value cannot be moved into itself")
        value = decoded(encoded(_at(document, parts_of(origin))))
        return _put(_removed(document, parts_of(origin)) if name == "move" else document, parts, value, replace=False)
    raise invalid_patch(f"there is no operation '{str(name)[:32]}'")


def _value_of(operation: Mapping[str, Json]) -> Json:
    if "value" not in operation:
        raise invalid_patch(f"'{operation.get('op')}' has no value")
    return operation["value"]


def _at(document: Json, parts: Sequence[str]) -> Json:
    node: Any = document  # Any: JSON
    for part in parts:
        if isinstance(node, dict) and part in node:
            node = cast(Document, node)[part]
        elif isinstance(node, list):
            items = cast(list[Json], node)
            node = items[_index(part, len(items) - 1)]
        else:
            raise invalid_patch(f"there is nothing at '{pointer(parts)[:64]}'")
    return node


def _put(document: Json, parts: Sequence[str], value: Json, *, replace: bool) -> Json:
    if not parts:
        return value
    parent = _at(document, parts[:-1])
    if isinstance(parent, dict):
        parent[parts[-1]] = value
    elif isinstance(parent, list):
        items = cast(list[Json], parent)
        if replace:
            items[_index(parts[-1], len(items) - 1)] = value
        else:
            items.insert(len(items) if parts[-1] == "-" else _index(parts[-1], len(items)), value)
    else:
        raise invalid_patch(f"nothing can be put at '{pointer(parts)[:64]}'")
    return document


def _removed(document: Json, parts: Sequence[str]) -> Json:
    if not parts:
        raise invalid_patch("the whole document cannot be removed")
    parent = _at(document, parts[:-1])
    _at(document, parts)
    if isinstance(parent, dict):
        del parent[parts[-1]]
    else:
        items = cast(list[Json], parent)
        del items[_index(parts[-1], len(items) - 1)]
    return document


def _index(part: str, last: int) -> int:
    if not part.isascii() or not part.isdigit() or (len(part) > 1 and part[0] == "0") or int(part[:6]) > last:
        raise invalid_patch(f"'{part[:32]}' is no place in the list")
    return int(part[:6])


def invalid_patch(reason: str) -> HubError:
    """Return the refusal of a patch that cannot be applied."""
    return HubError(
        "invalid_patch",
        Kind.MALFORMED,
        f"The patch cannot be applied: {reason}.",
        next_step="Read the layer and make the patch for what it says now.",
    )
