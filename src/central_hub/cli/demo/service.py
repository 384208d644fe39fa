"""One service process of the demo, built with the SDK like any other.

    python -m central_hub.cli.demo.service SERVICE INSTANCE PORT SPEED

The hub's address and key come from `HUB_URL` and `HUB_API_KEY`, the ledger's file from `DEMO_LEDGER`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from central_hub.cli.demo.cast import LEASE_TTL_S, ROLES
from central_hub.cli.demo.ledger import Ledger
from central_hub.cli.demo.processes import die_with_parent
from central_hub.cli.demo.roles import Handler, Json, Request, Workplace
from central_hub.sdk.context import current_context
from central_hub.sdk.service import BaseService
from central_hub.sdk.serving import ServiceConfig

VERSION: Final = "1.0"
DRAIN_S: Final = 4.0
FAILED_STATUS: Final = 400


def build(service_name: str, instance_id: str, port: int, speed: float, ledger: Ledger) -> BaseService:
    """Return a service with its handlers, ready to run."""
    role = next(role for role in ROLES if role.service == service_name)
    service = BaseService(
        ServiceConfig(
            service_name,
            VERSION,
            port,
            instance_id=instance_id,
            lease_ttl_s=LEASE_TTL_S,
            drain_s=DRAIN_S,
            depends_on=role.depends_on,
            subscription_requirements=role.requires,
            metadata={"speed": speed},
        )
    )

    async def call(name: str, path: str, body: Json, key: str) -> Json:
        response = await service.hub.request(name, "POST", path, json=body, idempotency_key=key)
        if response.status >= FAILED_STATUS:
            raise web.HTTPBadGateway(text=f"{name} answered {response.status}: {response.text()[:200]}")
        answer: Json = response.json()
        answer["sent_again"] += response.attempts - 1
        return answer

    for path, handler in Workplace(instance_id, speed, call, ledger).handlers(service_name).items():
        service.handle("POST", path, idempotent=True)(_serving(handler))
    return service


def _serving(handler: Handler):
    async def serve(request: web.Request) -> Json:
        context = current_context()
        return await handler(
            Request(
                body=msgspec.json.decode(await request.read()),
                key=request.headers.get("Idempotency-Key", ""),
                tenant=(context.tenant_id if context else None) or "",
            )
        )

    return serve


def main() -> None:
    """Serve until SIGTERM, then drain."""
    die_with_parent()
    service_name, instance_id, port, speed = sys.argv[1:]
    ledger = Ledger(Path(os.environ["DEMO_LEDGER"]))
    try:
        build(service_name, instance_id, int(port), float(speed), ledger).run()
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
