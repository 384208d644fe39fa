"""Keeps one instance registered: register, renew, register again when the hub forgot it, drain, leave.

While the hub is away it goes on trying, with jitter; the service serves all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.client import HubClient
from central_hub.sdk.meter import Meter

RENEWALS_PER_LEASE: Final = 3
RENEWAL_JITTER: Final = 0.1
RETRY_CAP_S: Final = 2.0
REFUSED_WAIT_S: Final = 5.0
"""Wait after a refusal that trying again at once does not mend (a scope, a limit, a bad field)."""

ACKNOWLEDGE_S: Final = 3.0
ACKNOWLEDGE_POLL_S: Final = 0.05
SETTLE_S: Final = 0.05
"""Time for watchers that were told to act on it."""

LEAVE_TIMEOUT_S: Final = 2.0

_log = logging.getLogger("central_hub.sdk")


class Registrar:
    """Registers and renews one instance.

    Args:
        hub: an open client.
        registration: what is sent to `POST /services/register`, `instance_id` and `lease_ttl_s` included.
        meter: what is reported with each renewal.
    """

    def __init__(self, hub: HubClient, registration: Mapping[str, object], meter: Meter) -> None:
        self._hub = hub
        self.registration = dict(registration)
        self._meter = meter
        self._name = str(registration["name"])
        self._instance_id = str(registration["instance_id"])
        self._tenant_id: str | None = None
        self._task: asyncio.Task[None] | None = None
        self.registered = asyncio.Event()
        self.registrations = 0
        self.renewals = 0
        self.last_refusal: HubError | None = None

    def start(self) -> None:
        """Begin to register and renew in the background."""
        self._task = asyncio.create_task(self._run(), name="central_hub.registration")

    async def drain(self) -> bool:
        """Drain at the hub and wait until every watcher was told; says whether all were."""
        if not self.registered.is_set():
            return False
        until_s = time.monotonic() + ACKNOWLEDGE_S
        while True:
            try:
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    answer = await self._hub.drain(self._name, self._instance_id)
            except (HubError, TimeoutError):
                return False
            if _all_know(answer):
                await asyncio.sleep(SETTLE_S)
                return True
            if time.monotonic() >= until_s:
                return False
            await asyncio.sleep(ACKNOWLEDGE_POLL_S)

    async def leave(self) -> None:
        """Stop renewing and deregister; when the hub is away the lease runs out."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.registered.is_set():
            with contextlib.suppress(HubError, TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._hub.deregister(self._name, self._instance_id)
            self.registered.clear()

    async def _run(self) -> None:
        backoff = Backoff(cap_s=RETRY_CAP_S)
        ttl_s = await self._register(backoff)
        while True:
            jitter = 1 - RENEWAL_JITTER * random.random()  # noqa: S311  # so that a fleet does not beat in step
            await asyncio.sleep(ttl_s / RENEWALS_PER_LEASE * jitter)
            ttl_s = await self._renew(ttl_s, backoff)

    async def _register(self, backoff: Backoff) -> float:
        """Register, however long it takes; returns the lease in seconds."""
        while True:
            try:
                answer = await self._hub.register_service(self.registration)
            except HubError as error:
                await self._wait(error, backoff)
                continue
            backoff.reset()
            self._taken()
            self._tenant_id = answer.get("tenant_id")
            self.registrations += 1
            self.registered.set()
            return _ttl_of(answer, float(cast("float", self.registration["lease_ttl_s"])))

    async def _renew(self, ttl_s: float, backoff: Backoff) -> float:
        while True:
            try:
                answer = await self._hub.heartbeat(
                    self._name,
                    self._instance_id,
                    in_flight=self._meter.in_flight,
                    load=self._meter.load,
                    latency_ms_p95=self._meter.latency_ms_p95(time.monotonic()),
                    acked_seq=self._acknowledged(),
                )
            except HubError as error:
                if error.kind is Kind.NOT_FOUND:
                    return await self._register(backoff)
                await self._wait(error, backoff)
                continue
            backoff.reset()
            self._taken()
            self.renewals += 1
            return _ttl_of(answer, ttl_s)

    def _taken(self) -> None:
        if self.last_refusal is not None:
            _log.warning("%s (%s) is registered", self._name, self._instance_id)
            self.last_refusal = None

    async def _wait(self, error: HubError, backoff: Backoff) -> None:
        if self.last_refusal is None or self.last_refusal.code != error.code:
            _log.warning("%s (%s) cannot be kept registered, trying again: %s", self._name, self._instance_id, error)
        self.last_refusal = error
        at_least_s = float(error.retry_after_s or 0)
        if error.kind is not Kind.UNAVAILABLE and error.kind is not Kind.TIMEOUT:
            at_least_s = max(at_least_s, REFUSED_WAIT_S)
        await asyncio.sleep(backoff.next_s(random.random(), at_least_s=at_least_s))  # noqa: S311  # jitter

    def _acknowledged(self) -> int | None:
        """Return the position, in the instance's own domain, up to which this process has seen changes."""
        parts = self._hub.position.split(".")
        if not self._hub.connected or len(parts) != 4:
            return None
        return int(parts[1] if self._tenant_id else parts[2])


def _ttl_of(answer: Mapping[str, Any], default_s: float) -> float:  # Any: a JSON document
    lease = answer.get("lease")
    ttl_s = cast("dict[str, Any]", lease).get("ttl_s") if isinstance(lease, dict) else None
    return float(ttl_s) if isinstance(ttl_s, (int, float)) and ttl_s > 0 else default_s


def _all_know(answer: Mapping[str, Any]) -> bool:  # Any: a JSON document
    acknowledged = answer.get("acknowledged")
    if not isinstance(acknowledged, dict):
        return True
    counts = cast("dict[str, Any]", acknowledged)
    return int(counts.get("watchers", 0)) >= int(counts.get("watchers_total", 0))
