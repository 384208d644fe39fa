"""From bytes to the structs that operations declare, with refusals that name the way out."""

from __future__ import annotations

import difflib
import re
from functools import cache
from typing import Any, Final, get_args
from urllib.parse import parse_qsl

import msgspec

from central_hub.kernel.errors import HubError, Kind

QUERY_BYTES_MAX: Final = 4_096
QUERY_FIELDS_MAX: Final = 64
JSON_DEPTH_MAX: Final = 32

_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_NEITHER_QUOTE_NOR_BRACKET: Final = bytes(set(range(256)) - set(b'"[]{}'))
_DEPTH: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')


@cache
def _decoder(kind: type) -> msgspec.json.Decoder[Any]:  # Any: the struct an operation declares
    return msgspec.json.Decoder(kind)


@cache
def _fields_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def decode_body(raw: bytes, kind: type) -> Any:  # Any: an instance of `kind`
    """Decode a JSON body strictly.

    Raises:
        HubError: `invalid_body` (422) with what is wrong and where.
    """
    try:
        return _decoder(kind).decode(raw)
    except msgspec.ValidationError as error:
        raise _malformed("invalid_body", "body", str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed("invalid_body", "body", str(error), kind) from None


def decode_query(raw: bytes, kind: type[msgspec.Struct] | None) -> Any:  # Any: an instance of `kind`, or None
    """Decode a query string into a struct; `name.key=value` fills the map field `name`.

    Raises:
        HubError: `invalid_query` (400).
    """
    if not raw and kind is None:
        return None
    if len(raw) > QUERY_BYTES_MAX:
        raise _bad_query(f"The query string is longer than {QUERY_BYTES_MAX} bytes.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )  # fmt: skip
    except (ValueError, UnicodeDecodeError):
        raise _bad_query("The query string is not well formed.") from None
    fields = {} if kind is None else _fields_of(kind)
    values: dict[str, Any] = {}  # Any: strings, or lists and maps of them
    for key, value in pairs:
        _put(values, fields, key, value)
    if kind is None:
        return None
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _bad_query(f"A query parameter is not valid: {error}.") from None


def _put(values: dict[str, Any], fields: dict[str, msgspec.structs.FieldInfo], key: str, value: str) -> None:
    name, dot, rest = key.partition(".")
    if dot and name in fields and "dict" in str(fields[name].type):
        if not rest or rest in values.setdefault(name, {}):
            raise _bad_query(f"The query parameter '{key}' is given twice or has no key.")
        values[name][rest] = value
        return
    if key not in fields:
        raise _bad_query(f"There is no query parameter '{key[:64]}' here." + _did_you_mean(key, list(fields)))
    if "list" in str(fields[key].type) or "tuple" in str(fields[key].type):
        values.setdefault(key, []).append(value)
    elif key in values:
        raise _bad_query(f"The query parameter '{key}' is given twice.")
    elif value.lower() == "null" and not _takes_text(fields[key].type):
        # msgspec would read it as None; but what is given is given, and what is not there is left out.
        raise _bad_query(f"The query parameter '{key}' has no value; leave it out instead.")
    else:
        values[key] = value


def _takes_text(kind: Any) -> bool:  # Any: a type, as msgspec gives it
    return kind is str or any(_takes_text(one) for one in get_args(kind))


def _bad_query(message: str) -> HubError:
    return HubError("invalid_query", Kind.INVALID, message, next_step="Correct the query string.")


def _malformed(code: str, what: str, reason: str, kind: type) -> HubError:
    unknown = _UNKNOWN.search(reason)
    hint = ""
    if unknown is not None:
        hint = _did_you_mean(unknown.group(1), _field_names(kind))
    return HubError(
        code,
        Kind.MALFORMED,
        f"The {what} is not what this operation takes: {reason}.{hint}",
        next_step="Correct the field that is named; GET /openapi.json has the fields of every operation.",
    )


def _field_names(kind: type) -> list[str]:
    names: list[str] = []
    seen: set[object] = set()
    stack: list[Any] = [kind]  # Any: types and their arguments, as typing gives them
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, type) and issubclass(current, msgspec.Struct):
            for info in msgspec.structs.fields(current):
                names.append(info.encode_name)
                stack.append(info.type)
        else:
            stack.extend(get_args(current))
    return names


def _did_you_mean(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def check_depth(raw: bytes) -> None:
    """Refuse JSON nested deeper than `JSON_DEPTH_MAX`, before a decoder recurses into it.

    Raises:
        HubError: `invalid_body` (422).
    """
    if raw.count(b"{") + raw.count(b"[") <= JSON_DEPTH_MAX:
        return
    if b"\\" not in raw:
        # Only quotes and brackets matter here, and a pair of quotes with nothing of that between
        # them matters to nobody: what is left of a batch is short.
        raw = raw.translate(None, _NEITHER_QUOTE_NOR_BRACKET).replace(b'""', b"")
    depth = 0
    for match in _DEPTH.finditer(raw):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
            if depth > JSON_DEPTH_MAX:
                raise HubError(
                    "invalid_body",
                    Kind.MALFORMED,
                    f"The body is nested deeper than {JSON_DEPTH_MAX} levels.",
                    next_step="Send a flatter document.",
                )
        elif token in (b"}", b"]"):
            depth -= 1
