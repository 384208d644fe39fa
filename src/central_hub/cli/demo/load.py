"""The demo's callers: one client per tenant, calling services directly, with an Idempotency-Key each time."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from central_hub.cli.demo.arrivals import Arrival
from central_hub.cli.demo.cast import TENANTS, Tenant
from central_hub.cli.demo.figures import Figures
from central_hub.cli.demo.provisioning import Keys
from central_hub.kernel.errors import HubError
from central_hub.sdk.client import HubClient

CALL_TIMEOUT_S: Final = 20.0
IN_FLIGHT_MAX: Final = 256
"""Arrivals being served at once; the load waits past it."""
FINISH_S: Final = 25.0
WARM_UP_S: Final = 20.0
SYMBOLS: Final = ("ACME", "GLOBEX", "INITECH", "UMBRELLA", "HOOLI")
QUANTITY_MAX: Final = 100
FAILED_STATUS: Final = 400

Json = dict[str, Any]  # Any: JSON values


class Load:
    """Sends the arrivals of a trace, each for one tenant: an order, and for tiers with AI a prompt.

    Args:
        url: address of the hub.
        cache: directory for the clients' views.
        figures: where calls are counted.
    """

    def __init__(self, url: str, keys: Keys, figures: Figures, rng: random.Random, *, cache: Path) -> None:
        self._clients = {
            tenant.id: HubClient(
                url,
                keys.tenants[tenant.id],
                service_name="demo-load",
                cache_dir=cache / tenant.id,
                watch=("api-gateway", "model-server") if tenant.uses_ai else ("api-gateway",),
            )
            for tenant in TENANTS
        }
        self._figures = figures
        self._rng = rng
        self._gate = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._running: set[asyncio.Task[None]] = set()
        self.orders_acknowledged = 0

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await client.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    async def warm_up(self) -> None:
        """Wait until every client knows the services that it is going to call."""
        for tenant in TENANTS:
            names = ("api-gateway", "model-server") if tenant.uses_ai else ("api-gateway",)
            await self._clients[tenant.id].ready(*names, timeout=WARM_UP_S)

    async def send(self, arrivals: Iterator[Arrival]) -> None:
        """Send arrivals when they are due, for ever; none waits for the one before."""
        shares = [tenant.share for tenant in TENANTS]
        due_s = time.monotonic()
        for arrival in arrivals:
            due_s = max(due_s + arrival.gap_s, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await self._gate.acquire()
            task = asyncio.create_task(self._serve(self._rng.choices(TENANTS, shares)[0], arrival))
            self._running.add(task)
            task.add_done_callback(self._done)

    async def finish(self) -> None:
        """Wait for what is still being served."""
        if self._running:
            await asyncio.wait(self._running, timeout=FINISH_S)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._gate.release()

    async def _serve(self, tenant: Tenant, arrival: Arrival) -> None:
        order = {
            "user": f"user-{arrival.generated_tokens % 7}",
            "symbol": SYMBOLS[arrival.context_tokens % len(SYMBOLS)],
            "quantity": 1 + arrival.context_tokens % QUANTITY_MAX,
        }
        answer = await self._call(tenant, "api-gateway", "/orders", order)
        if answer is not None and answer.get("executed"):
            self.orders_acknowledged += 1
        if tenant.uses_ai:
            prompt = {"context_tokens": arrival.context_tokens, "generated_tokens": arrival.generated_tokens}
            await self._call(tenant, "model-server", "/generate", prompt)

    async def _call(self, tenant: Tenant, service: str, path: str, body: Json) -> Json | None:
        """Call a service as a tenant, and count how it went; returns None when it failed."""
        began_s = time.monotonic()
        try:
            response = await self._clients[tenant.id].request(
                service, "POST", path, json=body, idempotency_key=str(uuid.uuid4()), timeout=CALL_TIMEOUT_S
            )
        except HubError as error:
            self._figures.failed(tenant.id, f"{service}: {error.message}")
            return None
        if response.status >= FAILED_STATUS:
            self._figures.failed(tenant.id, f"{service}: {response.status} {response.text()[:200]}")
            return None
        answer: Json = response.json()
        self._figures.served_by.update(answer["trail"])
        self._figures.sent_again += answer["sent_again"] + response.attempts - 1
        latency_ms = (time.monotonic() - began_s) * 1_000
        self._figures.succeeded(tenant.id, latency_ms, replayed=bool(answer.get("replayed")))
        return answer
