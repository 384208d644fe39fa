"""The guard: what a request's header lines may look like before anyone reads them.

Pure, and the same function in front of the framework and of the lane. It refuses every way of
giving an identity header twice, or in a form that two readers could take for two things, and
turns the rest into `Claims`. A claim is a wish: nothing here is proof of anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from central_hub.kernel.errors import HubError, Kind

CLAIM_LENGTH_MAX: Final = 64
"""Longest value of an identity header and of the correlation id, characters."""
RESOURCE_REQUIREMENTS_BYTES_MAX: Final = 1_024
RESOURCE_REQUIREMENTS_DEPTH_MAX: Final = 3
TARGET_BYTES_MAX: Final = 8_192
HEADERS_MAX: Final = 100

TENANT: Final = b"x-tenant-id"
USER: Final = b"x-user-id"
TIER: Final = b"x-subscription-tier"
COMPANY: Final = b"x-company-id"
CORRELATION: Final = b"x-correlation-id"
SERVICE: Final = b"x-service-name"
RESOURCES: Final = b"x-resource-requirements"

IDENTITY_HEADERS: Final = frozenset({TENANT, USER, TIER, COMPANY})
SINGLE_HEADERS: Final = frozenset(
    {*IDENTITY_HEADERS, CORRELATION, SERVICE, RESOURCES, b"authorization", b"x-api-key", b"txn-token", b"host"}
)
"""Headers that are given once or not at all, under exactly this name."""

# RFC 9110 5.6.2 `token`, at most CLAIM_LENGTH_MAX of it.
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_CORRELATION: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_FOLD: Final = re.compile(rb"[\x00\r\n]")
_TARGET: Final = re.compile(rb"[!-\x22$-\x5b\x5d-~]*")  # visible ASCII without '#' and '\'
_QUERY_TENANT: Final = b"tenant_id"
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?")
_FORWARDING: Final = frozenset({b"forwarded", b"via"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

RawHeaders = Iterable[tuple[bytes, bytes]]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says about itself; None where it says nothing."""

    tenant_id: str | None = None
    user_id: str | None = None
    tier: str | None = None
    correlation_id: str | None = None
    service_name: str | None = None
    resource_requirements: Mapping[str, Any] | None = None  # Any: JSON values, checked for size and depth


_NOTHING: Final = Claims()


def check(headers: RawHeaders, target: bytes = b"") -> Claims:
    """Hold raw header lines (and the raw request target) against the guard's rules.

    Args:
        headers: (name, value) as received; names in any case.
        target: raw request target; a `tenant_id` in its query must agree with the headers.

    Returns:
        The claims; `tenant_id` is also filled from `x-company-id`.

    Raises:
        HubError: 400 `duplicate_header`, `ambiguous_header`, `invalid_header`, `too_many_headers`,
            `invalid_target`, `tenant_disagrees`, `invalid_resource_requirements`.
    """
    seen: dict[bytes, bytes] = {}
    count = 0
    for raw_name, value in headers:
        count += 1
        name = raw_name.lower()
        if name in SINGLE_HEADERS:
            if name in seen:
                raise _refused("duplicate_header", f"The header '{_text(name)}' is given more than once.")
            seen[name] = value
        elif b"_" in name and name.replace(b"_", b"-") in SINGLE_HEADERS:
            raise _refused("ambiguous_header", "A guarded header is spelled with an underscore.")
        elif not _NAME.fullmatch(name):
            raise _refused("invalid_header", "A header name holds characters that no header name may hold.")
        if _FOLD.search(value):
            raise _refused("invalid_header", f"The header '{_text(name)}' runs over a line.")
    if count > HEADERS_MAX:
        raise _refused("too_many_headers", f"A request has at most {HEADERS_MAX} header lines.")
    claims = _claims(seen) if seen else _NOTHING
    if target:
        _check_target(target, claims.tenant_id)
    return claims


def agree(*, header: str | None = None, query: str | None = None, path: str | None = None) -> str | None:
    """Return the one tenant that header, query and path name, or None when none does.

    Raises:
        HubError: `tenant_disagrees` (400) when two of them differ.
    """
    named = {given for given in (header, query, path) if given is not None}
    if len(named) > 1:
        raise tenant_disagrees()
    return named.pop() if named else None


def tenant_disagrees() -> HubError:
    """Return the refusal of a request that names two tenants."""
    return _refused(
        "tenant_disagrees",
        "The request names more than one tenant.",
        next_step="Name the tenant once: x-tenant-id, x-company-id, query and path must agree.",
    )


def parse_resource_requirements(value: bytes) -> dict[str, Any]:  # Any: JSON values
    """Parse `x-resource-requirements`: a JSON object of at most 1 KiB, nested at most 3 deep.

    Duplicate keys, NaN, infinities and unpaired surrogates are refused, so that whoever reads
    it later reads the same thing.

    Raises:
        HubError: `invalid_resource_requirements` (400).
    """
    if len(value) > RESOURCE_REQUIREMENTS_BYTES_MAX:
        raise _bad_requirements(f"it is longer than {RESOURCE_REQUIREMENTS_BYTES_MAX} bytes")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_requirements("it is not UTF-8") from None
    if _depth(text) > RESOURCE_REQUIREMENTS_DEPTH_MAX:
        raise _bad_requirements(f"it is nested deeper than {RESOURCE_REQUIREMENTS_DEPTH_MAX}")
    try:
        document = json.loads(
            text, object_pairs_hook=_unique_pairs, parse_constant=_no_constant, parse_float=_finite_float
        )
        # A lone surrogate parses but could never be written out again.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise _bad_requirements("it is not a JSON document with finite numbers and unique keys") from None
    if not isinstance(document, dict):
        raise _bad_requirements("it is not a JSON object")
    return document  # pyright: ignore[reportUnknownVariableType]  # json.loads of an object


def check_open(headers: RawHeaders, *, method: str) -> None:
    """Refuse what must not reach a hub in open mode, where claims are believed.

    A page in a browser, or a proxy in front, could otherwise speak with the rights of everyone
    on this machine.

    Args:
        headers: raw header lines.
        method: request method, upper case.

    Raises:
        HubError: `insecure_request` (400).
    """
    lines: dict[bytes, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        folded = name.replace(b"_", b"-")
        if folded in _FORWARDING or folded.startswith(b"x-forwarded"):
            raise _insecure("it came through a proxy")
        if name in lines and name in (b"host", b"origin", b"content-type", b"content-length"):
            raise _insecure(f"it gives '{_text(name)}' twice")
        lines[name] = value
    host = lines.get(b"host", b"").strip(b" \t").lower()
    if not is_loopback_authority(host):
        raise _insecure("its Host is neither a loopback address nor 'localhost'")
    origin = lines.get(b"origin")
    if origin is not None and origin.strip(b" \t").lower() not in (b"http://" + host, b"https://" + host):
        raise _insecure("it comes from a page of another origin")
    if method not in _SAFE_METHODS and _has_body(lines):
        media = lines.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()
        if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
            raise _insecure("its body is not declared as JSON")


def is_loopback_authority(authority: bytes) -> bool:
    """Say whether `host[:port]` names this machine itself: `localhost`, 127.0.0.0/8 or `[::1]`."""
    match = _HOST.fullmatch(authority)
    if match is None:
        return False
    host, port = match.group(1).lower(), match.group(2)
    if port is not None and not 0 < int(port) < 65_536:
        return False
    if host == b"localhost":
        return True
    try:
        if host.startswith(b"["):
            return IPv6Address(host[1:-1].decode("ascii")) == IPv6Address("::1")
        return IPv4Address(host.decode("ascii")).is_loopback
    except AddressValueError:
        return False


def _claims(seen: Mapping[bytes, bytes]) -> Claims:
    tenant = _claim(seen, TENANT)
    company = _claim(seen, COMPANY)
    if tenant is not None and company is not None and tenant != company:
        raise tenant_disagrees()
    correlation = seen.get(CORRELATION)
    if correlation is not None and not _CORRELATION.fullmatch(correlation):
        raise _bad_value(CORRELATION, f"1 to {CLAIM_LENGTH_MAX} characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    requirements = seen.get(RESOURCES)
    return Claims(
        tenant_id=company if tenant is None else tenant,
        user_id=_claim(seen, USER),
        tier=_claim(seen, TIER),
        correlation_id=None if correlation is None else correlation.decode("ascii"),
        service_name=_claim(seen, SERVICE),
        resource_requirements=None if requirements is None else parse_resource_requirements(requirements),
    )


def _claim(seen: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = seen.get(name)
    if value is None:
        return None
    if not _TOKEN.fullmatch(value):
        raise _bad_value(name, f"1 to {CLAIM_LENGTH_MAX} characters that a token may hold, without comma or space")
    return value.decode("ascii")


def _check_target(target: bytes, tenant_id: str | None) -> None:
    if len(target) > TARGET_BYTES_MAX or not _TARGET.fullmatch(target):
        raise _refused("invalid_target", "The request target is too long or holds characters it may not hold.")
    query = target.partition(b"?")[2]
    if b"tenant" not in query and b"%" not in query:
        return
    named: set[bytes] = set() if tenant_id is None else {tenant_id.encode("ascii")}
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_to_bytes(key) == _QUERY_TENANT:
            named.add(unquote_to_bytes(value))
    if len(named) > 1:
        raise tenant_disagrees()


def _has_body(lines: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in lines or lines.get(b"content-length", b"0").strip(b" \t0") != b""


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _JSON_TOKEN.finditer(text):
        mark = match.group()
        if mark in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "}]":
            depth -= 1
    return deepest


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _no_constant(constant: str) -> float:
    raise ValueError(constant)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _text(name: bytes) -> str:
    return name[:64].decode("ascii", "replace")


def _refused(code: str, message: str, *, next_step: str = "") -> HubError:
    return HubError(
        code,
        Kind.INVALID,
        message,
        next_step=next_step or "Send each identity header once, as one plain token; see /problems/" + code + ".",
    )


def _bad_value(name: bytes, rule: str) -> HubError:
    return _refused("invalid_header", f"The header '{_text(name)}' is not {rule}.")


def _bad_requirements(reason: str) -> HubError:
    return _refused(
        "invalid_resource_requirements",
        f"The header 'x-resource-requirements' is refused: {reason}.",
        next_step=f"Send a JSON object of at most {RESOURCE_REQUIREMENTS_BYTES_MAX} bytes and "
        f"{RESOURCE_REQUIREMENTS_DEPTH_MAX} levels, or leave the header out.",
    )


def _insecure(reason: str) -> HubError:
    return _refused(
        "insecure_request",
        f"A hub in open mode takes requests from this machine only, and {reason}.",
        next_step="Call the hub directly at http://127.0.0.1 or http://localhost, or run it with keys, without --open.",
    )
