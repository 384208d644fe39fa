"""Direct calls to services: pick, send, and try another instance where that is safe.

Never carries the hub's API key, follows no redirect and keeps no cookie. A call is tried again
when nothing was sent (the connection was refused), and, once something was sent, only when doing
it twice is harmless: an idempotent method, or an Idempotency-Key. Retries after sending have a budget.
A breaker judges the call as a whole, and refuses the next ones while calls like it fail.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from central_hub.breakers.rules import REFUSED, Breaker
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.answer import ServiceResponse, read_limited
from central_hub.sdk.balancing import Target
from central_hub.sdk.call_windows import CallWindows
from central_hub.sdk.circuits import FAILED_STATUS, BreakerOpen, Circuits
from central_hub.sdk.context import CALLER, CORRELATION, DEADLINE, TENANT, TIER, USER, RequestContext, current_context
from central_hub.sdk.fallback import STANDS_IN_FOR, Fallback, Key, LastAnswers, check, key_of
from central_hub.sdk.following import Follower
from central_hub.sdk.model import (
    CALL_ANSWER_BYTES_MAX,
    CALL_ATTEMPTS_MAX,
    CALL_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    Endpoint,
)

if TYPE_CHECKING:
    import aiohttp

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
RETRIED_STATUS: Final = frozenset({502, 503, 504})
CONNECTIONS_PER_INSTANCE_MAX: Final = 256
OUTCOMES_MAX: Final = 10_000
"""Outcomes kept until they are reported; the oldest are dropped past it."""
BUDGET_MAX: Final = 50.0
BUDGET_PER_CALL: Final = 0.2
"""Retries after sending that one call earns: at most one in five calls is repeated for long."""

NO_INSTANCE_WAIT_S: Final = 1.0
"""How long a call waits for an instance to appear when there is none."""

PAUSE_MIN_S: Final = 0.02
PAUSE_MAX_S: Final = 0.1
"""Bounds of the pause before an instance is tried that was tried already."""

TIMEOUTS_KEPT_MAX: Final = 64


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How one attempt went, as it is reported to the hub."""

    instance_id: str
    ok: bool
    latency_ms: float
    error: str = ""


class _Call:
    """A call under way: what is sent, and what was tried."""

    __slots__ = ("attempt_timeout_s", "body", "breaker", "deadline_s", "failed", "headers", "is_safe", "method",
                 "params", "path", "permit", "service", "timeout_s", "tried")  # fmt: skip

    def __init__(
        self,
        service: str,
        method: str,
        path: str,
        *,
        body: bytes | None,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        is_safe: bool,
        timeout_s: float,
        attempt_timeout_s: float | None,
        deadline_s: float,
    ) -> None:
        self.service = service
        self.method = method
        self.path = path
        self.body = body
        self.params = params
        self.headers = headers
        self.is_safe = is_safe
        self.timeout_s = timeout_s
        self.attempt_timeout_s = attempt_timeout_s
        self.deadline_s = deadline_s
        self.breaker: Breaker  # set with the permit, when it is let through
        self.permit = REFUSED
        self.failed: Literal["", "unsent", "sent"] = ""
        self.tried: list[str] = []

    @property
    def may_repeat(self) -> bool:
        """Whether there are attempts left, and the breaker has not changed its mind meanwhile."""
        return len(self.tried) + 1 < CALL_ATTEMPTS_MAX and self.breaker.generation == self.permit


class Caller:
    """Calls services by name.

    Args:
        follower: has the view.
        circuits: the breakers of its calls.
        windows: counts them.
        tenant_id, user_id, tier: sent when there is no request context.
        service_name: what this process is called.
    """

    def __init__(
        self,
        follower: Follower,
        circuits: Circuits,
        windows: CallWindows,
        *,
        tenant_id: str | None,
        user_id: str | None,
        tier: str | None,
        service_name: str,
    ) -> None:
        self._follower = follower
        self._default = RequestContext(tenant_id=tenant_id, user_id=user_id, tier=tier)
        self._service_name = service_name
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._budget = BUDGET_MAX
        self._circuits = circuits
        self._windows = windows
        self._answers = LastAnswers()
        self.fallbacks = 0
        self.outcomes: deque[msgspec.Struct] = deque(maxlen=OUTCOMES_MAX)
        self.calls = 0
        self.retries = 0
        self.failures = 0

    async def open(self) -> None:
        """Get ready to call."""
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_PER_INSTANCE_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT_S,  # noqa: ASYNC109  # a deadline over all attempts, passed on to the service
        attempt_timeout: float | None = None,
        idempotency_key: str | None = None,
        route_class: str = "",
        fallback: Fallback | None = None,
    ) -> ServiceResponse:
        """Call an instance of a service directly, and another one where that is safe.

        Args:
            service: its name.
            path: path and query, as the service takes them.
            json: body, encoded as JSON; `data` sends bytes as they are.
            params: query parameters.
            headers: further headers.
            timeout: seconds for everything, all attempts included; the service is told what is left. A
                request being served (see `current_context`) lends its own deadline if that is earlier.
            attempt_timeout: seconds for one attempt; None lets an attempt take what is left.
            idempotency_key: makes any method safe to repeat with a service that honours it.
            route_class: calls that fail together, as "reports"; each class has a breaker of its own.
            fallback: what to return when the service cannot be called, or fails.

        Returns:
            Whatever the service answered, error statuses included; or what stands in for it (see `source`).

        Raises:
            BreakerOpen: calls like this one have failed lately; it was not made.
            HubError: `no_instance`, `service_not_found`, `call_failed`, `deadline_exceeded`,
                `answer_too_large`, `invalid_path`, or `hub_unreachable` when the view knows nothing of the service.
        """
        _check_path(path)
        context = current_context() or self._default
        if json is not None:
            data = msgspec.json.encode(json)
        if fallback is not None:
            check(fallback, method, data)
        key = key_of(context, service, method, path, params, headers) if fallback is not None else ()
        call = _Call(
            service,
            method,
            path,
            body=data,
            params=params,
            headers=self._headers(context, headers, idempotency_key, is_json=json is not None),
            is_safe=method in IDEMPOTENT or idempotency_key is not None,
            timeout_s=timeout,
            attempt_timeout_s=attempt_timeout,
            deadline_s=_deadline_of(context, timeout),
        )
        self.calls += 1
        self._budget = min(BUDGET_MAX, self._budget + BUDGET_PER_CALL)
        try:
            response = await self._counted(call, route_class, context.tenant_id or "")
        except HubError as error:
            stand_in = self._stand_in(service, fallback, key) if error.kind in STANDS_IN_FOR else None
            if stand_in is not None:
                return stand_in
            self.failures += 1
            raise
        return response if fallback is None else self._or_stand_in(response, fallback, key)

    async def _enter(self, service: str, route_class: str, tenant_id: str) -> tuple[Breaker, int]:
        """Return the breaker of a call and its permit; one that is half open may need the hub's leave to be tried.

        Raises:
            BreakerOpen: the call may not be made now.
        """
        try:
            return self._circuits.enter(service, route_class, tenant_id)
        except BreakerOpen as refused:
            if refused.circuit.state != "HALF_OPEN":
                raise
            entered = await self._circuits.enter_as_probe(service, route_class, tenant_id)
            if entered is None:
                raise
            return entered

    async def _counted(self, call: _Call, route_class: str, tenant_id: str) -> ServiceResponse:
        """Make a call that its breaker lets through, and count it, all attempts as one."""
        of, began_s = (tenant_id, call.service, route_class), time.monotonic()
        try:
            call.breaker, call.permit = await self._enter(call.service, route_class, tenant_id)
            response = await self._judged(call)
        except HubError as error:
            if isinstance(error, BreakerOpen):
                self._windows.refused(*of)
            elif call.failed and error.kind in STANDS_IN_FOR:
                self._windows.ended(*of, (time.monotonic() - began_s) * 1_000, error.code)
            raise
        failed = f"http_{response.status}" if response.status >= FAILED_STATUS else ""
        self._windows.ended(*of, (time.monotonic() - began_s) * 1_000, failed)
        return response

    async def _judged(self, call: _Call) -> ServiceResponse:
        """Make a call, and let its breaker know how it went: the call as a whole, whichever instances were tried."""
        circuits, breaker, permit = self._circuits, call.breaker, call.permit
        began_s = time.monotonic()
        try:
            response = await self._attempts(call)
        except HubError as error:
            if call.failed and error.kind in STANDS_IN_FOR:
                circuits.failed(breaker, permit, began_s, sent=call.failed == "sent")
            else:
                breaker.release(permit)
            raise
        except BaseException:
            # Cancelled, or not made for a reason of the caller's: it says nothing about the service.
            breaker.release(permit)
            raise
        circuits.answered(breaker, permit, began_s, response.status)
        return response

    def _or_stand_in(self, response: ServiceResponse, fallback: Fallback, key: Key) -> ServiceResponse:
        if response.status >= FAILED_STATUS:
            return self._stand_in(response.endpoint.service, fallback, key) or response
        if fallback.cached_s > 0:
            self._answers.keep(key, response, time.monotonic())
        return response

    def _stand_in(self, service: str, fallback: Fallback | None, key: Key) -> ServiceResponse | None:
        if fallback is None:
            return None
        kept = self._answers.find(key, time.monotonic(), fallback.cached_s) if fallback.cached_s > 0 else None
        if kept is None and fallback.default is msgspec.UNSET:
            return None
        self.fallbacks += 1
        if kept is not None:
            answer, age_s = kept
            return ServiceResponse(
                answer.status, answer.headers, answer.body, answer.endpoint, 0, source="cache", age_s=age_s
            )
        body = msgspec.json.encode(fallback.default)
        nowhere = Endpoint(service, "", "", 0, "")
        return ServiceResponse(200, {"content-type": "application/json"}, body, nowhere, 0, source="default")

    async def _attempts(self, call: _Call) -> ServiceResponse:
        import aiohttp

        while True:
            target = await self._target(call)
            began_s = time.monotonic()
            target.in_flight += 1
            try:
                response = await self._send(call, target, began_s)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                # Refused, not accepted, or no such host: nothing was sent, so any call may go elsewhere.
                self._failed(call, target, began_s, error, sent=False)
                if not call.may_repeat:
                    raise _call_failed(call, error) from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._failed(call, target, began_s, error, sent=True)
                if time.monotonic() >= call.deadline_s:
                    raise _deadline(call) from error
                if not (call.may_repeat and call.is_safe and self._may_spend()):
                    raise _call_failed(call, error) from error
            else:
                self._answered(call, target, began_s, response.status)
                if response.status not in RETRIED_STATUS or not (
                    call.may_repeat and call.is_safe and self._may_spend()
                ):
                    return response
            finally:
                target.in_flight -= 1
            call.tried.append(target.endpoint.instance_id)
            self.retries += 1

    async def _target(self, call: _Call) -> Target:
        """Choose an instance, waiting a little when there is none.

        Raises:
            HubError: `no_instance`, `service_not_found`, `deadline_exceeded`, `hub_unreachable`.
        """
        pool = self._follower.pools.get(call.service)
        target = None if pool is None else pool.pick_other(call.tried) if call.tried else pool.pick()
        if target is None:
            target = await self._first_target(call)
        if target.endpoint.instance_id in call.tried:
            pause_s = PAUSE_MIN_S + random.random() * (PAUSE_MAX_S - PAUSE_MIN_S)  # noqa: S311  # jitter
            await asyncio.sleep(min(pause_s, max(0.0, call.deadline_s - time.monotonic())))
        return target

    async def _first_target(self, call: _Call) -> Target:
        until_s = min(call.deadline_s, time.monotonic() + NO_INSTANCE_WAIT_S)
        refusal: HubError | None = None
        while True:
            pool = self._follower.pool(call.service)
            if pool is None or not (pool.targets or self._follower.connected):
                try:
                    pool = await self._follower.fetch(call.service)
                    refusal = None
                except HubError as error:
                    refusal = error
            target = None if pool is None else pool.pick_other(call.tried)
            if target is not None:
                return target
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise refusal or no_instance(call.service)
            await self._follower.changed(call.service, min(left_s, 0.25))

    async def _send(self, call: _Call, target: Target, began_s: float) -> ServiceResponse:
        left_s = call.deadline_s - began_s
        if left_s <= 0:
            raise _deadline(call)
        call.headers[DEADLINE] = str(int(left_s * 1000))
        if call.attempt_timeout_s is not None and call.attempt_timeout_s < left_s:
            timeout = self._timeout(call.attempt_timeout_s)
        elif call.tried or left_s < call.timeout_s - 0.001:
            timeout = self._new_timeout(left_s)
        else:
            timeout = self._timeout(call.timeout_s)
        assert self._session is not None, "the client is open"
        response = await self._session.request(
            call.method,
            target.endpoint.url + call.path,
            data=call.body,
            params=call.params,
            headers=call.headers,
            allow_redirects=False,
            timeout=timeout,
        )
        length = response.content_length
        if length is not None and length <= CALL_ANSWER_BYTES_MAX:
            body = await response.read()
        else:
            body = await read_limited(call.service, response)
        return ServiceResponse(response.status, response.headers, body, target.endpoint, len(call.tried) + 1)

    def _headers(
        self, context: RequestContext, given: Mapping[str, str] | None, idempotency_key: str | None, *, is_json: bool
    ) -> dict[str, str]:
        correlation = context.correlation_id or f"{random.getrandbits(64):016x}"  # a label, not a secret
        headers = {CORRELATION: correlation}
        if context.tenant_id is not None:
            headers[TENANT] = context.tenant_id
        if context.user_id is not None:
            headers[USER] = context.user_id
        if context.tier is not None:
            headers[TIER] = context.tier
        if self._service_name:
            headers[CALLER] = self._service_name
        if is_json:
            headers["content-type"] = "application/json"
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        headers.update(given or {})
        return headers

    def _timeout(self, seconds: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(seconds)
        if timeout is None:
            if len(self._timeouts) >= TIMEOUTS_KEPT_MAX:
                self._timeouts.clear()
            timeout = self._timeouts[seconds] = self._new_timeout(seconds)
        return timeout

    def _new_timeout(self, seconds: float) -> aiohttp.ClientTimeout:
        import aiohttp

        return aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT_S)

    def _may_spend(self) -> bool:
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    def _answered(self, call: _Call, target: Target, began_s: float, status: int) -> None:
        now_s = time.monotonic()
        latency_ms = (now_s - began_s) * 1000
        ok = status < FAILED_STATUS
        if ok:
            target.succeeded(latency_ms)
        call.failed = ""
        error = "" if ok else f"http_{status}"
        self.outcomes.append(Outcome(target.endpoint.instance_id, ok, latency_ms, error))

    def _failed(self, call: _Call, target: Target, began_s: float, error: BaseException, *, sent: bool) -> None:
        now_s = time.monotonic()
        target.refused(now_s)
        # Once something was sent, what followed may be its doing.
        call.failed = "sent" if sent or call.failed == "sent" else "unsent"
        self.outcomes.append(
            Outcome(
                target.endpoint.instance_id, ok=False, latency_ms=(now_s - began_s) * 1000, error=type(error).__name__
            )
        )


def _check_path(path: str) -> None:
    if not path.startswith("/"):
        # Anything else could turn `http://host:port` + path into another host.
        raise HubError("invalid_path", Kind.INVALID, "A path begins with '/'.")


def _deadline_of(context: RequestContext, timeout_s: float) -> float:
    deadline_s = time.monotonic() + timeout_s
    return deadline_s if context.deadline_s is None else min(deadline_s, context.deadline_s)


def no_instance(service: str) -> HubError:
    """Return the refusal when a service has nobody to call."""
    return HubError(
        "no_instance",
        Kind.UNAVAILABLE,
        f"No instance of {service} can be called now.",
        next_step=f"Start one, or look at why: GET /services/{service}.",
    )


def _call_failed(call: _Call, error: BaseException) -> HubError:
    tried = len(call.tried) + 1
    reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return HubError(
        "call_failed",
        Kind.UNAVAILABLE,
        f"{call.method} {call.path} of {call.service} failed (attempts: {tried}): {reason}.",
        next_step=""
        if call.is_safe
        else "It may have been executed; give an idempotency_key so that it can be repeated.",
    )


def _deadline(call: _Call) -> HubError:
    return HubError(
        "deadline_exceeded",
        Kind.TIMEOUT,
        f"{call.service} did not answer {call.method} {call.path} in time.",
        next_step="Allow more time, or find out what it waits for.",
    )
