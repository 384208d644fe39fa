"""Serves a BaseService by itself, over aiohttp.web: context, health, drain and idempotency around its handlers."""

from __future__ import annotations

import errno
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.context import context_of, request_context
from central_hub.sdk.meter import SERVER_ERROR_FROM
from central_hub.sdk.serving import Handler, Result, Served, ServiceConfig
from central_hub.sdk.webhooks import BODY_BYTES_MAX as WEBHOOK_BYTES_MAX
from central_hub.sdk.webhooks import WebhookReceiver

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
SHUTDOWN_S: Final = 1.0
BACKLOG: Final = 1_024
FAILED_FROM: Final = 500


async def listen(service: Served) -> tuple[web.AppRunner, int]:
    """Open the socket and serve; returns the runner, which closes it, and the port.

    Raises:
        HubError: `address_unavailable` (409).
    """
    application = web.Application(middlewares=[_middleware(service)], client_max_size=BODY_BYTES_MAX)
    application.router.add_get(service.config.health_endpoint, _health(service))
    if service.webhooks is not None:
        application.router.add_post(service.config.webhook_path, _webhook(service.webhooks))
    for (method, path), (handler, idempotent) in service.handlers.items():
        application.router.add_route(method, path, _handler(service, handler, idempotent=idempotent))
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    config = service.config
    try:
        await web.TCPSite(runner, config.listen or config.host, config.port, backlog=BACKLOG).start()
    except OSError as error:
        await runner.cleanup()
        raise _unavailable(config, error) from None
    return runner, int(runner.addresses[0][1])


def _unavailable(config: ServiceConfig, error: OSError) -> HubError:
    host, port = config.listen or config.host, config.port
    reason, step = error.strerror or str(error), "Choose another port in ServiceConfig; port=0 takes a free one."
    if error.errno == errno.EADDRINUSE:
        reason = "another program listens there"
        step = f"Stop it (`ss -ltnp 'sport = :{port}'` names it), or choose another port: port=0 takes a free one."
    elif error.errno == errno.EACCES:
        reason = "this user may not listen there"
        step = "Choose a port from 1024 on."
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "this machine has no such address"
        step = "Name one that it has as `listen`, 0.0.0.0 for all, and keep in `host` what others connect to."
    return HubError(
        "address_unavailable",
        Kind.CONFLICT,
        f"'{config.service_name}' cannot listen on {host}:{port}: {reason}.",
        next_step=step,
    )


def _middleware(service: Served) -> Any:  # Any: aiohttp's own middleware type
    """Set the request context, count, refuse what is malformed or too late."""
    meter, health_endpoint = service.meter, service.config.health_endpoint

    @web.middleware
    async def around(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        if request.path == health_endpoint:
            return await handler(request)
        began_s = time.monotonic()
        headers = {name.lower(): value for name, value in request.headers.items()}
        context = context_of(headers, now_s=began_s, new_correlation=f"{random.getrandbits(64):016x}")
        if context is None:
            return refusal(400, "invalid_context", "A tenant, user, tier, correlation or deadline header is malformed.")
        if context.deadline_s is not None and context.deadline_s <= began_s:
            return refusal(504, "deadline_exceeded", "The caller no longer waits for this request.")
        meter.began()
        failed = True
        try:
            with request_context(context):
                response = await handler(request)
            failed = response.status >= SERVER_ERROR_FROM
            if not response.prepared:
                response.headers["x-correlation-id"] = context.correlation_id
            if service.draining:
                response.force_close()
            return response
        except web.HTTPException as answer:
            failed = answer.status >= SERVER_ERROR_FROM
            raise
        finally:
            now_s = time.monotonic()
            meter.ended(now_s, (now_s - began_s) * 1000, failed=failed)

    return around


def _health(service: Served) -> Handler:
    async def health(_: web.Request) -> web.Response:
        status, body = await service.health()
        return _json(status, body)

    return health


def _webhook(receiver: WebhookReceiver) -> Handler:
    async def take(request: web.Request) -> web.Response:
        if (request.content_length or 0) > WEBHOOK_BYTES_MAX:
            return refusal(413, "body_too_large", "No webhook of the hub is so large.")
        return web.Response(status=await receiver.take(request.headers, await request.read()))

    return take


def _handler(
    service: Served, handler: Handler, *, idempotent: bool
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def plain(request: web.Request) -> web.StreamResponse:
        return _response(await handler(request))

    async def once(request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return await plain(request)
        fingerprint = hashlib.sha256(await request.read()).digest()
        tenant_id = request.headers.get("x-tenant-id") or request.headers.get("x-company-id") or ""
        operation = f"{request.method} {request.path_qs}"

        async def execute() -> Result:
            response = _response(await handler(request))
            if not isinstance(response, web.Response):
                raise TypeError("an idempotent handler returns a JSON value or a web.Response, not a stream")
            body = response.body
            return response.status, response.content_type, body if isinstance(body, bytes) else b""

        try:
            status, content_type, body = await service.once.run(
                tenant_id, operation, key, fingerprint, execute, keep=lambda result: result[0] < FAILED_FROM
            )
        except HubError as error:
            return refusal(422, error.code, error.message)
        return web.Response(status=status, body=body, content_type=content_type)

    return once if idempotent else plain


def _response(result: Any) -> web.StreamResponse:  # Any: what a handler returned
    return result if isinstance(result, web.StreamResponse) else _json(200, result)


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


def refusal(status: int, code: str, detail: str) -> web.Response:
    """Return a problem document (RFC 9457)."""
    body = msgspec.json.encode({"type": "about:blank", "status": status, "code": code, "detail": detail})
    return web.Response(status=status, body=body, content_type="application/problem+json")
