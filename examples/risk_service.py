"""A service: registers itself, renews its lease, answers, and drains on SIGTERM.

Run a hub (`central-hub serve --open`), then `python examples/risk_service.py`; start it more than
once for more instances. It takes a free port and tells the hub which.
"""

from aiohttp import web

from central_hub import BaseService, ServiceConfig, current_context

service = BaseService(ServiceConfig("risk-management", "2.5.0", tags=("example",), lease_ttl_s=5.0))


@service.handle("POST", "/risk/validate", idempotent=True)
async def validate(request: web.Request) -> dict[str, object]:
    """Approve orders up to a limit, for the tenant the caller acts for."""
    order = await request.json()
    context = current_context()
    return {
        "approved": order["quantity"] <= 1_000_000,
        "tenant": context.tenant_id if context else None,
        "instance": service.instance_id,
    }


if __name__ == "__main__":
    service.run()
