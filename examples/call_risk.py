"""A caller: finds risk management through the hub and calls an instance of it directly.

Start `examples/risk_service.py` first. With the hub stopped afterwards it still works: the view
of the last run is on disk.
"""

import asyncio
import uuid

from central_hub import HubClient


async def main() -> None:
    """Validate three orders for two tenants."""
    async with HubClient(service_name="trading-engine", tenant_id="company_abc", tier="pro") as hub:
        if not await hub.ready("risk-management"):
            raise SystemExit("no instance of risk-management: start examples/risk_service.py")
        print("would call", hub.resolve("risk-management").url)
        for quantity in (100, 2_000_000):
            answer = await hub.request(
                "risk-management",
                "POST",
                "/risk/validate",
                json={"symbol": "EURUSD", "quantity": quantity},
                timeout=2.0,
                idempotency_key=str(uuid.uuid4()),
            )
            print(answer.status, answer.json())
        with hub.acting_for("startup_xyz"):
            answer = await hub.request("risk-management", "POST", "/risk/validate", json={"quantity": 1})
            print(answer.status, answer.json())
        print("connected to the hub:", hub.connected, "- the view is", hub.view_age_s, "s old")


if __name__ == "__main__":
    asyncio.run(main())
