"""A key's expiry is a time that can be written down: the list of keys stays readable."""

from __future__ import annotations

from central_hub.kernel.clock import TIME_MS_MAX
from tests.isolation.world import running


async def test_a_key_may_end_with_the_year_9999_and_no_later() -> None:
    async with running() as world:
        wanted = {"name": "k", "scopes": ["registry:read"], "expires_at_ms": TIME_MS_MAX}
        made = await world.must("POST", "/keys", key="root", body=wanted)
        refused = await world.ask("POST", "/keys", key="root", body=wanted | {"expires_at_ms": TIME_MS_MAX + 1})
        listed = await world.must("GET", "/keys", key="root")
    assert made["expires_at"] == "9999-12-31T23:59:59.999Z"
    assert refused.status == 422
    assert [key["expires_at"] for key in listed["keys"]] == ["9999-12-31T23:59:59.999Z"]
