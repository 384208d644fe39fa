"""What tests of relays on real brokers share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from central_hub.adapters.brokers.opening import BrokerLinks
from central_hub.kernel.brokers import Trouble
from tests.brokers import Got
from tests.unit.relays.house import House, opened


@asynccontextmanager
async def linked(before: House | None = None, *, orderly: bool = False) -> AsyncIterator[House]:
    """Run a house whose relays reach real brokers."""
    async with opened(lambda: House(before=before, brokers=BrokerLinks()), orderly=orderly) as house:
        yield house


async def trouble_of(house: House, trouble: Trouble) -> None:
    """Wait until a relay's broker fails in a way."""
    await house.until(lambda: house.line().failing.trouble is trouble)


def numbers(got: list[Got]) -> list[int]:
    """Return the events' numbers, each where it came first."""
    return list(dict.fromkeys(one.number for one in got))
