"""The conversation with a hub without the I/O: builds requests, reads replies and problems. Pure.

Ids are made by the function it is given; both faces of the client stand on this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.model import Instance, ServiceState

KIND: Final[Mapping[int, Kind]] = {
    307: Kind.ELSEWHERE,
    400: Kind.INVALID,
    401: Kind.UNAUTHENTICATED,
    403: Kind.DENIED,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD,
    408: Kind.TIMEOUT,
    409: Kind.CONFLICT,
    410: Kind.GONE,
    412: Kind.PRECONDITION,
    413: Kind.TOO_LARGE,
    415: Kind.UNSUPPORTED,
    422: Kind.MALFORMED,
    428: Kind.PRECONDITION_MISSING,
    429: Kind.LIMIT,
    500: Kind.INTERNAL,
    503: Kind.UNAVAILABLE,
    507: Kind.STORAGE_FULL,
}
"""From status back to kind: the hub's own table, turned round."""

FAILED_FROM: Final = 400
STALE_MS: Final = 2_000
"""A hub that has not heard from the store for longer is left for another one, where there are several."""
MOVED_ON: Final = frozenset({"store_unavailable", "behind", "outcome_unknown", "overloaded"})
"""Refusals that another hub may not make; a command keeps its idempotency key."""
_PROBLEM_MEMBERS: Final = frozenset({"type", "title", "status", "code", "detail", "next"})

Json = Any  # Any: a JSON document


class HubRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: `target` is path and query, ready for the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None


class HubReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Discovered(msgspec.Struct, frozen=True):
    service_name: str
    revision: int
    domain: str = "shared"
    instances: tuple[Instance, ...] = ()


class HubProtocol:
    """Knows where the hub is and who is asking. Several hubs that share a store are one: their addresses in turn.

    Args:
        base_url: `http://host:port` or `https://…`, with or without a path; several with commas between them.
        api_key: sent to the hub and to nobody else; None in open mode.
        tenant_id: claimed tenant; None for the key's own.
        tier: claimed tier; it never grants anything.
        user_id: claimed user.
        service_name: what this process is called in the dependency graph.
        mint: makes a fresh idempotency key.
        first: which of several addresses to begin with, counted round.

    Raises:
        HubError: `invalid_hub_url`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        tenant_id: str | None = None,
        tier: str | None = None,
        user_id: str | None = None,
        service_name: str = "",
        mint: Callable[[], str],
        first: int = 0,
    ) -> None:
        self.base_urls = tuple(dict.fromkeys(_address(each.strip()) for each in base_url.split(",")))
        self._at = first % len(self.base_urls)
        self.min_seq = ""
        self._written_at = ""
        self._mint = mint
        claims = {"x-tenant-id": tenant_id, "x-subscription-tier": tier, "x-user-id": user_id}
        self._headers = {name: value for name, value in claims.items() if value}
        if service_name:
            self._headers["x-service-name"] = service_name
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    @property
    def base_url(self) -> str:
        """The address that is asked now."""
        return self.base_urls[self._at]

    def move_from(self, base_url: str) -> bool:
        """Ask the next hub from now on, unless that was done already; say whether there is another one."""
        if self.base_url == base_url:
            self._at = (self._at + 1) % len(self.base_urls)
        return len(self.base_urls) > 1

    def headers_for(self, request: HubRequest) -> dict[str, str]:
        """Return a request's headers as the hub that is asked now gets them.

        Another hub than the one that took this process's last write is asked for an answer that is no older.
        """
        if not self.min_seq or self.base_url == self._written_at:
            return request.headers
        return {**request.headers, "hub-min-seq": self.min_seq}

    def answered(self, request: HubRequest, base_url: str, reply: HubReply) -> None:
        """Take note of where the hub stood when it took a write."""
        if len(self.base_urls) > 1 and request.method != "GET" and reply.status < FAILED_FROM:
            position = reply.headers.get("hub-seq", "")
            if position:
                self.min_seq, self._written_at = position, base_url

    def get(self, path: str, query: Mapping[str, object] | None = None) -> HubRequest:
        """Build a read; members of the query that are None are left out."""
        return HubRequest(
            method="GET", target=target_of(path, query), headers={**self._headers, "accept": "application/json"}
        )

    def command(self, method: str, path: str, body: object = None) -> HubRequest:
        """Build a write with a fresh idempotency key: sent again, it returns the first result."""
        headers = {**self._headers, "accept": "application/json", "idempotency-key": self._mint()}
        if body is None:
            return HubRequest(method=method, target=path, headers=headers)
        headers["content-type"] = "application/json"
        return HubRequest(method=method, target=path, headers=headers, body=msgspec.json.encode(body))

    def register(self, registration: Mapping[str, object]) -> HubRequest:
        """Build POST /services/register; members that are None are left out."""
        given = {name: value for name, value in registration.items() if value is not None}
        return self.command("POST", "/services/register", given)

    def heartbeat(self, name: str, instance_id: str, report: Mapping[str, object]) -> HubRequest:
        """Build a renewal with what the instance says about itself."""
        given = {key: value for key, value in report.items() if value is not None}
        return self.command("PUT", f"{instance_path(name, instance_id)}/heartbeat", given)

    def discover(self, name: str, query: Mapping[str, object] | None = None) -> HubRequest:
        """Build GET /services/discover/{name}."""
        return self.get(f"/services/discover/{segment(name)}", query)

    def watch(self, names: Iterable[str], last_id: str, *, breakers: bool = False) -> HubRequest:
        """Build the watch of some services (or `*`) with load events, resuming after `last_id` if there is one.

        Args:
            breakers: with what shared breakers say of them, too.
        """
        query = {"services": ",".join(sorted(names)), "load": "true", "breakers": True if breakers else None}
        request = self.get("/watch", query)
        request.headers["accept"] = "text/event-stream"
        if last_id:
            request.headers["last-event-id"] = last_id
        return request

    def watch_config(self, wanted: Iterable[tuple[str, str]], instance: str = "") -> HubRequest:
        """Build the watch of configuration: for each a service and an environment, empty for none in particular.

        With an instance it is that one's values.
        """
        names = [f"{service}@{environment}" if environment else service or "*" for service, environment in wanted]
        request = self.get("/watch", {"config": ",".join(names), "instance": instance or None})
        request.headers["accept"] = "text/event-stream"
        return request

    def publish(self, events: list[dict[str, Any]]) -> HubRequest:  # Any: JSON
        """Build POST /events; events bring their own ids, so that no idempotency key is needed."""
        headers = {**self._headers, "accept": "application/json", "content-type": "application/json"}
        return HubRequest(method="POST", target="/events", headers=headers, body=msgspec.json.encode(events))

    def stream_events(self, query: Mapping[str, str], after: str, last_id: str) -> HubRequest:
        """Build the stream of events, resuming after `last_id` if there is one."""
        given = {name: value for name, value in query.items() if value}
        request = self.get("/events/stream", given if last_id else {**given, "after": after})
        request.headers["accept"] = "text/event-stream"
        if last_id:
            request.headers["last-event-id"] = last_id
        return request

    def outcomes(self, outcomes: Iterable[Mapping[str, object]]) -> HubRequest:
        """Build POST /routing/outcomes."""
        return self.command("POST", "/routing/outcomes", {"outcomes": list(outcomes)})


def _address(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise HubError(
            "invalid_hub_url",
            Kind.INVALID,
            f"'{base_url}' is not the address of a hub.",
            next_step="Give it as http://host:port, for example http://127.0.0.1:7000.",
        )
    return base_url.rstrip("/")


def instance_path(name: str, instance_id: str) -> str:
    """Return the path of an instance."""
    return f"/services/{segment(name)}/instances/{segment(instance_id)}"


def segment(text: str) -> str:
    """Quote a name so that it stays one segment of a path."""
    return quote(text, safe="")


def read(reply: HubReply) -> Json:
    """Return the decoded body of a success, None without one.

    Raises:
        HubError: what the hub refused, with its code; `hub_answer_unreadable` when it is not a hub's answer.
    """
    if reply.status >= FAILED_FROM:
        raise problem(reply)
    if not reply.body:
        return None
    try:
        return msgspec.json.decode(reply.body)
    except msgspec.DecodeError as error:
        raise _unreadable(reply, str(error)) from error


def read_service(reply: HubReply) -> tuple[ServiceState, str]:
    """Return a discovered service and the incarnation of the log that it comes from.

    Raises:
        HubError: as `read`.
    """
    if reply.status >= FAILED_FROM:
        raise problem(reply)
    try:
        found = msgspec.json.decode(reply.body, type=_Discovered)
    except msgspec.DecodeError as error:
        raise _unreadable(reply, str(error)) from error
    state = ServiceState(
        service=found.service_name,
        revision=found.revision,
        domain=found.domain,
        instances={instance.instance_id: instance for instance in found.instances},
    )
    return state, incarnation_of(reply.headers)


def incarnation_of(headers: Mapping[str, str]) -> str:
    """Return the incarnation in a reply's `Hub-Seq`, empty without one."""
    return headers.get("hub-seq", "").partition(".")[0]


def problem(reply: HubReply) -> HubError:
    """Rebuild the refusal that a problem document describes."""
    kind = KIND.get(reply.status) or (Kind.INTERNAL if reply.status >= 500 else Kind.INVALID)
    try:
        decoded: object = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        decoded = None
    document = cast("dict[str, Json]", decoded) if isinstance(decoded, dict) else {}
    code = document.get("code")
    return HubError(
        code if isinstance(code, str) and code else f"http_{reply.status}",
        kind,
        str(document.get("detail") or f"The hub answered {reply.status}."),
        next_step=str(document.get("next") or ""),
        fields={name: value for name, value in document.items() if name not in _PROBLEM_MEMBERS},
        retry_after_s=_seconds(reply.headers.get("retry-after", "")),
    )


def unreachable(base_url: str, reason: str) -> HubError:
    """Return the refusal of a hub that cannot be reached."""
    return HubError(
        "hub_unreachable",
        Kind.UNAVAILABLE,
        f"The hub at {base_url} could not be reached: {reason}.",
        next_step="Start one (central-hub serve), or set HUB_URL; resolve() goes on from the local view.",
    )


def is_stale(reply: HubReply) -> bool:
    """Say whether a hub has not heard from its store for long: another one may have."""
    stale_ms = reply.headers.get("hub-stale-ms", "")
    return stale_ms.isascii() and stale_ms.isdigit() and int(stale_ms) > STALE_MS


def is_transient(error: HubError) -> bool:
    """Say whether the same request, with the same idempotency key, may succeed a little later."""
    return error.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT) or error.code == "contended"


def _unreadable(reply: HubReply, why: str) -> HubError:
    return HubError(
        "hub_answer_unreadable",
        Kind.UNAVAILABLE,
        f"What answered {reply.status} at the hub's address is not a hub.",
        next_step="Check HUB_URL.",
        internal=why,
    )


def target_of(path: str, query: Mapping[str, object] | None) -> str:
    """Return path and query ready for the wire; members that are None are left out."""
    given = {name: _query_value(value) for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _query_value(value: object) -> object:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
