"""The view: what it folds, that a snapshot brings all of it back, and that equal documents are one."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.configuration.effective import Effective
from central_hub.configuration.model import FACTS, HISTORY_MAX, Layer, Template
from central_hub.configuration.templates import Templates
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.runner import Runner
from tests.unit.configuration.support import OPERATOR, House, opened

ACME = Layer(tenant="acme")


def restored(house: House) -> ConfigurationView:
    """Return a view that was given what the house's view dumps, domain by domain."""
    view = ConfigurationView()
    for domain in (PLATFORM, DomainId("acme"), DomainId("globex")):
        view.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in house.view.dump(domain)])
    return view


async def test_a_snapshot_brings_back_layers_history_and_schemas() -> None:
    async with opened() as house:
        for depth in range(5):
            await house.patch(Layer(), {"risk": {"depth": depth}})
            await house.patch(ACME, {"risk": {"mode": str(depth)}})
        view = restored(house)
        for domain, layer in ((PLATFORM, Layer()), (DomainId("acme"), ACME)):
            assert list(view.history(domain, layer)) == list(house.view.history(domain, layer))
            assert view.folded(domain, layer) is house.view.folded(domain, layer)
        assert view.schemas(PLATFORM) == house.view.schemas(PLATFORM)
        assert view.platform_generation > 0


async def test_a_tenants_layers_are_in_its_own_domain_and_in_no_other() -> None:
    async with opened() as house:
        await house.patch(ACME, {"risk": {"depth": 1}})
        await house.patch(Layer(tenant="acme", service="a"), {"risk": {"depth": 2}})
        assert set(house.view.layers(DomainId("acme"))) == {ACME, Layer(tenant="acme", service="a")}
        assert house.view.layers(PLATFORM) == {}
        assert house.view.layers(DomainId("globex")) == {}
        assert house.view.current(DomainId("globex"), ACME).number == 0


async def test_only_the_last_revisions_are_kept() -> None:
    async with opened() as house:
        for depth in range(HISTORY_MAX + 5):
            await house.patch(Layer(), {"risk": {"depth": depth}})
        kept = house.view.history(PLATFORM, Layer())
        assert [each.number for each in kept] == list(range(6, HISTORY_MAX + 6))
        assert house.view.revision(PLATFORM, Layer(), 1) is None


async def test_equal_documents_are_kept_once() -> None:
    async with opened() as house:
        await house.patch(ACME, {"risk": {"depth": 1}})
        await house.patch(Layer(tenant="globex"), {"risk": {"depth": 1}})
        one = house.view.folded(DomainId("acme"), ACME)
        assert one is not None
        assert one is house.view.folded(DomainId("globex"), Layer(tenant="globex"))
        assert house.effective.of(DomainId("acme")) is house.effective.of(DomainId("globex"))


async def test_tenants_of_a_tier_without_own_layers_share_their_value() -> None:
    async with opened() as house:
        await house.patch(Layer(), {"risk": {"depth": 1}})
        assert house.effective.of(DomainId("acme")) is house.effective.of(DomainId("globex"))
        assert house.effective.of(DomainId("acme"), "made-up", "names") is house.effective.of(DomainId("acme"))
        assert house.leaves("idle")["/rate_limits/api_calls_per_hour"] == 1_000


async def test_what_is_the_platforms_is_no_tenants() -> None:
    async with opened() as house:
        acme = DomainId("acme")
        await house.patch(ACME, {"risk": {"depth": 1}})
        await house.patch(Layer(), {"risk": {"depth": 1}})
        template = Template(parameters={}, document={})
        await Templates(house.view, house.sequencer).put(OPERATOR, "start", template)
        generation = house.view.platform_generation
        await house.patch(ACME, {"risk": {"depth": 2}})
        assert house.view.platform_generation == generation
        assert (house.view.schemas(acme), house.view.templates(acme)) == ({}, {})
        assert house.view.domains(acme) == [acme]
        view = ConfigurationView()
        view.restore(acme, [msgspec.msgpack.encode(chunk) for chunk in house.view.dump(acme)])
        assert (view.schemas(PLATFORM), view.templates(PLATFORM), view.platform_generation) == ({}, {}, 0)
        view = restored(house)
        assert view.templates(PLATFORM) == {"start": template}


async def test_a_tenant_without_a_record_has_the_tier_it_claims_and_none_without() -> None:
    async with opened() as house:
        with pytest.raises(HubError, match="tenant_not_found"):
            house.effective.of(DomainId("nobody"))
        value = house.effective.of(DomainId("nobody"), claimed="free")
        assert value.at("/rate_limits/api_calls_per_hour") == 1_000
        assert house.effective.of(DomainId("acme"), claimed="free").at("/rate_limits/api_calls_per_hour") == 10_000
        with pytest.raises(HubError, match="unknown_tier"):
            house.effective.of(DomainId("nobody"), claimed="platinum")


async def test_the_log_alone_brings_everything_back() -> None:
    async with opened() as house:
        for layer in (Layer(), ACME, Layer(tier="pro", service="a"), Layer(tenant="globex", environment="prod")):
            await house.patch(layer, {"risk": {"depth": 1}})
            await house.patch(layer, {"risk": {"mode": "x"}})
        view = ConfigurationView()
        runner = Runner(house.log, house.keys, FactTypes(FACTS), [view])
        await runner.catch_up()
        for domain in (PLATFORM, DomainId("acme"), DomainId("globex")):
            assert view.layers(domain).keys() == house.view.layers(domain).keys()
            for layer in view.layers(domain):
                assert list(view.history(domain, layer)) == list(house.view.history(domain, layer))
        again = Effective(view, house.defaults, house.tenants)
        for tenant in ("acme", "globex", "idle"):
            assert (
                again.of(DomainId(tenant), "a", "prod").etag == house.effective.of(DomainId(tenant), "a", "prod").etag
            )
