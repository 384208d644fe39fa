"""The catalogue as the YAML file an operator edits.

Only plain data: no tags, no aliases, and a key that stands twice is an error rather than a surprise.
"""

from __future__ import annotations

from collections.abc import Hashable
from importlib import resources
from typing import Any, Final

import msgspec
import yaml

from central_hub.plans.model import Catalogue
from central_hub.plans.rules import check_catalogue, invalid_plans

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
_DEFAULT: Final = "default.yaml"


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias: a small file could stand for an endless one."""
        if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType]  # the stub leaves it open
            raise yaml.constructor.ConstructorError(None, None, "aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # Any: YAML values
        """Refuse a mapping that names a key twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> object:
    """Read a YAML text as plain data.

    Raises:
        HubError: `invalid_plans`.
    """
    if len(text) > DOCUMENT_BYTES_MAX:
        raise invalid_plans(f"the file is larger than {DOCUMENT_BYTES_MAX} characters")
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  # a SafeLoader that takes even less
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark: yaml.Mark | None = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise invalid_plans(f"{getattr(error, 'problem', None) or 'it is not YAML'}{where}") from None


def parse_catalogue(text: str) -> Catalogue:
    """Read a file of plans.

    Raises:
        HubError: `invalid_plans`.
    """
    try:
        return check_catalogue(msgspec.convert(parse_yaml(text), Catalogue))
    except msgspec.ValidationError as error:
        raise invalid_plans(str(error)) from None


def print_catalogue(document: object) -> str:
    """Write a catalogue (plain data) as a file that `parse_catalogue` reads."""
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def default_catalogue() -> Catalogue:
    """Return the catalogue a new hub starts with."""
    return parse_catalogue(resources.files("central_hub.plans").joinpath(_DEFAULT).read_text("utf-8"))
