"""What each service of the demo's platform does with a request.

The work is small and real: orders go through users, risk and market data to a ledger; model servers
take time in proportion to the tokens. The Idempotency-Key of the caller goes along with every call, and
each answer holds the trail of the instances that had a part in it, and how often one of those calls had
to be sent again.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from central_hub.cli.demo.cast import MODEL_BATCH_MAX, inference_ms
from central_hub.cli.demo.ledger import Ledger

ORDER_VALUE_MAX: Final = 1_000_000.0
TENANT_UNKNOWN: Final = ""

Json = dict[str, Any]  # Any: JSON values
Call = Callable[[str, str, Json, str], Awaitable[Json]]
"""Calls another service: its name, path, body, Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a service: its body, its caller's key and tenant."""

    body: Json
    key: str
    tenant: str = TENANT_UNKNOWN


Handler = Callable[[Request], Awaitable[Json]]


class Workplace:
    """One instance at work.

    Args:
        instance_id: who it is.
        speed: work takes 1/speed of the time.
        call: reaches other services.
        ledger: where orders are written down; only trading engines use it.
    """

    def __init__(self, instance_id: str, speed: float, call: Call, ledger: Ledger) -> None:
        self._instance_id = instance_id
        self._speed = speed
        self._call = call
        self._ledger = ledger
        self._batch = asyncio.Semaphore(MODEL_BATCH_MAX)

    def handlers(self, service: str) -> Mapping[str, Handler]:
        """Return what a service answers, by path; all of it is POST."""
        every: dict[str, dict[str, Handler]] = {
            "user-management": {"/users/check": self.check_user},
            "data-bridge": {"/quotes": self.quote},
            "risk-management": {"/risk/validate": self.validate},
            "trading-engine": {"/orders": self.execute},
            "api-gateway": {"/orders": self.accept},
            "model-server": {"/generate": self.generate},
        }
        return every[service]

    async def check_user(self, request: Request) -> Json:
        """Say whether a user may trade."""
        return self._answer({"allowed": bool(request.body.get("user")), "tenant": request.tenant})

    async def quote(self, request: Request) -> Json:
        """Return the price of a symbol."""
        symbol = str(request.body["symbol"])
        return self._answer({"symbol": symbol, "price": 10 + zlib.crc32(symbol.encode()) % 90})

    async def validate(self, request: Request) -> Json:
        """Hold an order's value against the limit."""
        quote = await self._call("data-bridge", "/quotes", {"symbol": request.body["symbol"]}, request.key)
        value = float(request.body["quantity"]) * float(quote["price"])
        return self._answer({"approved": value <= ORDER_VALUE_MAX, "value": value}, quote)

    async def execute(self, request: Request) -> Json:
        """Execute an order that risk management approves, exactly once."""
        risk = await self._call("risk-management", "/risk/validate", request.body, request.key)
        if not risk["approved"]:
            return self._answer({"executed": False, "reason": "over the limit"}, risk)
        first = await asyncio.to_thread(self._ledger.execute, request.key, request.tenant, self._instance_id)
        return self._answer({"executed": True, "replayed": not first}, risk)

    async def accept(self, request: Request) -> Json:
        """Take an order in from outside: check the user, then hand it to a trading engine."""
        user = await self._call("user-management", "/users/check", {"user": request.body["user"]}, request.key)
        if not user["allowed"]:
            return self._answer({"executed": False, "reason": "not allowed"}, user)
        order = await self._call("trading-engine", "/orders", request.body, request.key)
        return self._answer(order, user, order)

    async def generate(self, request: Request) -> Json:
        """Answer a prompt, in the time that its tokens take."""
        context, generated = int(request.body["context_tokens"]), int(request.body["generated_tokens"])
        async with self._batch:
            await asyncio.sleep(inference_ms(context, generated, self._speed) / 1_000)
        return self._answer({"generated_tokens": generated, "speed": self._speed})

    def _answer(self, answer: Json, *parts: Json) -> Json:
        trail = [instance for part in parts for instance in part["trail"]]
        sent_again = sum(part["sent_again"] for part in parts)
        return {**answer, "trail": [*trail, self._instance_id], "sent_again": sent_again}
