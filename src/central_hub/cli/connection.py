"""One HTTP conversation with a hub, on the standard library so that a command starts at once."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

from central_hub.cli.failures import Failure, failure_of_problem, unreachable, usage

DEFAULT_URL: Final = "http://127.0.0.1:7000"
TIMEOUT_S: Final = 10.0
STREAM_TIMEOUT_S: Final = 45.0
"""Silence after which a stream counts as dead: three missed keep-alives of 15 s."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024

Json = Any  # Any: whatever the hub answers; commands pick named fields from it


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
        url: `http://host:port` or `https://host:port`.
        key: API key or bootstrap token, empty for none.
        tenant: tenant to act for, sent as a claim; empty for the key's own.
    """

    def __init__(self, url: str, key: str = "", tenant: str = "") -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise usage(f"'{url}' is not the address of a hub.", f"export HUB_URL={DEFAULT_URL}")
        try:
            port = parts.port
        except ValueError:
            raise usage(f"'{url}' has no valid port.", f"export HUB_URL={DEFAULT_URL}") from None
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._key = key
        self._tenant = tenant

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
    ) -> Answer:
        """Send one request and read the whole answer.

        Raises:
            Failure: the hub refused (its problem, as a failure) or could not be reached.
        """
        connection = self._open(timeout_s)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, self._target(path, query), payload, self._headers(method, payload is not None))
            response = connection.getresponse()
            raw = response.read(ANSWER_BYTES_MAX)
            headers = {name.lower(): value for name, value in response.getheaders()}
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, _reason(error)) from error
        finally:
            connection.close()
        answer = Answer(response.status, headers, _decoded(raw))
        if answer.status >= http.client.BAD_REQUEST:
            raise _refusal(answer)
        return answer

    @contextmanager
    def stream(
        self, path: str, query: Mapping[str, object], *, last_event_id: str = ""
    ) -> Generator[Iterator[StreamEvent], None, None]:
        """Open a server-sent event stream; leaving the block closes it.

        Raises:
            Failure: as `request`; also when the stream breaks or stays silent.
        """
        connection = self._open(STREAM_TIMEOUT_S)
        try:
            headers = self._headers("GET", has_body=False) | {"accept": "text/event-stream"}
            if last_event_id:
                headers["last-event-id"] = last_event_id
            connection.request("GET", self._target(path, query), None, headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise _refusal(Answer(response.status, {}, _decoded(response.read(ANSWER_BYTES_MAX))))
            yield self._events(response)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.url, _reason(error)) from error
        finally:
            connection.close()

    def _events(self, response: http.client.HTTPResponse) -> Iterator[StreamEvent]:
        event, event_id, data = "message", "", ""
        while line := response.readline():
            name, _, value = line.decode().rstrip("\r\n").partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "id":
                event_id = value
            elif name == "data":
                data += value
            elif not name and data:
                yield StreamEvent(event, event_id, json.loads(data))
                event, data = "message", ""

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_s)

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: _query_value(value) for name, value in (query or {}).items() if value is not None}
        return self._prefix + path + (f"?{urlencode(given, doseq=True)}" if given else "")

    def _headers(self, method: str, has_body: bool) -> dict[str, str]:
        headers = {"accept": "application/json"}
        if has_body:
            headers["content-type"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        if self._tenant:
            headers["x-tenant-id"] = self._tenant
        if method not in ("GET", "HEAD"):
            headers["idempotency-key"] = secrets.token_hex(16)
        return headers


def segment(text: str) -> str:
    """Quote a name so that it stays one segment of a path."""
    return quote(text, safe="")


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
            time.sleep(0.05)
        else:
            return


def _query_value(value: object) -> object:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _decoded(raw: bytes) -> Json:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _refusal(answer: Answer) -> Failure:
    is_object = isinstance(answer.body, dict)
    return failure_of_problem(answer.status, cast("dict[str, Json]", answer.body) if is_object else {})


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
