"""The lane's strict reading of a packet: one plain request, or nothing.

What is accepted here is a small part of what the HTTP parser accepts, chosen so that both must
read it alike. A line that is not on the list, is spelled unusually or is given twice makes the
packet the parser's business. Lines repeat, so their verdicts are kept by exact bytes.
"""

from __future__ import annotations

import re
from typing import Final

PACKET_BYTES_MAX: Final = 4_096
LINES_MAX: Final = 32
LINE_MEMO_MAX: Final = 4_096
LINE_MEMO_BYTES_MAX: Final = 512
"""Longest line whose verdict is kept."""

STABLE: Final = frozenset(
    {
        b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection", b"authorization",
        b"x-tenant-id", b"x-company-id", b"x-user-id", b"x-subscription-tier", b"x-service-name",
    }
)  # fmt: skip
"""Headers that say the same in request after request."""
CORRELATION: Final = b"x-correlation-id"
VOLATILE: Final = frozenset({CORRELATION, b"traceparent", b"tracestate"})
"""Headers that differ from request to request and decide nothing; never remembered."""

_REQUEST: Final = re.compile(rb"GET (/[a-z0-9_/-]{1,200}/)([a-z0-9][a-z0-9_-]{0,62}) HTTP/1\.1\r\n")
_LINE: Final = re.compile(rb"([A-Za-z-]{1,32}): ([!-~](?:[ -~]{0,1022}[!-~])?)")
_END: Final = b"\r\n\r\n"
_JSON_BODY: Final = frozenset({b"content-type", b"content-length"})
_CORRELATION_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CREDENTIAL: Final = re.compile(rb"Bearer chk_[A-Za-z0-9_-]{1,200}")

Line = tuple[bytes, bytes]


class Parsed:
    """A strictly formed request: where to, and its header lines, the stable ones apart."""

    __slots__ = ("body", "correlation_id", "headers", "name", "prefix", "stable", "volatile")

    def __init__(self, prefix: bytes, name: bytes) -> None:
        self.prefix = prefix
        self.name = name
        self.body = b""
        self.headers: list[Line] = []
        self.stable: list[bytes] = []
        self.volatile = False
        self.correlation_id = b""


class Lines:
    """Reads packets, remembering the verdict on each line it accepted."""

    def __init__(self) -> None:
        self._memo: dict[bytes, Line] = {}

    def parse(self, packet: bytes) -> Parsed | None:
        """Return the request a packet consists of, or None when it is not exactly one plain GET."""
        if len(packet) > PACKET_BYTES_MAX or not packet.endswith(_END):
            return None
        request = _REQUEST.match(packet)
        if request is None:
            return None
        parsed = Parsed(request.group(1), request.group(2))
        return parsed if self._read(parsed, packet[request.end() : -len(_END)], None) else None

    def parse_signal(self, packet: bytes, begin: int) -> Parsed | None:
        """Return the request a packet consists of, or None when it is not exactly one with at most a small JSON body.

        Args:
            packet: what arrived.
            begin: where its header lines begin.
        """
        if len(packet) > PACKET_BYTES_MAX:
            return None
        end = packet.find(_END, begin)
        if end < 0:
            return None
        parsed = Parsed(b"", b"")
        parsed.body = packet[end + len(_END) :]
        return parsed if self._read(parsed, packet[begin:end], parsed.body) else None

    def _read(self, parsed: Parsed, head: bytes, body: bytes | None) -> bool:
        """Read header lines; False when one of them is the parser's business.

        Args:
            parsed: what they are added to.
            head: the lines, without the empty one.
            body: what follows them, None where nothing may.
        """
        lines = head.split(b"\r\n")
        if len(lines) > LINES_MAX:
            return False
        seen: set[bytes] = set()
        for raw in lines:
            line = self._memo.get(raw) or self._classify(raw)
            if line is None or line[0] in seen:
                return False
            seen.add(line[0])
            if line[0] in _JSON_BODY:
                if body is None or not _describes(line, body):
                    return False
            elif line[0] in VOLATILE:
                parsed.volatile = True
                if line[0] == CORRELATION:
                    parsed.correlation_id = line[1]
            else:
                parsed.headers.append(line)
                parsed.stable.append(raw)
        return b"host" in seen and (not body or seen.issuperset(_JSON_BODY))

    def _classify(self, raw: bytes) -> Line | None:
        match = _LINE.fullmatch(raw)
        if match is None:
            return None
        name, value = match.group(1).lower(), match.group(2)
        if name in VOLATILE:
            return None if name == CORRELATION and not _CORRELATION_ID.fullmatch(value) else (name, value)
        if (name not in STABLE and name not in _JSON_BODY) or not _plain(name, value):
            return None
        if len(raw) <= LINE_MEMO_BYTES_MAX:
            if len(self._memo) >= LINE_MEMO_MAX:
                self._memo.clear()
            self._memo[raw] = (name, value)
        return name, value


def _describes(line: Line, body: bytes) -> bool:
    return line[0] != b"content-length" or line[1] == b"%d" % len(body)


def _plain(name: bytes, value: bytes) -> bool:
    if name == b"connection":
        return value.lower() == b"keep-alive"
    if name == b"content-type":
        return value == b"application/json"
    if name == b"authorization":
        return _CREDENTIAL.fullmatch(value) is not None
    return True
