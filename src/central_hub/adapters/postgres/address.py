"""Where the store is: a `postgresql://` address, its hosts one by one, what may be shown of it. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from central_hub.kernel.errors import HubError, Kind

SCHEMES: Final = ("postgresql://", "postgres://")
HOSTS_MAX: Final = 8
MASK: Final = "********"
DEFAULT_PORT: Final = 5432
VERIFIED: Final = ("verify-ca", "verify-full")
OURS: Final = frozenset({"target_session_attrs"})
"""Parameters that the hub decides itself: it writes, so it wants the host that takes writes."""

_SECRET: Final = re.compile(r"(?i)^(password|passfile|sslpassword)$")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A store's address, taken apart.

    `hosts` are tried in order, each as an address of its own; `shown` has no secret in it.
    """

    hosts: tuple[str, ...]
    shown: str
    names: tuple[str, ...]
    sslmode: str

    @property
    def is_local(self) -> bool:
        """Whether every host is this machine."""
        return all(_is_local(name) for name in self.names)

    @property
    def is_verified(self) -> bool:
        """Whether the connection proves who the server is."""
        return self.sslmode in VERIFIED


def is_address(text: str) -> bool:
    """Say whether a text is a PostgreSQL address rather than a directory."""
    return text.startswith(SCHEMES)


def parse_address(text: str) -> Address:
    """Take an address apart.

    Args:
        text: `postgresql://user@host1:5432,host2:5432/database?sslmode=verify-full&…`.

    Raises:
        HubError: `invalid_store` (400) when it is none; its text is never repeated.
    """
    if not is_address(text):
        raise _invalid("it does not begin with postgresql://")
    netloc, path, query = _parts(text)
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    wanted = parameters.get("target_session_attrs", "read-write")
    if wanted not in ("read-write", "primary"):
        raise _invalid("target_session_attrs must be read-write: the hub writes")
    user, _, places = netloc.rpartition("@")
    names = [place for place in places.split(",") if place] or [parameters.pop("host", "")]
    if not names[0]:
        raise _invalid("it names no host")
    if len(names) > HOSTS_MAX:
        raise _invalid(f"it names more than {HOSTS_MAX} hosts")
    if len(path) < 2:
        raise _invalid("it names no database")
    for ours in OURS:
        parameters.pop(ours, None)
    query = f"?{urlencode(parameters)}" if parameters else ""
    return Address(
        hosts=tuple(f"postgresql://{_at(user, name)}{path}{_with_host(query, name)}" for name in names),
        shown=f"postgresql://{_at(_masked(user), ','.join(names))}{path}{_masked_query(parameters)}",
        names=tuple(unquote(name) for name in names),
        sslmode=parameters.get("sslmode", "prefer"),
    )


def _parts(text: str) -> tuple[str, str, str]:
    """Return hosts with their user, path and query; the standard library takes one host, and newer ones only that."""
    rest, _, query = text.partition("://")[2].partition("#")[0].partition("?")
    netloc, slash, path = rest.partition("/")
    return netloc, slash + path, query


def redacted(text: str) -> str:
    """Return an address without its secrets, or a mask when it is none."""
    try:
        return parse_address(text).shown
    except (HubError, ValueError):
        return MASK


def _at(user: str, place: str) -> str:
    # A socket's directory cannot stand where a host stands; it goes into the query.
    shown = "" if unquote(place).startswith("/") else place
    return f"{user}@{shown}" if user else shown


def _with_host(query: str, name: str) -> str:
    if not unquote(name).startswith("/"):
        return query
    return f"{query}{'&' if query else '?'}host={quote(unquote(name), safe='')}"


def _masked(user: str) -> str:
    name, colon, _ = user.partition(":")
    return f"{name}:{MASK}" if colon else name


def _masked_query(parameters: dict[str, str]) -> str:
    shown = [f"{name}={MASK if _SECRET.match(name) else value}" for name, value in parameters.items()]
    return f"?{'&'.join(shown)}" if shown else ""


def _is_local(name: str) -> bool:
    if name.startswith("/") or name == "localhost":
        return True
    host = name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.partition(":")[0]
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_store",
        Kind.INVALID,
        f"The store's address cannot be used: {reason}.",
        next_step="Write postgresql://USER@HOST:5432/DATABASE?sslmode=verify-full; further hosts follow after commas.",
    )
