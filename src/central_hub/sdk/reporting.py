"""What a service says of the configuration it runs: taken up or refused, and how its requests went since.

A signal: when it cannot be sent it is sent later, with what has come to be since; the hub says how soon it wants the
next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.link import HubLink
from central_hub.sdk.meter import Meter
from central_hub.sdk.protocol import instance_path, read

AGAIN_S: Final = 5.0
RETRY_CAP_S: Final = 2.0
NOT_YET_S: Final = 0.25
"""Wait while the instance is not registered yet."""
REFUSED: Final = "refused"
APPLIED: Final = "applied"


class Reporter:
    """Reports for one instance.

    Args:
        link: how the hub is reached.
        service, instance, environment: who it is.
        meter: what it measures about itself.
    """

    def __init__(self, link: HubLink, service: str, instance: str, environment: str, meter: Meter) -> None:
        self._link = link
        self._path = instance_path(service, instance) + "/config"
        self._environment = environment
        self._meter = meter
        self._etag = ""
        self._reason = ""
        self._served = meter.served
        self._failed = meter.failed
        self._wake = asyncio.Event()
        self.reports = 0

    def say(self, etag: str, reason: str) -> None:
        """Report a value as taken up, or with a reason as refused."""
        self._etag, self._reason = etag, reason
        self._wake.set()

    def again(self) -> None:
        """Report soon: the hub may have lost what it was told."""
        self._wake.set()

    async def run(self) -> None:
        """Report whenever there is something to say, until cancelled or the hub does not take reports."""
        backoff = Backoff(cap_s=RETRY_CAP_S)
        wait_s: float | None = None  # nothing to say before there is a value
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            if not self._etag:
                continue
            try:
                wait_s = await self._report()
                backoff.reset()
            except HubError as error:
                if error.code == "no_such_path" or error.kind is Kind.METHOD:
                    return  # a hub of before reports
                if error.code == "instance_not_found":
                    wait_s = NOT_YET_S
                else:
                    asked_s = float(error.retry_after_s or 0)
                    wait_s = backoff.next_s(random.random(), at_least_s=asked_s)  # noqa: S311  # jitter

    async def _report(self) -> float:
        """Send one report; returns after how many seconds the hub wants the next."""
        served, failed = self._meter.served, self._meter.failed
        errors = failed - self._failed
        body: dict[str, object] = {
            "etag": self._etag,
            "state": REFUSED if self._reason else APPLIED,
            "reason": self._reason,
            "ok": served - self._served - errors,
            "errors": errors,
        }
        if self._environment:
            body["environment"] = self._environment
        answer = read(await self._link.send(self._link.protocol.command("PUT", self._path, body)))
        self._served, self._failed = served, failed
        self.reports += 1
        return float(answer.get("again_s", AGAIN_S))
