"""Commands about plans: what they write, once, what they refuse, and that it outlives the process."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.plans import usecases
from central_hub.plans.document import default_catalogue
from central_hub.plans.model import Addon, Catalogue, Value
from central_hub.plans.usecases import NewGrant
from tests.unit.plans.support import ACME, Desk, opened
from tests.unit.tenants.support import OPERATOR

DEFAULT = default_catalogue()


async def refusal(command: Any) -> str:
    with pytest.raises(HubError) as caught:
        await command
    return caught.value.code


def written(desk: Desk, domain: DomainId = ACME) -> list[str]:
    return [record.type for record in desk.log.records if record.domain == domain]


def with_plan(name: str, *, calls: int) -> Catalogue:
    """Return the default catalogue with one limit of one plan changed."""
    plan = DEFAULT.plans[name]
    changed = msgspec.structs.replace(plan, entitlements={**plan.entitlements, "api_calls_per_hour": calls})
    return msgspec.structs.replace(
        DEFAULT, plans={**DEFAULT.plans, name: changed}, addons={"boost": Addon(entitlements={"advanced_ai": True})}
    )


def without(name: str) -> Catalogue:
    return msgspec.structs.replace(DEFAULT, plans={key: one for key, one in DEFAULT.plans.items() if key != name})


async def test_a_dry_run_says_what_would_change_and_writes_nothing() -> None:
    async with opened() as desk:
        looked = await desk.plans.apply(OPERATOR, with_plan("free", calls=2_000), dry_run=True)
        assert [one.path for one in looked.changes] == [
            "addons.boost.advanced_ai", "addons.boost.priority", "plans.free.api_calls_per_hour",
        ]  # fmt: skip
        assert written(desk, PLATFORM) == []
        assert desk.book.ask(ACME, "free", "api_calls_per_hour").limit == 1_000
        done = await desk.plans.apply(OPERATOR, with_plan("free", calls=2_000), dry_run=False, if_revision=0)
        assert (done.changes, done.revision) == (looked.changes, 1)
        assert desk.book.ask(ACME, "free", "api_calls_per_hour").limit == 2_000
        again = await desk.plans.apply(OPERATOR, with_plan("free", calls=2_000), dry_run=False)
        assert (again.changes, again.revision) == ([], 1)
        assert written(desk, PLATFORM) == ["CatalogueApplied"]


async def test_what_was_looked_at_is_what_is_applied() -> None:
    async with opened() as desk:
        await desk.plans.apply(OPERATOR, with_plan("free", calls=2), dry_run=False)
        for dry_run in (True, False):
            apply = desk.plans.apply(OPERATOR, with_plan("free", calls=3), dry_run=dry_run, if_revision=0)
            assert await refusal(apply) == "plans_changed"


async def test_a_plan_with_tenants_on_it_stays() -> None:
    async with opened() as desk:
        for dry_run in (True, False):
            assert await refusal(desk.plans.apply(OPERATOR, without("free"), dry_run=dry_run)) == "plan_in_use"
        await desk.tenants.change(OPERATOR, "acme", name=None, tier="pro")
        await desk.plans.apply(OPERATOR, without("free"), dry_run=False)
        assert desk.book.names() == ("pro", "enterprise")
        assert desk.book.ranks_revision == 1
        assert await refusal(desk.tenant("late", "free")) == "unknown_tier"


async def test_an_unsound_catalogue_is_refused() -> None:
    async with opened() as desk:
        unsound = msgspec.structs.replace(DEFAULT, plans={})
        for dry_run in (True, False):
            assert await refusal(desk.plans.apply(OPERATOR, unsound, dry_run=dry_run)) == "invalid_plans"


async def test_a_grant_lives_until_it_ends_or_is_taken_back() -> None:
    async with opened() as desk:
        ends = desk.clock.now_ms() + 1_000
        wanted = NewGrant(feature="advanced_ai", value=True, expires_at_ms=ends, reason="trial of AI")
        grant = await desk.plans.grant(OPERATOR, "acme", wanted)
        assert desk.book.ask(ACME, "free", "advanced_ai").source == f"grant:{grant.id}"
        desk.clock.advance(1_000)
        assert desk.book.ask(ACME, "free", "advanced_ai").source == "plan:free"
        stays = await desk.plans.grant(OPERATOR, "acme", NewGrant(feature="advanced_ai", value=True))
        assert desk.book.ask(ACME, "free", "advanced_ai").allowed
        for _ in range(2):
            await desk.plans.revoke(OPERATOR, "acme", stays.id)
        assert not desk.book.ask(ACME, "free", "advanced_ai").allowed
        assert written(desk) == ["TenantCreated", "EntitlementGranted", "EntitlementGranted", "GrantRevoked"]


async def test_a_grant_with_a_key_is_made_once() -> None:
    async with opened() as desk:
        wanted = NewGrant(feature="advanced_ai", value=True)
        made = await asyncio.gather(*[desk.plans.grant(OPERATOR, "acme", wanted, key="k") for _ in range(5)])
        assert len({one.id for one in made}) == 1
        assert len(desk.view.above(ACME).grants) == 1
        await desk.plans.revoke(OPERATOR, "acme", made[0].id)
        assert await refusal(desk.plans.grant(OPERATOR, "acme", wanted, key="k")) == "grant_not_found"


@pytest.mark.parametrize(
    ("feature", "value", "code"),
    [("teleport", True, "unknown_feature"), ("advanced_ai", 3, "invalid_entitlement")],
)
async def test_what_cannot_be_said_is_refused(feature: str, value: Value, code: str) -> None:
    async with opened() as desk:
        assert await refusal(desk.plans.grant(OPERATOR, "acme", NewGrant(feature=feature, value=value))) == code
        assert await refusal(desk.plans.override(OPERATOR, "acme", feature, value)) == code
        assert written(desk) == ["TenantCreated"]


async def test_a_grant_that_ends_before_it_begins_is_refused() -> None:
    async with opened() as desk:
        late = NewGrant(feature="advanced_ai", value=True, expires_at_ms=desk.clock.now_ms())
        assert await refusal(desk.plans.grant(OPERATOR, "acme", late)) == "invalid_expiry"


async def test_nothing_is_given_to_a_tenant_that_is_not_there() -> None:
    async with opened() as desk:
        for command in (
            desk.plans.grant(OPERATOR, "nobody", NewGrant(feature="advanced_ai", value=True)),
            desk.plans.revoke(OPERATOR, "nobody", "g"),
            desk.plans.override(OPERATOR, "nobody", "advanced_ai", True),
            desk.plans.remove_override(OPERATOR, "nobody", "advanced_ai"),
            desk.plans.attach(OPERATOR, "nobody", "boost"),
            desk.plans.detach(OPERATOR, "nobody", "boost"),
        ):
            assert await refusal(command) == "tenant_not_found"


async def test_an_override_is_set_changed_and_removed_once_each() -> None:
    async with opened() as desk:
        for value in (500, 500, None, None):
            await desk.plans.override(OPERATOR, "acme", "max_data_storage_mb", value)
        assert desk.book.ask(ACME, "free", "max_data_storage_mb").limit is None
        assert "max_data_storage_mb" not in desk.book.limits_of(ACME, "free")
        await desk.plans.override(OPERATOR, "acme", "max_data_storage_mb", None, reason="agreed")
        for _ in range(2):
            await desk.plans.remove_override(OPERATOR, "acme", "max_data_storage_mb")
        assert written(desk)[1:] == ["OverrideSet", "OverrideSet", "OverrideSet", "OverrideRemoved"]
        assert desk.book.limits_of(ACME, "free")["max_data_storage_mb"] == 100
        assert desk.book.limits_of(ACME, "platinum") == {}


async def test_an_addon_is_attached_once_and_counts_while_it_is_in_the_catalogue() -> None:
    async with opened() as desk:
        assert await refusal(desk.plans.attach(OPERATOR, "acme", "boost")) == "unknown_addon"
        await desk.plans.apply(OPERATOR, with_plan("free", calls=1), dry_run=False)
        for _ in range(2):
            await desk.plans.attach(OPERATOR, "acme", "boost")
        assert desk.book.ask(ACME, "free", "advanced_ai").source == "addon:boost"
        await desk.plans.apply(OPERATOR, DEFAULT, dry_run=False)
        assert desk.book.ask(ACME, "free", "advanced_ai").source == "plan:free"
        for _ in range(2):
            await desk.plans.detach(OPERATOR, "acme", "boost")
        assert written(desk)[1:] == ["AddonAttached", "AddonDetached"]


async def test_there_is_a_limit_on_grants_and_addons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecases, "GRANTS_PER_TENANT_MAX", 2)
    monkeypatch.setattr(usecases, "ADDONS_PER_TENANT_MAX", 0)
    async with opened() as desk:
        await desk.plans.apply(OPERATOR, with_plan("free", calls=1), dry_run=False)
        granting = [desk.plans.grant(OPERATOR, "acme", NewGrant(feature="advanced_ai", value=True)) for _ in range(5)]
        done = await asyncio.gather(*granting, return_exceptions=True)
        assert sum(not isinstance(one, HubError) for one in done) == 2
        assert await refusal(desk.plans.attach(OPERATOR, "acme", "boost")) == "limit_reached"


async def test_everything_is_there_again_after_a_start() -> None:
    async with opened() as desk:
        await desk.plans.apply(OPERATOR, with_plan("free", calls=7), dry_run=False)
        await desk.plans.override(OPERATOR, "acme", "advanced_ai", True)
        again = Desk(desk.log)
        again.runner._sealer = desk.keys  # pyright: ignore[reportPrivateUsage]  # the same key ring, as after a restart
        await again.runner.catch_up()
        assert again.book.ask(ACME, "free", "api_calls_per_hour").limit == 7
        assert again.book.ask(ACME, "free", "advanced_ai").source == "override"
