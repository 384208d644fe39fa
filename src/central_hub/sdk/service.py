"""A service of the platform: registers, renews, serves, and leaves without losing a call.

On SIGTERM: draining at the hub, watchers told, requests in flight done or the deadline, deregister,
then the socket is closed. Stand-alone (`run`) it serves over aiohttp; `asgi` wraps any ASGI application.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from central_hub.sdk.circuits import CircuitChange
from central_hub.sdk.client import HubClient
from central_hub.sdk.configuration import ConfigDiff
from central_hub.sdk.idempotency import Once
from central_hub.sdk.meter import Meter
from central_hub.sdk.registration import Registrar
from central_hub.sdk.serving import Handler, Result, ServiceConfig
from central_hub.sdk.store import write_private

if TYPE_CHECKING:
    from aiohttp import web

    from central_hub.sdk.asgi import Application, ServiceApplication
    from central_hub.sdk.webhooks import WebhookEvent, WebhookReceiver

_log: Final = logging.getLogger("central_hub")
INSTANCE_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")


class BaseService:
    """One instance of a service; subclass it for the hooks, or use it as it is.

    Args:
        config: what it is called and where it can be reached.
        hub: client to use; default a new one from `HUB_URL` and `HUB_API_KEY` that follows `depends_on`.
            One that is given is opened when needed, and closed by whoever made it.
    """

    def __init__(self, config: ServiceConfig, hub: HubClient | None = None) -> None:
        self.config = config
        self._owns_hub = hub is None
        self.hub = hub or HubClient(service_name=config.service_name, zone=config.zone, watch=config.depends_on)
        self.meter = Meter(config.max_in_flight)
        self.once: Once[Result] = Once()
        self.port = config.port
        self.draining = False
        self.unfinished = 0
        self.handlers: dict[tuple[str, str], tuple[Handler, bool]] = {}
        self._instance_id = config.instance_id or os.environ.get("HUB_INSTANCE_ID") or ""
        self._registrar: Registrar | None = None
        self._followed: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self.webhooks = self._webhooks()

    async def on_start(self) -> None:
        """Get ready; called before the service is registered."""

    async def on_drain(self) -> None:
        """Stop taking up new work; called when draining begins."""

    async def on_stop(self) -> None:
        """Clean up; called after the service is deregistered."""

    async def is_healthy(self) -> bool:
        """Say whether the service can work; its health endpoint answers 503 when not."""
        return True

    async def on_config(self, diff: ConfigDiff) -> None:
        """Take up configuration: called with the first value and with every other one, one at a time.

        The hub is told that the value is in force here once this returns, and that it is refused when this raises: then
        the service goes on with the value before, which is also what a restart without the hub begins with.

        What this service is configured with in `config.environment` is followed only where this is overridden.
        """

    async def on_webhook(self, event: WebhookEvent) -> None:
        """Act on an event that the hub delivered to `config.webhook_path`, verified; each is given once.

        Raising has the hub send it again. A change of configuration needs nothing here: `on_config` is given it.
        """

    async def on_circuit(self, change: CircuitChange) -> None:
        """Hear of a breaker of this service's calls that opened, is tried again or closed, one at a time.

        Followed only where this is overridden.
        """

    @property
    def instance_id(self) -> str:
        """Its id, once it has started."""
        return self._instance_id

    @property
    def registered(self) -> bool:
        """Whether the hub has acknowledged it."""
        return self._registrar is not None and self._registrar.registered.is_set()

    @property
    def registrar(self) -> Registrar | None:
        """What keeps it registered; None before the start."""
        return self._registrar

    def handle(self, method: str, path: str, *, idempotent: bool = False) -> Callable[[Handler], Handler]:
        """Return a decorator that serves a path stand-alone.

        The handler takes an `aiohttp.web.Request` and returns a JSON value or a response.

        Args:
            path: as aiohttp takes it, `/orders/{id}` for example.
            idempotent: execute the same `Idempotency-Key` of the same tenant once, in this process.
        """

        def register(handler: Handler) -> Handler:
            self.handlers[method.upper(), path] = (handler, idempotent)
            return handler

        return register

    def asgi(self, application: Application) -> ServiceApplication:
        """Wrap an ASGI application: registration, context, health and drain; `config.port` is the server's."""
        from central_hub.sdk.asgi import ServiceApplication

        return ServiceApplication(self, application)

    def run(self) -> None:
        """Serve stand-alone until SIGTERM or SIGINT, then drain and return."""
        asyncio.run(self.serve())

    async def serve(self, *, on_ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Serve stand-alone until `stop()` or, in the main thread, SIGTERM or SIGINT; then drain and return.

        Args:
            on_ready: awaited once the socket is open and registration has begun.
        """
        from central_hub.sdk.standalone import listen

        loop = asyncio.get_running_loop()
        caught = _catch(loop, self.stop)
        runner: web.AppRunner | None = None
        try:
            runner, self.port = await listen(self)
            await self.start()
            if on_ready is not None:
                await on_ready()
            await self._stop.wait()
            await self.leave()
        finally:
            for number in caught:
                loop.remove_signal_handler(number)
            if runner is not None:
                await runner.cleanup()
            await self._close_hub()

    def stop(self) -> None:
        """Make `serve` drain and return."""
        self._stop.set()

    async def start(self) -> None:
        """Begin to be registered; never waits for the hub."""
        await self.hub.open()
        if not self._instance_id:
            self._instance_id = await asyncio.to_thread(self._kept_instance_id)
        await self.on_start()
        self._registrar = Registrar(self.hub, self._registration(), self.meter)
        self._registrar.start()
        if type(self).on_config is not BaseService.on_config:
            self._followed.append(asyncio.create_task(self._follow_config(), name="central_hub.on_config"))
        if type(self).on_circuit is not BaseService.on_circuit:
            self._followed.append(asyncio.create_task(self._follow_circuits(), name="central_hub.on_circuit"))

    async def leave(self) -> int:
        """Drain, wait for requests in flight, deregister; returns how many requests were not done in time."""
        self.draining = True
        for followed in self._followed:
            followed.cancel()
        await asyncio.gather(*self._followed, return_exceptions=True)
        await self.on_drain()
        until_s = time.monotonic() + self.config.drain_s
        if self._registrar is not None:
            await self._registrar.drain()
        await self.meter.idle(max(0.0, until_s - time.monotonic()))
        self.unfinished = self.meter.in_flight
        if self._registrar is not None:
            await self._registrar.leave()
        await self.on_stop()
        return self.unfinished

    async def stop_asgi(self) -> None:
        """Leave, where `leave` has not run yet, and close the client (the end of an ASGI lifespan)."""
        if not self.draining:
            await self.leave()
        await self._close_hub()

    async def health(self) -> tuple[int, dict[str, object]]:
        """Return status and body of the health endpoint: 503 while draining or not healthy."""
        healthy = await self.is_healthy()
        word = "draining" if self.draining else "healthy" if healthy else "unhealthy"
        return (200 if word == "healthy" else 503), {
            "status": word,
            "service_name": self.config.service_name,
            "instance_id": self._instance_id,
            "version": self.config.version,
            "in_flight": self.meter.in_flight,
            "registered": self.registered,
            "hub": {"connected": self.hub.connected, "view_age_s": self.hub.view_age_s},
        }

    async def _follow_config(self) -> None:
        config = self.config
        await self.hub.follow_config(
            self.on_config,
            service=config.service_name,
            instance_id=self._instance_id,
            environment=config.environment,
            meter=self.meter,
        )

    def _webhooks(self) -> WebhookReceiver | None:
        if not self.config.webhook_path:
            return None
        given = os.environ.get("HUB_WEBHOOK_SECRETS", "").split(",")
        secrets = self.config.webhook_secrets or tuple(one.strip() for one in given if one.strip())
        if not secrets:
            raise ValueError("webhook_path needs webhook_secrets, or HUB_WEBHOOK_SECRETS: nothing unsigned is taken")
        from central_hub.sdk.webhooks import WebhookReceiver

        return WebhookReceiver(secrets, self._take_webhook)

    async def _take_webhook(self, event: WebhookEvent) -> None:
        from central_hub.sdk.webhooks import CONFIG_CHANGED

        if event.type == CONFIG_CHANGED:
            await self.hub.read_config_again(event.tenantid)
        await self.on_webhook(event)

    async def _follow_circuits(self) -> None:
        async for change in self.hub.circuit_changes():
            try:
                await self.on_circuit(change)
            except Exception:
                _log.exception("on_circuit failed for %s; the service goes on", change.service_name)

    async def _close_hub(self) -> None:
        if self._owns_hub:
            await self.hub.close()

    def _registration(self) -> dict[str, object]:
        config = self.config
        registration: dict[str, object] = {
            "name": config.service_name,
            "instance_id": self._instance_id,
            "host": config.host,
            "port": self.port,
            "protocol": config.protocol,
            "health_endpoint": config.health_endpoint,
            "version": config.version,
            "zone": config.zone,
            "weight": config.weight,
            "tags": config.tags,
            "metadata": config.metadata,
            "depends_on": config.depends_on,
            "subscription_requirements": config.subscription_requirements,
            "resource_tier": config.resource_tier,
            "tenant_id": config.tenant_id,
            "tenant_namespace": config.tenant_namespace,
            "lease_ttl_s": config.lease_ttl_s,
        }
        if config.shared:
            registration["shared"] = True
        return registration

    def _kept_instance_id(self) -> str:
        """Return the id of the last run at this port, or mint one and keep it."""
        minted = f"{self.config.service_name}-{os.urandom(6).hex()}"
        directory = self.hub.cache_dir
        if directory is None or not self.config.port:
            return minted
        path = Path(directory) / f"instance-{self.config.service_name}-{self.config.port}.id"
        try:
            kept = path.read_text(encoding="ascii").strip()
            if INSTANCE_ID_PATTERN.match(kept):
                return kept
        except (OSError, UnicodeError):
            pass  # the first run here, or a damaged file: mint
        try:
            write_private(path, minted.encode("ascii"))
        except OSError:
            pass  # nowhere to keep it: the next run gets another id
        return minted


def _catch(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> list[signal.Signals]:
    """Call `stop` on SIGTERM and SIGINT where that is possible; returns what was caught."""
    caught: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except (ValueError, RuntimeError, NotImplementedError):
            break  # not the main thread, or a platform without: the caller ends it with stop()
        caught.append(number)
    return caught
