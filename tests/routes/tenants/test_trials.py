"""When a trial ends is shown while it lasts, and not after."""

from __future__ import annotations

from central_hub.kernel.clock import rfc3339
from tests.isolation.world import running

DAY_MS = 86_400_000


async def test_the_end_of_a_trial_is_shown_while_it_lasts() -> None:
    async with running() as world:
        ends_ms = world.clock.now_ms() + 14 * DAY_MS
        wanted = {"id": "acme", "name": "Acme", "tier": "pro", "trial": True, "trial_ends_at_ms": ends_ms}
        await world.must("POST", "/tenants", key="root", body=wanted)
        assert (await world.must("GET", "/tenants/acme", key="root"))["trial_ends_at"] == rfc3339(ends_ms)
        await world.must("POST", "/tenants/acme/activate", key="root")
        assert (await world.must("GET", "/tenants/acme", key="root"))["trial_ends_at"] is None


async def test_a_trial_without_an_end_shows_none() -> None:
    async with running() as world:
        await world.must("POST", "/tenants", key="root", body={"id": "acme", "name": "A", "tier": "pro", "trial": True})
        shown = await world.must("GET", "/tenants/acme", key="root")
        assert (shown["status"], shown["trial_ends_at"]) == ("trial", None)
