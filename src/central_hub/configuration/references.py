"""References to secrets: what stands in a document where the value must not. Pure.

`{"$secret": "db/password"}` stands for a whole value and is a leaf like a text: it is merged, explained and shown as it
is. The value enters no document, ever; whoever may read it asks for it by the path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from central_hub.configuration.model import Document, Json
from central_hub.kernel.errors import HubError, Kind
from central_hub.secrets.rules import REFERENCE, is_path, referred

SECRET_WORD: Final = "x-hub-secret"  # noqa: S105  # a word of schemas
"""What a schema says of a value that may only be a reference."""


def is_reference(value: Json) -> bool:
    """Say whether a value of a document is a reference."""
    return isinstance(value, dict) and REFERENCE in value


def references(document: Mapping[str, Json]) -> dict[str, str]:
    """Return the paths of the secrets that a document refers to, by the place of each reference.

    Raises:
        HubError: `invalid_document` (422) for what looks like a reference and is none.
    """
    return dict(_found("", document))


def _found(place: str, node: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        at = f"{place}/{key.replace('~', '~0').replace('/', '~1')}"
        path = referred(value)
        if path is not None:
            if not is_path(path):
                raise invalid_reference(f"at '{at[:128]}' stands something else")
            yield at, path
        elif isinstance(value, dict):
            yield from _found(at, cast(Document, value))
        elif isinstance(value, list):
            _check_list(at, cast(list[Json], value))


def _check_list(at: str, values: list[Json]) -> None:
    for value in values:
        if is_reference(value):
            raise invalid_reference(f"at '{at[:128]}' one stands within a list")
        if isinstance(value, dict):
            inner = cast(dict[str, Any], value)  # Any: JSON
            if any(True for _ in _found(at, inner)):
                raise invalid_reference(f"at '{at[:128]}' one stands within a list")
        elif isinstance(value, list):
            _check_list(at, cast(list[Json], value))


def invalid_reference(reason: str) -> HubError:
    """Return the refusal of what looks like a reference and is none."""
    return HubError(
        "invalid_document",
        Kind.MALFORMED,
        f'The document is refused: a reference is {{"$secret": "db/password"}} for a whole value, {reason}.',
        next_step="Name the secret's path, and nothing beside it.",
    )


def unknown_secret(at: str, path: str, suggested: str) -> HubError:
    """Return the refusal of a reference that leads nowhere."""
    return HubError(
        "unknown_secret",
        Kind.MALFORMED,
        f"'{at[:200]}' refers to the secret '{path}', which there is not."
        + (f" Did you mean '{suggested}'?" if suggested else ""),
        next_step="Put the secret first, then refer to it.",
        fields={"path": at, "secret": path},
    )


def secret_literal(at: str) -> HubError:
    """Return the refusal of a value where only a reference may stand; what it is is not repeated."""
    return HubError(
        "secret_literal",
        Kind.MALFORMED,
        f"The value at '{at[:200]}' is a secret and must not stand in a document.",
        next_step='Put it as a secret, and write {"$secret": "its/path"} here. If it was real, change it: it was sent.',
        fields={"path": at},
    )
