"""Commands: what they write, once, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from central_hub.flags import evaluation, usecases
from central_hub.flags.evaluation import Asker
from central_hub.flags.model import Override, State
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from tests.unit.flags.support import (
    ACME,
    ASKER,
    GLOBEX,
    OPERATOR,
    condition,
    ctx_of,
    flag,
    opened,
    rule,
)

MINE = ctx_of()


async def refusal(command: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        await command
    return caught.value


async def test_a_flag_is_made_once_and_changed_from_the_revision_that_was_read() -> None:
    async with opened() as house:
        made, created = await house.flags.define(OPERATOR, flag(), if_match=None)
        assert (made.revision, created, made.changed_by) == (1, True, "key:k")
        late = await refusal(house.define(default="on"))
        assert (late.code, late.fields["revision"]) == ("precondition_required", 1)
        changed = await house.define(default="on", if_match='"1"')
        assert (changed.revision, changed.default) == (2, "on")
        moved = await refusal(house.define(if_match='"1"'))
        assert (moved.code, moved.fields["current"]) == ("revision_moved", changed)
        assert (await refusal(house.define("fresh", if_match='"1"'))).code == "revision_moved"


async def test_what_is_the_same_already_writes_nothing_and_what_differs_in_type_does() -> None:
    async with opened() as house:
        await house.define(variants={"on": True, "off": False})
        pos = house.runner.pos
        assert (await house.define(if_match="*")).revision == 1
        assert house.runner.pos == pos
        both = {"type": "object", "default": "v"}
        await house.define("o", **both, variants={"v": {"a": 1}})
        assert (await house.define("o", **both, variants={"v": {"a": True}}, if_match="*")).revision == 2
        assert (await house.define("o", **both, variants={"v": {"a": 1.0}}, if_match="*")).revision == 3


async def test_of_many_that_replace_one_revision_one_does() -> None:
    async with opened() as house:
        await house.define()
        wanted = [house.define(description=str(number), if_match='"1"') for number in range(20)]
        done = await asyncio.gather(*wanted, return_exceptions=True)
        assert sum(not isinstance(one, HubError) for one in done) == 1


async def test_there_is_a_limit_on_flags_segments_and_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAGS_MAX", "SEGMENTS_MAX", "OVERRIDES_PER_TENANT_MAX"):
        monkeypatch.setattr(usecases, name, 2)
    async with opened() as house:
        done = await asyncio.gather(*(house.define(f"f{number}") for number in range(5)), return_exceptions=True)
        assert [one.code for one in done if isinstance(one, HubError)] == ["limit_reached"] * 3
        await house.segment("a", keys=("u",))
        await house.segment("b", keys=("u",))
        assert (await refusal(house.segment("c", keys=("u",)))).code == "limit_reached"
        assert (await house.segment("a", keys=("v",), if_match="*")).revision == 2
        monkeypatch.setattr(usecases, "FLAGS_MAX", 5)
        await house.define("f9")
        keys = list(house.view.keys(ACME))
        await house.override("on", key=keys[0])
        await house.override("on", key=keys[1])
        assert (await refusal(house.override("on", key=keys[2]))).code == "limit_reached"
        await house.override("off", key=keys[1])
        await house.override("on", key=keys[2], domain=GLOBEX)


async def test_a_flag_is_turned_off_and_put_away_whatever_its_revision() -> None:
    async with opened() as house:
        await house.define(rules=(rule(),))
        assert house.says() == (True, "TARGETING_MATCH", "rule")
        await house.flags.set_state(OPERATOR, "search", State.DISABLED, "it burns")
        assert house.says() == (False, "DISABLED", "default")
        pos = house.runner.pos
        await house.flags.set_state(OPERATOR, "search", State.DISABLED, "again")
        assert house.runner.pos == pos
        await house.flags.set_state(OPERATOR, "search", State.ARCHIVED, "")
        assert house.sets.evaluate(ASKER, "search", {}) is None
        assert house.sets.evaluate_all(ASKER, {})[0].key == "advanced_ai"
        again = await house.define(if_match='"3"')
        assert (again.state, again.revision) == (State.ENABLED, 4)
        assert (await refusal(house.flags.set_state(OPERATOR, "nope", State.ENABLED, ""))).code == "flag_not_found"


async def test_a_segment_that_is_used_stays() -> None:
    async with opened() as house:
        await house.segment("adults", conditions=(condition("age", "gte", 18),))
        await house.define(rules=(rule(segments=["adults"]),))
        assert house.says(age=20)[0] is True
        used = await refusal(house.flags.remove_segment(OPERATOR, "adults"))
        assert (used.code, used.fields["flags"]) == ("segment_in_use", ["search"])
        await house.segment("adults", conditions=(condition("age", "gte", 21),), if_match='"1"')
        assert house.says(age=20)[0] is False
        await house.define(if_match="*")
        await house.flags.remove_segment(OPERATOR, "adults")
        pos = house.runner.pos
        await house.flags.remove_segment(OPERATOR, "adults")
        assert house.runner.pos == pos
        assert (await refusal(house.define("other", rules=(rule(segments=["adults"]),)))).code == "unknown_segment"
        with pytest.raises(HubError, match="segment_not_found"):
            house.flags.get_segment("adults")


async def test_a_tenant_has_a_variant_of_its_own() -> None:
    async with opened() as house:
        await house.define(rules=(rule("off"),))
        made = await house.override("on", environments=("staging",), reason="trial")
        assert (made.variant, made.changed_by) == ("on", "key:k")
        staging = Asker(ACME, "pro", "staging")
        assert house.says(asker=staging) == (True, "TARGETING_MATCH", "override")
        assert house.says() == (False, "TARGETING_MATCH", "rule")
        assert house.says(asker=Asker(GLOBEX, "pro", "staging"))[0] is False
        pos = house.runner.pos
        await house.override("on", environments=("staging",), reason="trial")
        assert house.runner.pos == pos
        await house.override("on")
        assert house.says()[2] == "override"
        await house.flags.set_state(OPERATOR, "search", State.DISABLED, "")
        assert house.says(asker=staging)[1] == "DISABLED"
        await house.flags.set_state(OPERATOR, "search", State.ENABLED, "")
        await house.flags.remove_override(OPERATOR, ACME, "search")
        await house.flags.remove_override(OPERATOR, ACME, "search")
        assert house.says()[2] == "rule"


async def test_an_override_of_a_variant_that_is_gone_decides_nothing() -> None:
    async with opened() as house:
        await house.define()
        await house.override("on")
        await house.define(variants={"off": False}, if_match="*")
        assert house.says() == (False, "STATIC", "default")


async def test_a_tenant_chooses_only_where_it_may() -> None:
    async with opened() as house:
        await house.define()
        await house.define("theirs", only_tenants=(GLOBEX,), overridable=True)
        await house.define("mine", overridable=True)
        on = Override(key="search", variant="on")
        assert (await refusal(house.flags.override(MINE, ACME, on))).code == "flag_not_overridable"
        hidden = await refusal(house.flags.override(MINE, ACME, Override(key="theirs", variant="on")))
        missing = await refusal(house.flags.override(MINE, ACME, Override(key="nothing", variant="on")))
        assert (hidden.code, hidden.message) == (missing.code, missing.message) == ("flag_not_found", missing.message)
        await house.flags.override(MINE, ACME, Override(key="mine", variant="on"))
        assert house.says("mine")[0] is True
        await house.flags.remove_override(MINE, ACME, "mine")
        await house.override("on")
        assert (await refusal(house.flags.remove_override(MINE, ACME, "search"))).code == "flag_not_overridable"
        await house.flags.remove_override(MINE, ACME, "nothing")


async def test_an_entitlement_is_a_flag_that_no_definition_takes() -> None:
    async with opened() as house:
        assert (await refusal(house.define("advanced_ai"))).code == "flag_is_entitlement"
        granted = house.sets.evaluate(ASKER, "advanced_ai", {})
        denied = house.sets.evaluate(Asker(GLOBEX, "free", "production"), "advanced_ai", {})
        assert granted is not None
        assert denied is not None
        assert (granted.value, granted.variant, granted.source) == (True, "granted", "entitlement")
        assert (denied.value, denied.variant) == (False, "denied")
        assert b'"upgrade_to":"enterprise"' in denied.encoded
        await house.define("later", variants={"v": True}, default="v")
        house.features.features = ("advanced_ai", "later")
        late = house.sets.evaluate(Asker(GLOBEX, "free", "production"), "later", {})
        assert late is not None
        assert late.value is False
        assert [one.key for one in house.sets.evaluate_all(ASKER, {})] == ["advanced_ai", "later"]


async def test_all_flags_come_in_order_with_failures_of_their_own() -> None:
    async with opened() as house:
        await house.define("b", rules=(rule(percentage=50),))
        await house.define("a")
        await house.define("hidden", only_tenants=(GLOBEX,))
        said = house.sets.evaluate_all(ASKER, {})
        assert [(one.key, one.error_code) for one in said] == [
            ("a", ""), ("advanced_ai", ""), ("b", "TARGETING_KEY_MISSING"),
        ]  # fmt: skip
        assert all(one.outcome for one in house.sets.evaluate_all(ASKER, {"targetingKey": "u"}))


async def test_what_a_client_says_of_tenant_tier_and_environment_is_overwritten() -> None:
    async with opened() as house:
        await house.segment("whales", conditions=(condition("tier", "in", "enterprise"),))
        await house.segment("theirs", conditions=(condition("tenant_id", "in", "globex"),))
        await house.segment("real", conditions=(condition("environment", "in", "production"),))
        await house.define(rules=(rule(segments=["whales", "theirs"]),))
        await house.define("real", rules=(rule(segments=["real"]),))
        lies = {"tier": "enterprise", "tenant_id": "globex", "environment": "staging"}
        assert house.says(**lies)[0] is False
        assert house.says("real", **lies)[0] is True
        assert all(
            not one.outcome.value for one in house.sets.evaluate_all(ASKER, lies) if one.outcome and one.key == "search"
        )


async def test_memory_grows_with_definitions_not_with_askers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house:
        await house.define(rules=(rule(tenants=["acme"]), rule("off", environments=["staging"])))
        prepared = {
            id(house.sets.prepared(Asker(one, f"tier{number}", f"env{number}"), "search"))  # pyright: ignore
            for number, one in enumerate([GLOBEX, *(f"t{number}" for number in range(500))])
        }
        assert len(prepared) == 1
        monkeypatch.setattr(evaluation, "KINDS_MAX", 1)
        for environment in ("production", "staging", "production"):
            for tenant in (ACME, GLOBEX):
                expected = tenant == ACME
                assert house.says(asker=Asker(tenant, "pro", environment))[0] is expected


async def test_known_names_are_asked_when_the_flag_is_made() -> None:
    async with opened() as house:
        assert (await refusal(house.define(rules=(rule(tenants=["ghost"]),)))).code == "unknown_tenant"
        assert (await refusal(house.define(rules=(rule(tiers=["platinum"]),)))).code == "unknown_tier"
        assert house.view.keys(PLATFORM) == ()
