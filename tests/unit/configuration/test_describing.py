"""A section described while thousands of layers speak of it: in slices, and never past a layer that does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from central_hub.configuration import describing
from central_hub.configuration.describing import SLICE_LAYERS, _Look
from central_hub.configuration.model import Layer
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from tests.unit.configuration.support import OPERATOR, House, opened

TENANTS = {f"t-{at:04d}": "pro" for at in range(1_500)}
NARROW: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer", "maximum": 10}}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
WIDE: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer"}}


def schema_of(house: House) -> Any:
    return house.view.schemas(PLATFORM).get("rates")


async def described(house: House, schema: dict[str, Any] | None) -> HubError | None:
    try:
        await house.configuration.describe(OPERATOR, "rates", schema)
    except HubError as refused:
        return refused
    return None


async def test_the_event_loop_has_its_turn_while_many_layers_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, most, since = 0, 0, 0
    at = _Look.at

    def counting(look: _Look, domain: DomainId, layer: Layer) -> int:
        nonlocal looked, since, most
        looked, since = looked + 1, since + 1
        most = max(most, since)
        return at(look, domain, layer)

    async with opened(TENANTS) as house:
        assert await described(house, NARROW) is None
        for name in TENANTS:
            await house.patch(Layer(tenant=name), {"rates": {"a": 1}})
        monkeypatch.setattr(describing._Look, "at", counting)

        async def others() -> None:
            nonlocal since
            while True:
                since = 0
                await asyncio.sleep(0)

        turning = asyncio.create_task(others())
        assert await described(house, {**NARROW, "title": "other"}) is None
        turning.cancel()
        assert looked >= len(TENANTS)
        assert most <= SLICE_LAYERS


async def test_every_layer_that_does_not_fit_is_named() -> None:
    async with opened() as house:
        await described(house, WIDE)
        await house.patch(Layer(), {"rates": {"a": 1}})
        await house.patch(Layer(tenant="acme"), {"rates": {"a": 99}})
        refused = await described(house, NARROW)
        assert refused is not None
        assert (refused.code, refused.fields["layers"], refused.fields["count"]) == (
            "schema_breaks_layers", ["tenant/acme"], 1,
        )  # fmt: skip
        assert schema_of(house) == WIDE


async def test_a_layer_that_is_being_written_for_the_first_time_is_waited_for() -> None:
    async with opened() as house:
        await described(house, WIDE)
        writing = asyncio.create_task(house.patch(Layer(tenant="acme"), {"rates": {"a": 99}}))
        await asyncio.sleep(0)  # it is decided, and not yet durable
        refused = await described(house, NARROW)
        assert await writing == 1
        assert refused is not None
        assert refused.code == "schema_breaks_layers"


async def test_what_was_mended_or_broken_while_layers_were_looked_at_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "SLICE_LAYERS", 1)
    async with opened() as house:
        await described(house, WIDE)
        for name in ("acme", "globex", "idle"):
            await house.patch(Layer(tenant=name), {"rates": {"a": 99 if name == "acme" else 1}})
        telling = asyncio.create_task(described(house, NARROW))
        await asyncio.sleep(0)
        await house.patch(Layer(tenant="acme"), {"rates": {"a": 2}})
        assert await telling is None
        await described(house, WIDE)
        telling = asyncio.create_task(described(house, NARROW))
        await asyncio.sleep(0)
        await house.patch(Layer(tenant="acme"), {"rates": {"a": 98}})
        refused = await telling
        assert refused is not None
        assert refused.code == "schema_breaks_layers"


async def test_a_section_described_otherwise_meanwhile_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house:
        await described(house, WIDE)
        await house.patch(Layer(tenant="acme"), {"rates": {"a": 1}})
        # The second finds nothing to do when it looks, and everything when it decides.
        outcomes = await asyncio.gather(described(house, TEXTS), described(house, NARROW), described(house, WIDE))
        first, second, third = [None if one is None else one.code for one in outcomes]
        assert (first, third) == ("schema_breaks_layers", None)
        assert second in (None, "schema_breaks_layers")
        assert schema_of(house) == WIDE


async def test_more_changes_than_are_remembered_lead_to_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    in_slices, looks = describing._in_slices, 0
    async with opened() as house:
        await described(house, WIDE)

        async def and_much_else_happens(work: Iterator[int]) -> None:
            nonlocal looks
            looks += 1
            await in_slices(work)
            if looks == 1:
                await house.patch(Layer(tenant="acme"), {"rates": {"a": 99}})
                house.view._revised.clear()

        monkeypatch.setattr(describing, "_in_slices", and_much_else_happens)
        refused = await described(house, NARROW)
        assert refused is not None
        assert refused.code == "schema_breaks_layers"
        assert looks == 2


async def test_a_tenant_sees_its_own_changes_only() -> None:
    async with opened() as house:
        mark = house.view.revised
        for name in ("acme", "globex"):
            await house.patch(Layer(tenant=name), {"risk": {"depth": 1}})
        assert house.view.revised_since(DomainId("acme"), mark) == [("acme", Layer(tenant="acme"))]
        assert len(house.view.revised_since(PLATFORM, mark) or ()) == 2
