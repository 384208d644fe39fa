"""One conversation with a hub: the SDK's protocol on the standard library's client, so that commands start fast."""

from __future__ import annotations

import http.client
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from central_hub.cli.failures import Failure, failure_of_problem, unreachable, usage
from central_hub.kernel.errors import HubError
from central_hub.sdk.model import DEFAULT_URL, HUB_ANSWER_BYTES_MAX, STREAM_SILENCE_S
from central_hub.sdk.protocol import FAILED_FROM, HubProtocol, HubRequest, segment, target_of
from central_hub.sdk.sse import SseParser

__all__ = ["DEFAULT_URL", "Answer", "Connection", "Json", "StreamEvent", "segment", "wait_until_reachable"]

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.05

Json = Any  # Any: whatever the hub answers; commands pick named fields from it

ELSEWHERE: Final = 307


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub said: status, headers with lower-case names, decoded body."""

    status: int
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event; `id` is what a reconnect resumes from."""

    event: str
    id: str
    data: Json


class Connection:
    """A hub's address and who is asking.

    Args:
        url: `http://host:port` or `https://host:port`; of several hubs that share a store the first that answers.
        key: API key or bootstrap token, empty for none.
        tenant: tenant to act for, sent as a claim; empty for the key's own.

    Raises:
        Failure: the address is none.
    """

    def __init__(self, url: str, key: str = "", tenant: str = "") -> None:
        try:
            self._protocol = HubProtocol(
                ",".join(each if "//" in each else f"http://{each.strip()}" for each in url.split(",")),
                key or None,
                tenant_id=tenant or None,
                mint=lambda: secrets.token_hex(16),
            )
            for each in self._protocol.base_urls:
                _ = urlsplit(each).port  # refuses what is no port
        except (HubError, ValueError):
            raise usage(f"'{url}' is not the address of a hub.", f"export HUB_URL={DEFAULT_URL}") from None

    @property
    def url(self) -> str:
        """The address that is asked."""
        return self._protocol.base_url

    def get(self, path: str, **query: object) -> Json:
        """GET a path; None values of the query are left out."""
        return self.request("GET", path, query=query).body

    def post(self, path: str, body: object = None) -> Json:
        """POST a JSON body (or none)."""
        return self.request("POST", path, body=body).body

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        timeout_s: float = TIMEOUT_S,
        if_match: str = "",
    ) -> Answer:
        """Send one request and read the whole answer.

        Args:
            if_match: entity tag of the revision that a write replaces, empty for none.

        Raises:
            Failure: the hub refused (its problem, as a failure) or could not be reached.
        """
        read = method == "GET"
        target = target_of(path, query)
        request = self._protocol.get(target) if read else self._protocol.command(method, target, body)
        if if_match:
            request.headers["if-match"] = if_match
        connection = self._open(timeout_s)
        try:
            response = self._send(connection, request)
            answer = _answer(response)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, _reason(error)) from error
        finally:
            connection.close()
        return answer

    @contextmanager
    def stream(
        self, path: str, query: Mapping[str, object], *, last_event_id: str = "", silence_s: float = STREAM_SILENCE_S
    ) -> Generator[Iterator[StreamEvent], None, None]:
        """Open a server-sent event stream; leaving the block closes it.

        Args:
            silence_s: seconds without a byte after which it counts as broken.

        Raises:
            Failure: as `request`; also when the stream breaks or stays silent.
        """
        request = self._protocol.get(path, query)
        request.headers["accept"] = "text/event-stream"
        if last_event_id:
            request.headers["last-event-id"] = last_event_id
        connection = self._open(silence_s)
        try:
            response = self._send(connection, request)
            if response.status != http.client.OK:
                _answer(response)
            yield _events(response)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, _reason(error)) from error
        finally:
            connection.close()

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        """Connect to the hub that is asked; of several to the first that takes the connection."""
        for _ in self._protocol.base_urls[1:]:
            connection = self._connection(timeout_s)
            try:
                connection.connect()
                return connection
            except OSError:
                self._protocol.move_from(self.url)
        return self._connection(timeout_s)

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def _send(self, connection: http.client.HTTPConnection, request: HubRequest) -> http.client.HTTPResponse:
        target = urlsplit(self.url).path + request.target
        connection.request(request.method, target, request.body, request.headers)
        response = connection.getresponse()
        location = response.getheader("location", "") if response.status == ELSEWHERE else ""
        if not location.startswith(("http://", "https://")):
            return response
        # Another hub of the same cluster does this; the connection is closed with the one it was asked over.
        response.read(HUB_ANSWER_BYTES_MAX)
        parts = urlsplit(location)
        connection.close()
        connection.host, connection.port = parts.hostname or "", parts.port or connection.default_port
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(request.method, target, request.body, request.headers)
        return connection.getresponse()


def wait_until_reachable(connection: Connection, path: str, *, deadline_s: float) -> None:
    """Ask until the hub answers 200.

    Raises:
        Failure: the last reason, when `deadline_s` seconds have passed.
    """
    until = time.monotonic() + deadline_s
    while True:
        try:
            connection.request("GET", path, timeout_s=1.0)
        except Failure:
            if time.monotonic() >= until:
                raise
            time.sleep(POLL_S)
        else:
            return


def _answer(response: http.client.HTTPResponse) -> Answer:
    """Read a whole answer; refusals become failures."""
    raw = response.read(HUB_ANSWER_BYTES_MAX)
    body = _decoded(raw)
    if response.status >= FAILED_FROM:
        raise failure_of_problem(response.status, body)
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def _events(response: http.client.HTTPResponse) -> Iterator[StreamEvent]:
    parser = SseParser()
    while chunk := response.read1(1 << 16):
        for event in parser.feed(chunk):
            yield StreamEvent(event.name, event.id, msgspec.json.decode(event.data))


def _decoded(raw: bytes) -> Json:
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
