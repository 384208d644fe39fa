"""Registering, draining, removing: durable, owned, limited, idempotent."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED
from central_hub.registry.model import REGISTER_BATCH_MAX, ServiceRegistered, instance_stream
from central_hub.registry.rules import Registration
from central_hub.registry.usecases import Limits
from tests.unit.registry.house import SHARING, House, opened
from tests.unit.registry.support import ACME, SCOPES, ctx_of, instance


def code_of(caught: pytest.ExceptionInfo[HubError]) -> str:
    return caught.value.code


def item(number: int, **fields: object) -> Registration:
    given = {"name": "risk", "host": "10.0.0.1", "port": 8080, "instance_id": f"i-{number}", **fields}
    return Registration(**given)  # type: ignore[arg-type]


async def test_a_tenants_registration_is_private_and_says_its_position_and_lease() -> None:
    async with opened() as house:
        answer = await house.register(lease_ttl_s=10.0)
        assert (answer.tenant_id, answer.tenant_namespace, answer.seq) == ("acme", "acme_risk", 1)
        assert answer.lease.ttl_s == 10.0
        assert house.view.instance(ACME, "risk", "i-1") is not None
        assert house.view.service(SHARED, "risk") is None


async def test_without_an_id_the_hub_mints_one() -> None:
    async with opened() as house:
        first = await house.register(instance_id=None)
        second = await house.register(instance_id=None)
        assert first.instance_id != second.instance_id
        assert house.view.count_instances(ACME) == 2


async def test_without_a_tenant_it_is_shared_and_needs_the_scope() -> None:
    async with opened() as house:
        with pytest.raises(HubError) as caught:
            await house.register(ctx_of(None))
        assert code_of(caught) == "scope_missing"
        assert (await house.share()).tenant_id is None
        assert house.view.instance(SHARED, "risk", "i-1") is not None


async def test_a_tenants_key_shares_on_request_only_with_the_scope() -> None:
    async with opened() as house:
        with pytest.raises(HubError) as caught:
            await house.register(shared=True)
        assert code_of(caught) == "scope_missing"
        await house.register(ctx_of(scopes=SHARING), shared=True)
        assert house.view.instance(SHARED, "risk", "i-1") is not None
        with pytest.raises(HubError) as caught:
            await house.register(ctx_of(scopes=SHARING), shared=True, tenant_id="acme")
        assert code_of(caught) == "invalid_field"


async def test_an_identical_registration_writes_nothing_and_answers_the_same() -> None:
    async with opened() as house:
        first = await house.register(metadata={"a": 1})
        await house.register(instance_id="i-2")
        wakes = len(house.batches)
        assert await house.register(metadata={"a": 1}) == first
        assert len(house.batches) == wakes
        assert (await house.register(metadata={"a": 2})).seq == 3


async def test_a_retry_under_the_same_key_is_told_what_the_first_try_was_told() -> None:
    async with opened() as house:
        first = await house.register(instance_id=None, key="k-1")
        assert await house.register(instance_id=None, key="k-1") == first
        assert house.view.count_instances(ACME) == 1


async def test_only_the_owner_or_an_administrator_replaces_drains_and_removes() -> None:
    async with opened() as house:
        await house.register()
        stranger = ctx_of(principal="key-2")
        for attempt in (
            house.register(stranger, port=1),
            house.registry.drain(stranger, "risk", "i-1", draining=True),
            house.registry.deregister(stranger, "risk", "i-1"),
        ):
            with pytest.raises(HubError) as caught:
                await attempt
            assert code_of(caught) == "not_owner"
        admin = ctx_of(principal="key-2", scopes=SCOPES | {"registry:admin"})
        await house.registry.deregister(admin, "risk", "i-1")
        assert house.view.count_instances(ACME) == 0


async def test_another_tenants_instance_is_as_good_as_missing() -> None:
    async with opened() as house:
        await house.register()
        other = ctx_of("other")
        await house.registry.deregister(other, "risk", "i-1")
        with pytest.raises(HubError) as caught:
            await house.registry.drain(other, "risk", "i-1", draining=True)
        assert code_of(caught) == "instance_not_found"
        assert house.view.instance(ACME, "risk", "i-1") is not None


async def test_a_shared_instance_is_seen_but_not_a_tenants_to_remove() -> None:
    async with opened() as house:
        await house.share()
        with pytest.raises(HubError) as caught:
            await house.registry.deregister(ctx_of(), "risk", "i-1")
        assert code_of(caught) == "not_owner"


async def test_draining_twice_is_draining_once_and_undrain_takes_it_back() -> None:
    async with opened() as house:
        await house.register()
        _, drained = await house.registry.drain(ctx_of(), "risk", "i-1", draining=True)
        _, again = await house.registry.drain(ctx_of(), "risk", "i-1", draining=True)
        assert drained.draining
        assert drained.drain_seq == again.drain_seq == 2
        _, back = await house.registry.drain(ctx_of(), "risk", "i-1", draining=False)
        assert not back.draining


async def test_removing_what_is_gone_is_no_error() -> None:
    async with opened() as house:
        await house.register()
        for _ in range(2):
            await house.registry.deregister(ctx_of(), "risk", "i-1")
        assert house.view.service(ACME, "risk") is None


async def test_the_instance_limit_holds_under_concurrency() -> None:
    async with opened(lambda: House(limits=Limits(instances=20))) as house:
        tries = [house.register(instance_id=f"i-{number}", name=f"s-{number % 7}") for number in range(60)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, HubError)]
        assert len(refused) == 40
        assert {one.code for one in refused} == {"instance_limit"}
        assert house.view.count_instances(ACME) == 20


async def test_many_first_instances_of_one_service_make_one_service() -> None:
    async with opened(lambda: House(limits=Limits(services=1))) as house:
        await asyncio.gather(*(house.register(instance_id=f"i-{number}") for number in range(50)))
        with pytest.raises(HubError) as caught:
            await house.register(name="another")
        assert code_of(caught) == "service_limit"
        assert house.view.count_instances(ACME) == 50


async def test_a_replacement_needs_no_room() -> None:
    async with opened(lambda: House(limits=Limits(instances=1, services=1))) as house:
        await house.register()
        assert (await house.register(port=9)).seq == 2


async def test_a_batch_is_one_record_per_fifty_and_says_what_became_of_each() -> None:
    async with opened() as house:
        batch = [item(number) for number in range(150)]
        batch[3] = item(3, port=0)
        batch[7] = item(6)
        batch[9] = item(9, tenant_id="other")
        foreign = HubError("tenant_mismatch", Kind.DENIED, "no")
        contexts = [ctx_of() if wanted.tenant_id is None else foreign for wanted in batch]
        answer = await house.registry.register_batch(contexts, batch)
        assert (answer.registered, answer.refused) == (147, 3)
        codes = {index: one.code for index, one in enumerate(answer.results) if one.code}
        assert codes == {3: "invalid_field", 7: "duplicate_in_batch", 9: "tenant_mismatch"}
        assert house.view.count_instances(ACME) == 147
        assert house.runner.position(ACME) == 3
        assert {one.seq for one in answer.results if not one.code} == {1, 2, 3}


async def test_a_batch_that_says_nothing_new_writes_nothing() -> None:
    async with opened() as house:
        batch = [item(number) for number in range(5)]
        await house.registry.register_batch([ctx_of()] * 5, batch)
        assert house.leases.advised == []
        again = await house.registry.register_batch([ctx_of()] * 5, batch)
        assert again.registered == 5
        assert house.runner.position(ACME) == 1
        assert len(set(house.leases.advised)) == 5, "it is a heartbeat of each"


async def test_a_batch_stops_at_the_limit_of_the_domain() -> None:
    async with opened(lambda: House(limits=Limits(instances=30, services=2))) as house:
        batch = [item(number, name=f"s-{number % 3}") for number in range(60)]
        answer = await house.registry.register_batch([ctx_of()] * 60, batch)
        assert house.view.count_instances(ACME) == answer.registered == 30
        assert {one.code for one in answer.results} == {"", "service_limit", "instance_limit"}


async def test_a_batch_has_a_limit() -> None:
    async with opened() as house:
        with pytest.raises(HubError) as caught:
            await house.registry.register_batch([], [item(number) for number in range(REGISTER_BATCH_MAX + 1)])
        assert code_of(caught) == "batch_too_large"


async def test_access_lost_before_the_decision_is_a_refusal() -> None:
    async with opened() as house:
        house.access.refused["key-1"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
        with pytest.raises(HubError) as caught:
            await house.register()
        assert code_of(caught) == "invalid_credential"
        assert house.view.count_instances(ACME) == 0


async def test_access_lost_before_a_batch_is_decided_refuses_all_of_it() -> None:
    async with opened() as house:
        house.access.refused["key-1"] = HubError("invalid_credential", Kind.UNAUTHENTICATED, "revoked")
        with pytest.raises(HubError) as caught:
            await house.registry.register_batch([ctx_of()], [Registration(name="risk", host="10.0.0.1", port=1)])
        assert code_of(caught) == "invalid_credential"
        assert house.view.count_instances(ACME) == 0


async def test_a_shared_registration_is_not_warned_of_a_tenants_tier() -> None:
    async with opened() as house:
        assert not any("enterprise" in warning for warning in (await house.share(resource_tier="enterprise")).warnings)


async def test_a_resource_tier_above_the_tenants_is_kept_with_a_warning() -> None:
    async with opened() as house:
        answer = await house.register(resource_tier="enterprise")
        assert any("enterprise" in warning for warning in answer.warnings)
        pro = await house.register(ctx_of(tier="pro"), resource_tier="premium", instance_id="i-2")
        assert not any("premium" in warning for warning in pro.warnings)


async def test_the_adversary_between_decision_and_append_cannot_break_ownership() -> None:
    """Another hub registers the same instance while this one decides: this one decides again and refuses."""
    async with opened() as house:
        await house.register(ctx_of(principal="key-9"), instance_id="i-9")
        fact = ServiceRegistered(instance=instance(owner="key-of-another-hub", tenant_id="acme"))

        def intrude(log: object, append: object) -> None:
            house.log.adversary = None
            house.log.write_as_another_hub(house.keys, ACME, fact, (instance_stream("risk", "i-1"),))

        house.log.adversary = intrude
        with pytest.raises(HubError) as caught:
            await house.register()
        assert code_of(caught) == "not_owner"
        held = house.view.instance(ACME, "risk", "i-1")
        assert held is not None
        assert held.owner == "key-of-another-hub"
