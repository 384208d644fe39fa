"""Messages over HTTP and HTTPS, each on a fresh connection through the egress door.

One POST, one answer of which the head alone is read; no redirect is followed and nothing of the answer but its
status and `Retry-After` leaves this module. Under TLS the receiver's certificate and name are always checked. When a
target is down the outcome says so; nothing raises.

Source: RFC 9112; RFC 9110, 10.2.3 (Retry-After in seconds); Standard Webhooks 1.0.0, "Server side request forgery".
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import Final

import httptools

from central_hub.adapters.egress import Egress, Refused
from central_hub.adapters.egress_policy import Purpose, Refusal, is_address
from central_hub.adapters.https import Stream, TlsStream
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import ATTEMPT_TIMEOUT_S, Outcome, Result, Target

HEAD_BYTES_MAX: Final = 16_384
"""Bytes of an answer that are read, at most."""
RECEIVE_BYTES: Final = 4_096
RETRY_AFTER_DIGITS_MAX: Final = 6

_OUTCOMES: Final = {
    Refusal.UNRESOLVED: Result.UNRESOLVED,
    Refusal.OVER_BUDGET: Result.OVER_BUDGET,
}


class WebhookSender:
    """The `Sender` port over HTTP.

    Args:
        egress: opens the connections.
        tls: which certificates are trusted; the system's by default.
        timeout_s: for all of one attempt.
    """

    def __init__(
        self, egress: Egress, *, tls: ssl.SSLContext | None = None, timeout_s: float = ATTEMPT_TIMEOUT_S
    ) -> None:
        self._egress = egress
        self._tls = tls
        self._timeout_s = timeout_s

    async def send(self, domain: DomainId, target: Target, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Try once; whatever goes wrong is an outcome."""
        started = monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(domain, target, headers, body)
        except Refused as refused:
            return Outcome(result=_OUTCOMES.get(refused.refusal, Result.NOT_GRANTED))
        except TimeoutError:
            return Outcome(result=Result.TIMED_OUT)
        except ssl.SSLError:
            return Outcome(result=Result.TLS_FAILED)
        except OSError:
            return Outcome(result=Result.UNREACHABLE)
        except _InvalidAnswer:
            return Outcome(result=Result.INVALID_ANSWER)
        return Outcome(
            result=Result.DELIVERED if 200 <= answer.status < 300 else Result.REFUSED,
            status=answer.status,
            retry_after_s=answer.retry_after_s,
            latency_ms=max(1, round((monotonic() - started) * 1_000)),
        )

    def granted(self, domain: DomainId, host: str, port: int) -> bool:
        """Say, without a resolver, whether messages to this address may be allowed."""
        return self._egress.may_be_granted(domain, host, port, purpose=Purpose.WEBHOOK)

    async def _exchange(self, domain: DomainId, target: Target, headers: Mapping[str, str], body: bytes) -> _Answer:
        connection = await self._egress.connect(
            domain, target.host, target.port, purpose=Purpose.WEBHOOK, timeout_s=None
        )
        try:
            stream: Stream = connection
            if target.tls:
                if self._tls is None:
                    self._tls = ssl.create_default_context()
                stream = TlsStream(connection, self._tls, target.host)
                await stream.open()
            await stream.send(request_of(target, headers, body))
            return await _answer(stream)
        finally:
            connection.close()


def request_of(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write the one request of an attempt."""
    shown = f"[{target.host}]" if ":" in target.host and is_address(target.host) else target.host
    host = shown if target.port == (443 if target.tls else 80) else f"{shown}:{target.port}"
    lines = [f"POST {target.path} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "", ""])
    return head.encode("ascii") + body


class _InvalidAnswer(Exception):
    """What came back is no HTTP answer, or its head is too long."""


class _Answer:
    """Takes the head of an answer from the parser."""

    def __init__(self) -> None:
        self.status = 0
        self.retry_after_s = 0
        self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for the one header that matters; a date in it is not read."""
        if name.lower() == b"retry-after" and value.isdigit() and len(value) <= RETRY_AFTER_DIGITS_MAX:
            self.retry_after_s = int(value)

    def on_headers_complete(self) -> None:
        """Take note that the head is whole."""
        self.whole = True


async def _answer(stream: Stream) -> _Answer:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    read = 0
    while read < HEAD_BYTES_MAX:
        data = await stream.receive(RECEIVE_BYTES)
        if not data:
            break
        read += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise _InvalidAnswer from None
        if answer.whole:
            answer.status = parser.get_status_code()
            if answer.status >= 200:
                return answer
            answer.whole, answer.retry_after_s = False, 0  # an interim answer: the final one follows
    raise _InvalidAnswer
