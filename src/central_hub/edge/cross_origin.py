"""Cross-origin reads: which pages of other sites a browser may let read the hub's answers. Pure.

Off until an operator names origins. An origin is named exactly: there is no pattern and no `*`. Credentials travel in
headers that a page sets itself, so browsers are never told that cookies are welcome. Only operations that say so can
be read; everywhere else a page gets what it got before, an answer that its browser keeps from it.

Source: WHATWG Fetch, section 3.3 (CORS protocol).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from central_hub.edge.operations import Headers, Operation, Table
from central_hub.kernel.errors import HubError, Kind

ORIGINS_MAX: Final = 64
ORIGIN_LENGTH_MAX: Final = 255
PREFLIGHT_S: Final = 600
"""Seconds that a browser may remember what it was told before a request."""

EXPOSED: Final = (
    "deprecation", "etag", "hub-seq", "hub-stale-ms", "hub-tier", "ratelimit", "ratelimit-policy", "retry-after",
    "sunset", "x-correlation-id",
)  # fmt: skip
"""Header lines of answers that a page may read."""
ACCEPTED: Final = (
    "authorization", "content-type", "if-none-match", "last-event-id", "traceparent", "tracestate", "x-api-key",
    "x-company-id", "x-correlation-id", "x-service-name", "x-tenant-id", "x-user-id",
)  # fmt: skip
"""Header lines that a page may send."""

_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

Lines = tuple[tuple[bytes, bytes], ...]


def origins_of(text: str) -> frozenset[str]:
    """Read origins separated by commas, as a browser sends them: `https://app.example.com`.

    Raises:
        HubError: `invalid_origins`.
    """
    named = [part.strip() for part in text.split(",") if part.strip()]
    if len(named) > ORIGINS_MAX:
        raise _invalid(f"{len(named)} origins are named, and {ORIGINS_MAX} is the limit")
    for origin in named:
        if len(origin) > ORIGIN_LENGTH_MAX or not _ORIGIN.fullmatch(origin):
            raise _invalid(f"'{origin[:64]}' is not a scheme, a host in lower case and perhaps a port")
        if origin.endswith(_DEFAULT_PORTS[origin.partition(":")[0]]):
            raise _invalid(f"'{origin[:64]}' names the port that browsers leave out")
    return frozenset(named)


class CrossOrigin:
    """Which origins may read, and what browsers are told.

    Args:
        origins: as `origins_of` returns them; none for no cross-origin reads at all.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.encode("ascii") for origin in origins)

    def lines(self, operation: Operation | None, headers: Headers) -> Lines:
        """Return the lines that an answer carries beside its own; none where no other origin may read.

        An answer to a foreign page says that it depends on the origin, whether or not that one may read it.
        """
        if not self._origins or operation is None or not operation.cross_origin:
            return ()
        named = _origins_in(headers)
        if not named:
            return ()
        if not self._allows(named):
            return (_VARY,)
        return (_allowed(named[0]), (b"access-control-expose-headers", _EXPOSED), _VARY)

    def admits(self, headers: Headers) -> bool:
        """Say whether a page may open a WebSocket: one of the hub's own origin, or of one that the operator named.

        Who is no browser names no origin.
        """
        named, host = _origins_in(headers), headers.get("host") or ""
        own = (f"http://{host}".encode("latin-1"), f"https://{host}".encode("latin-1"))
        return not named or (len(named) == 1 and (named[0] in own or named[0] in self._origins))

    def preflight(self, table: Table, path: str, headers: Headers) -> Lines | None:
        """Return the lines that answer a browser's question before a request; None otherwise, and for a no.

        Args:
            table: what there is.
            path: decoded.
            headers: of the OPTIONS request.
        """
        named, methods = _origins_in(headers), headers.all("access-control-request-method")
        if not self._allows(named) or len(methods) != 1:
            return None
        found = table.find(methods[0], path)
        if found is None or not found[0].cross_origin:
            return None
        return (
            _allowed(named[0]),
            (b"access-control-allow-methods", methods[0].encode("latin-1")),
            (b"access-control-allow-headers", _ACCEPTED),
            (b"access-control-max-age", b"%d" % PREFLIGHT_S),
            (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
        )

    def _allows(self, named: list[bytes]) -> bool:
        return len(named) == 1 and named[0] in self._origins


_VARY: Final = (b"vary", b"origin")
_EXPOSED: Final = ", ".join(EXPOSED).encode("ascii")
_ACCEPTED: Final = ", ".join(ACCEPTED).encode("ascii")


def _origins_in(headers: Headers) -> list[bytes]:
    return [value for name, value in headers.raw if name == b"origin"]


def _allowed(origin: bytes) -> tuple[bytes, bytes]:
    return (b"access-control-allow-origin", origin)


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_origins",
        Kind.INVALID,
        f"The origins that may read from browsers cannot be used: {reason}.",
        next_step="Write each as a browser sends it, as in https://app.example.com,http://localhost:5173.",
    )
