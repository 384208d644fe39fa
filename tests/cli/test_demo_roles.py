"""The demo's services do their work, and do it once per Idempotency-Key, across instances too."""

from pathlib import Path

import pytest

from central_hub.cli.demo.cast import ROLES, TENANTS
from central_hub.cli.demo.ledger import Ledger
from central_hub.cli.demo.roles import Json, Request, Workplace


class Platform:
    """All services in one process, two trading engines on one ledger."""

    def __init__(self, ledger: Path) -> None:
        self.ledgers = [Ledger(ledger), Ledger(ledger)]
        self.places = [Workplace(f"i-{at}", 1.0, self.call, each) for at, each in enumerate(self.ledgers)]

    async def call(self, service: str, path: str, body: Json, key: str) -> Json:
        return await self.ask(0, service, path, Request(body, key, "acme"))

    async def ask(self, at: int, service: str, path: str, request: Request) -> Json:
        return await self.places[at].handlers(service)[path](request)

    def close(self) -> None:
        for each in self.ledgers:
            each.close()


@pytest.fixture
def platform(tmp_path: Path):
    platform = Platform(tmp_path / "orders.db")
    yield platform
    platform.close()


ORDER: Json = {"user": "ann", "symbol": "ACME", "quantity": 10}


async def test_an_order_goes_through_the_platform_to_the_ledger(platform: Platform) -> None:
    answer = await platform.ask(0, "api-gateway", "/orders", Request(ORDER, "k-1", "acme"))
    assert answer == {"executed": True, "replayed": False, "trail": ["i-0"] * 5, "sent_again": 0}
    assert platform.ledgers[1].count() == 1


async def test_a_retry_at_another_instance_is_not_executed_again(platform: Platform) -> None:
    request = Request(ORDER, "k-1", "acme")
    assert (await platform.ask(0, "trading-engine", "/orders", request))["replayed"] is False
    assert (await platform.ask(1, "trading-engine", "/orders", request))["replayed"] is True
    assert platform.ledgers[0].count() == 1


@pytest.mark.parametrize("change", [{"user": ""}, {"quantity": 1_000_000}])
async def test_what_is_not_allowed_is_not_executed(platform: Platform, change: Json) -> None:
    answer = await platform.ask(0, "api-gateway", "/orders", Request({**ORDER, **change}, "k-1"))
    assert answer["executed"] is False
    assert platform.ledgers[0].count() == 0


def test_the_cast_is_what_was_promised() -> None:
    assert sum(len(role.speeds) for role in ROLES) >= 7
    assert next(role.speeds for role in ROLES if role.service == "model-server") == (1.0, 3.0, 6.0)
    assert {tenant.tier for tenant in TENANTS} == {"free", "pro", "enterprise"}
    assert sum(tenant.share for tenant in TENANTS) == pytest.approx(1.0)
    assert ("company_abc", "pro") in [(tenant.id, tenant.tier) for tenant in TENANTS]
