"""A tenant from its first key to the end of its data, on a memory log."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import Tx
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.model import TENANT_STREAM, State, TenantChanged
from central_hub.tenants.states import Move
from central_hub.tenants.usecases import NewKey, NewTenant, Tenants
from central_hub.tenants.view import TenantsView
from tests.unit.tenants.support import ACME, OPERATOR, PEPPER, TIERS, Office, opened

FIRST = NewTenant(id="acme", name="Acme", tier="pro", first_key=NewKey(name="first", scopes=("registry:read",)))


async def refusal(command: Any) -> str:
    with pytest.raises(HubError) as caught:
        await command
    return caught.value.code


def written(office: Office) -> list[str]:
    return [record.type for record in office.log.records]


async def test_a_tenant_and_its_first_key_are_one_step_and_the_same_again_is_none() -> None:
    async with opened() as office:
        made = await office.tenants.create(OPERATOR, FIRST)
        assert made.key is not None
        assert made.key.secret.startswith("chk_")
        assert written(office) == ["TenantCreated", "KeyCreated"]
        again = await office.tenants.create(OPERATOR, FIRST)
        assert (again.tenant, again.key) == (made.tenant, None)
        trial = msgspec.structs.replace(FIRST, id="try", state=State.TRIAL, first_key=None)
        assert (await office.tenants.create(OPERATOR, trial)).tenant.state is State.TRIAL
        for other in ({"name": "Other"}, {"tier": "free"}):
            assert await refusal(office.tenants.create(OPERATOR, msgspec.structs.replace(FIRST, **other))) == (
                "tenant_exists"
            )


async def test_a_retry_under_its_key_never_shows_the_secret_again() -> None:
    async with opened() as office:
        made = await office.tenants.create(OPERATOR, FIRST, key="k")
        again = await office.tenants.create(OPERATOR, FIRST, key="k")
        assert made.key is not None
        assert again.key is not None
        assert (again.key.key_id, again.key.secret) == (made.key.key_id, "")
        assert written(office) == ["TenantCreated", "KeyCreated"]


async def test_nothing_is_made_when_the_first_key_cannot_be() -> None:
    async with opened() as office:
        wrong = msgspec.structs.replace(FIRST, first_key=NewKey(name="k", scopes=("platform:admin",)))
        assert await refusal(office.tenants.create(OPERATOR, wrong)) == "unknown_scope"
        assert written(office) == []


class Template:
    """Gives every new tenant something of its own, unless it is told to refuse."""

    def __init__(self) -> None:
        self.refuses = False

    def provision(self, tx: Tx, domain: DomainId, tier: str) -> None:
        if self.refuses:
            raise HubError("limit_reached", "limit", "no")  # pyright: ignore[reportArgumentType]  # any kind will do
        fact = TenantChanged(name="provisioned", tier=tier, previous_tier=tier)
        tx.append(domain, fact, streams=(TENANT_STREAM,))


async def test_what_a_template_gives_is_part_of_the_same_step() -> None:
    async with opened() as office:
        template = Template()
        tenants = Tenants(
            office.view, office.sequencer, TIERS, PEPPER, reserved=frozenset(), administered=lambda: None,
            provisions=[template],
        )  # fmt: skip
        template.refuses = True
        assert await refusal(tenants.create(OPERATOR, FIRST)) == "limit_reached"
        assert written(office) == []
        template.refuses = False
        made = await tenants.create(OPERATOR, FIRST)
        assert (made.tenant.name, written(office)) == ("provisioned", ["TenantCreated", "TenantChanged", "KeyCreated"])


async def test_a_tenant_lives_from_trial_to_the_end() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, msgspec.structs.replace(FIRST, state=State.TRIAL))
        seen: list[str] = []
        for move in ("activate", "past_due", "activate", "suspend", "resume", "delete", "restore", "delete", "delete"):
            tenant = await office.life.move(OPERATOR, "acme", Move(move), reason=f"because {move}")
            seen.append(tenant.state.value)
        assert seen == [
            "active", "past_due", "active", "suspended", "active", "deleted", "suspended", "deleted", "deleted",
        ]  # fmt: skip
        assert office.tenants.get("acme").reason == "because delete"
        assert written(office).count("TenantStateChanged") == 6
        assert await refusal(office.life.move(OPERATOR, "acme", Move.RESUME)) == "wrong_state"
        assert await refusal(office.life.move(OPERATOR, "nobody", Move.SUSPEND)) == "tenant_not_found"
        assert await refusal(office.tenants.create(OPERATOR, FIRST)) == "tenant_exists"


class Left:
    """Notes who left."""

    def __init__(self) -> None:
        self.domains: list[DomainId] = []

    async def leave(self, domain: DomainId) -> None:
        self.domains.append(domain)


async def test_what_lives_in_a_tenant_leaves_with_it_and_nothing_before() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, FIRST)
        left = Left()
        life = LifeCycle(office.view, office.sequencer, office.keys, [left])
        await life.move(OPERATOR, "acme", Move.SUSPEND)
        assert await refusal(life.shred(OPERATOR, "acme", confirm="acme")) == "wrong_state"
        assert left.domains == []
        await life.move(OPERATOR, "acme", Move.DELETE)
        assert left.domains == [ACME]
        await life.shred(OPERATOR, "acme", confirm="acme")
        assert left.domains == [ACME, ACME]


async def test_only_a_deleted_and_confirmed_tenant_is_shredded_and_its_id_is_used_up() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, FIRST)
        assert await refusal(office.life.shred(OPERATOR, "acme", confirm="acme")) == "wrong_state"
        await office.life.move(OPERATOR, "acme", Move.DELETE)
        assert await refusal(office.life.shred(OPERATOR, "acme", confirm="yes")) == "not_confirmed"
        key = office.view.keys(ACME)[0]
        await office.life.shred(OPERATOR, "acme", confirm="acme")
        assert office.keys.is_shredded(ACME)
        assert (office.view.tenant(ACME), office.view.credential(key.id), office.view.count_tenants()) == (
            None,
            None,
            0,
        )
        assert office.view.tenants_after("", 10) == []
        assert await refusal(office.tenants.create(OPERATOR, FIRST)) == "tenant_exists"
        assert await refusal(office.life.shred(OPERATOR, "acme", confirm="acme")) == "tenant_not_found"
        await office.tenant("globex")
        assert office.tenants.get("globex").state is State.ACTIVE


async def test_a_key_that_a_crash_left_is_destroyed_at_the_next_start() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, FIRST)
        await office.life.move(OPERATOR, "acme", Move.DELETE)

        class Away:
            async def shred(self, domain: DomainId) -> None:
                raise OSError("the power went")

        with pytest.raises(OSError, match="power"):
            await LifeCycle(office.view, office.sequencer, Away()).shred(OPERATOR, "acme", confirm="acme")
        assert not office.keys.is_shredded(ACME)
        await office.life.finish()
        assert office.keys.is_shredded(ACME)


def test_a_snapshot_of_before_states_still_says_who_is_suspended() -> None:
    view = TenantsView()
    old = {"id": "acme", "name": "Acme", "tier": "pro", "created_at_ms": 7, "epoch": 3}
    for domain, more in (("acme", {"suspended": True, "suspended_reason": "unpaid"}), ("globex", {"suspended": False})):
        chunk = {"tenants": [{**old, "id": domain, **more}]}
        view.restore(DomainId(domain), [msgspec.msgpack.encode(chunk)])
    acme, globex = view.tenant(ACME), view.tenant(DomainId("globex"))
    assert acme is not None
    assert globex is not None
    assert (acme.state, acme.reason, acme.epoch, globex.state) == (State.SUSPENDED, "unpaid", 3, State.ACTIVE)
