"""Routing through the pipeline of a whole hub: shapes, requirements, entitlement, outcomes, and what explains them."""

from __future__ import annotations

from typing import Any

import msgspec

from central_hub.edge.pipeline import Answer
from tests.isolation.world import World, running

AT = "/services/forecast/instances/{}/offerings"
FAST = {
    "id": "lstm", "model": "lstm-7", "task": "time_series_forecast", "data_sizes": ["small", "medium"],
    "quality": [{"metric": "accuracy", "value": 0.94}], "latency_ms": {"p50": 20, "p99": 60},
    "cost": {"per_request": 0.001}, "hardware": "a100", "region": "eu", "concurrency": 2,
}  # fmt: skip
GOOD = {
    "id": "tft", "model": "tft-large", "task": "time_series_forecast", "data_sizes": ["small", "medium", "large"],
    "quality": [{"metric": "accuracy", "value": 0.97, "evidence": "verified"}],
    "latency_ms": {"p50": 90, "p99": 200}, "cost": {"per_request": 0.01}, "hardware": "h100", "region": "us",
    "concurrency": 2,
}  # fmt: skip
TASK = {"task": "time_series_forecast"}


def body(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def offered(world: World, *, key: str = "acme", service: str = "forecast") -> None:
    """Register two instances and declare what they offer."""
    for instance, offering in (("i-1", FAST), ("i-2", GOOD)):
        await world.register(service, key=key, instance_id=instance, host=f"10.0.0.{instance[-1]}")
        at = f"/services/{service}/instances/{instance}/offerings"
        await world.must("PUT", at, key=key, body={"offerings": [offering]})


async def decide(world: World, *, caller: str = "acme", path: str = "/routing/decide", **fields: Any) -> Any:
    return await world.must("POST", path, key=caller, body={"require": TASK, **fields})


async def test_a_decision_has_the_shape_that_was_promised() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        answer = await decide(world)
        assert (answer["instance_id"], answer["endpoint"]) == ("i-1", "http://10.0.0.1:80")
        assert (answer["service_name"], answer["offering"], answer["model"]) == ("forecast", "lstm", "lstm-7")
        assert (answer["candidates"], answer["reserved"], answer["basis"]) == (2, False, "declared")
        assert [one["instance_id"] for one in answer["ranked"]] == ["i-1", "i-2"]
        assert answer["ranked"][0]["score"] == 1.0 > answer["ranked"][1]["score"]
        predicted = answer["ranked"][0]["predicted_ms"]
        assert predicted["p50"] <= predicted["p90"] <= predicted["p99"]
        assert answer["expires_at"] == "2023-11-14T22:13:21.000Z"
        assert answer["seq"] > 0


async def test_each_strategy_takes_what_counts_for_it() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        for strategy, wanted in (
            ("performance_optimized", "i-1"), ("cost_optimized", "i-1"), ("accuracy_optimized", "i-2"),
            ("balanced", "i-1"),
        ):  # fmt: skip
            assert (await decide(world, strategy=strategy))["instance_id"] == wanted, strategy
        heavy = {"latency": 0.1, "cost": 0.1, "quality": 5.0}
        assert (await decide(world, strategy="balanced", prefer=heavy))["instance_id"] == "i-2"
        for strategy in ("least_loaded", "sticky"):
            chosen = {(await decide(world, strategy=strategy, key="u1"))["instance_id"] for _ in range(5)}
            assert len(chosen) == 1


async def test_requirements_are_kept_to_and_the_strings_of_the_first_users_are_read() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        for require, wanted in (
            ({"quality": {"accuracy": "> 95%"}}, "i-2"),
            ({"quality": {"accuracy": {"min": 0.9, "evidence": "verified"}}}, "i-2"),
            ({"latency_ms": "< 100ms"}, "i-1"),
            ({"latency_ms": {"p": 0.5, "max": 50}}, "i-1"),
            ({"data_size": "large"}, "i-2"),
            ({"region": ["us", "asia"]}, "i-2"),
            ({"hardware": "a100"}, "i-1"),
            ({"cost_max": "< 0.005"}, "i-1"),
        ):
            answer = await decide(world, require={**TASK, **require})
            assert (answer["instance_id"], answer["candidates"]) == (wanted, 1), require
        assert (await decide(world, avoid=["i-1"]))["instance_id"] == "i-2"


async def test_where_nobody_is_left_the_answer_says_what_would_have_to_be_asked_less() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        require = {**TASK, "quality": {"accuracy": "> 95%"}, "region": "eu"}
        refused = await world.ask("POST", "/routing/decide", key="acme", body={"require": require})
        assert (refused.status, body(refused)["code"]) == (409, "no_candidate")
        said = body(refused)
        assert said["considered"] == 2
        assert {(one["changes"][0]["field"], one["candidates"]) for one in said["relaxations"]} == {
            ("quality.accuracy", 1), ("region", 1),
        }  # fmt: skip
        to = {one["changes"][0]["field"]: one["changes"][0]["to"] for one in said["relaxations"]}
        assert to == {"quality.accuracy": 0.94, "region": ["us"]}
        impossible = await world.ask("POST", "/routing/decide", key="acme", body={"require": {"task": "cooking"}})
        assert body(impossible)["relaxations"][0]["changes"] == [
            {"field": "task", "asked": ["cooking"], "to": ["time_series_forecast"]}
        ]
        slow = {**TASK, "latency_ms": "< 1ms"}
        late = body(await world.ask("POST", "/routing/decide", key="acme", body={"require": slow}))
        change = late["relaxations"][0]["changes"][0]
        assert (change["field"], change["asked"]) == ("latency_ms", 1.0)
        assert change["to"] > 1.0


async def test_what_cannot_be_read_is_refused() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        for require in (
            {"latency_ms": "> 100ms"}, {"latency_ms": "fast"}, {"quality": {"accuracy": {}}}, {"latency_ms": -1},
            {"quality": {"accuracy": {"min": 2, "max": 1}}}, {"cost_max": "> 3"}, {"latency_ms": {"max": 5, "p": 0.7}},
        ):  # fmt: skip
            refused = await world.ask("POST", "/routing/decide", key="acme", body={"require": require})
            assert (refused.status, body(refused)["code"]) == (422, "invalid_constraint"), require
        unknown = await world.ask("POST", "/routing/decide", key="acme", body={"require": {"taks": "x"}})
        assert b"Did you mean" in unknown.body or b"task" in unknown.body
        missing = await world.ask("POST", "/routing/decide", key="acme", body={"service": "nowhere"})
        assert body(missing)["code"] == "service_not_found"


async def test_reservations_are_expected_and_outcomes_count_once() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        require = {**TASK, "hardware": "a100"}
        first = await decide(world, path="/routing/reserve", require=require, idempotency_key="k1")
        again = await decide(world, path="/routing/reserve", require=require, idempotency_key="k1")
        assert first == again
        assert first["reserved"]
        for _ in range(3):
            last = await decide(world, path="/routing/reserve", require=require)
        assert last["ranked"][0]["predicted_ms"]["p50"] > first["ranked"][0]["predicted_ms"]["p50"]
        outcome = {
            "decision_id": first["decision_id"],
            "ok": True,
            "latency_ms": 25,
            "tokens": {"input": 3, "output": 1},
        }
        told = await world.ask("POST", "/routing/outcomes", key="acme", body={"outcomes": [outcome, outcome]})
        assert (told.status, body(told)) == (202, {"recorded": 1, "unknown": 1})
        by_instance = {"instance_id": "i-1", "ok": True, "latency_ms": 3}
        seen = await world.must("POST", "/routing/outcomes", key="acme", body={"outcomes": [by_instance]})
        assert seen == {"recorded": 1, "unknown": 0}
        metrics = await world.ask("GET", "/metrics", key="root")
        assert b"central_hub_routing_reservations_total 4" in metrics.body


async def test_an_instance_that_fails_or_is_silent_is_left_for_a_while() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        first = await decide(world, path="/routing/reserve")
        second = await decide(world, path="/routing/reserve", retry_of=first["decision_id"])
        assert (first["instance_id"], second["instance_id"]) == ("i-1", "i-2")
        world.clock.advance(60_000)
        assert (await decide(world))["instance_id"] == "i-1"
        await world.must("POST", "/services/forecast/instances/i-1/drain", key="acme")
        assert (await decide(world))["instance_id"] == "i-2"
        await world.must("POST", "/services/forecast/instances/i-1/undrain", key="acme")
        assert (await decide(world))["instance_id"] == "i-1"
        await world.must("PUT", "/services/forecast/instances/i-1/heartbeat", key="acme", body={"in_flight": 40})
        assert (await decide(world))["instance_id"] == "i-2"


async def test_a_decision_can_be_explained_and_is_made_again_for_the_platform() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.tenant("globex", "pro")
        await offered(world)
        made = await decide(world, require={**TASK, "region": "eu"}, size_hint={"input": 10, "output": 2})
        at = f"/routing/decisions/{made['decision_id']}"
        why = await world.must("GET", at, key="acme")
        assert (why["chosen"], why["considered"], why["excluded"]) == ("i-1", 2, {"region": 1})
        assert why["left_out"] == [
            {"service_name": "forecast", "instance_id": "i-2", "offering": "tft", "reason": "region"}
        ]
        assert why["candidates"][0]["parts"]["price"] == 0.001
        assert "replay" not in why or why["replay"] is None
        platform = await world.must("GET", at, key="root", headers={"x-tenant-id": "acme"})
        assert platform["replay"]["matches"]
        assert platform["replay"]["sizes"] == [[10.0, 2.0]]
        foreign = await world.ask("GET", at, key="globex")
        missing = await world.ask("GET", "/routing/decisions/never-was", key="globex")
        assert (foreign.status, foreign.body) == (404, missing.body)


async def test_offerings_are_declared_listed_and_withdrawn() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await world.tenant("globex", "pro")
        await offered(world)
        shown = await world.must("GET", AT.format("i-1"), key="acme")
        assert shown["offerings"][0]["model"] == "lstm-7"
        page = await world.must("GET", "/routing/offerings?limit=1", key="acme")
        assert [one["instance_id"] for one in page["offerings"]] == ["i-1"]
        rest = await world.must("GET", f"/routing/offerings?cursor={page['next_cursor']}", key="acme")
        assert [one["instance_id"] for one in rest["offerings"]] == ["i-2"]
        assert (await world.must("GET", "/routing/offerings", key="globex"))["offerings"] == []
        seq = shown["seq"]
        again = await world.must("PUT", AT.format("i-1"), key="acme", body={"offerings": [FAST]})
        assert again["seq"] == seq
        for _ in range(2):
            assert (await world.ask("DELETE", AT.format("i-1"), key="acme")).status == 204
        assert (await decide(world))["instance_id"] == "i-2"
        await world.must("DELETE", "/services/forecast/instances/i-2", key="acme")
        gone = await world.ask("POST", "/routing/decide", key="acme", body={"require": TASK})
        assert body(gone)["considered"] == 0


async def test_an_offering_that_makes_no_sense_is_refused() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        for wrong, code in (
            ({**FAST, "id": ""}, "invalid_offering"), ({**FAST, "concurrency": 0}, "invalid_offering"),
            ({**FAST, "entitlement": {"tenants": ["globex"]}}, "invalid_offering"),
            ({**FAST, "entitlement": {"tiers": ["platinum"]}}, "unknown_tier"),
            ({**FAST, "entitlement": {"features": ["teleport"]}}, "unknown_feature"),
            ({**FAST, "cost": {"per_request": -1}}, "invalid_offering"), ({**FAST, "model": 3}, "invalid_body"),
        ):  # fmt: skip
            refused = await world.ask("PUT", AT.format("i-1"), key="acme", body={"offerings": [wrong]})
            assert (refused.status, body(refused)["code"]) == (422, code), wrong
        twice = await world.ask("PUT", AT.format("i-1"), key="acme", body={"offerings": [FAST, FAST]})
        assert body(twice)["code"] == "invalid_offering"
        missing = await world.ask("PUT", AT.format("i-9"), key="acme", body={"offerings": [FAST]})
        assert body(missing)["code"] == "instance_not_found"


async def test_who_is_not_entitled_is_not_decided_for() -> None:
    async with running() as world:
        for name, tier in (("acme", "pro"), ("globex", "enterprise"), ("small", "free")):
            await world.tenant(name, tier)
        await world.register("models", key="root")
        at = "/services/models/instances/i-1/offerings"
        for entitlement, allowed in (
            ({}, {"acme", "globex", "small"}), ({"tenants": ["acme"]}, {"acme"}),
            ({"denied": ["acme"]}, {"globex", "small"}),
            ({"tiers": ["pro"]}, {"acme", "globex"}), ({"tiers": ["enterprise"]}, {"globex"}),
            ({"features": ["custom_models"]}, {"globex"}), ({"features": ["advanced_ai"]}, {"acme", "globex"}),
        ):  # fmt: skip
            await world.must("PUT", at, key="root", body={"offerings": [{**FAST, "entitlement": entitlement}]})
            for name in ("acme", "globex", "small"):
                answer = await world.ask("POST", "/routing/decide", key=name, body={"require": TASK})
                listed = await world.must("GET", "/routing/offerings", key=name)
                seen = await world.must("GET", at, key=name)
                assert (answer.status == 200) == (name in allowed), (entitlement, name)
                assert bool(listed["offerings"]) == bool(seen["offerings"]) == (name in allowed)
                assert b"entitlement" not in msgspec.json.encode((listed, seen))
                if name not in allowed:
                    assert body(answer)["considered"] == 0
        await world.must("POST", "/tenants/small/grants", key="root", body={"feature": "advanced_ai", "value": True})
        assert (await decide(world, caller="small"))["service_name"] == "models"


async def test_a_private_service_shadows_the_shared_one_and_is_nobody_elses() -> None:
    async with running() as world:
        for name in ("acme", "globex"):
            await world.tenant(name, "pro")
        await offered(world, key="root", service="models")
        await offered(world)
        both = await decide(world, limit=10)
        assert {one["service_name"] for one in both["ranked"]} == {"models", "forecast"}
        assert {one["service_name"] for one in (await decide(world, caller="globex", limit=10))["ranked"]} == {"models"}
        await world.register("models", key="acme", instance_id="own", host="10.0.0.7")
        mine = await decide(world, limit=10)
        assert {one["service_name"] for one in mine["ranked"]} == {"forecast"}
        await world.register("gold", key="root", subscription_requirements=["enterprise"])
        await world.must("PUT", "/services/gold/instances/i-1/offerings", key="root", body={"offerings": [FAST]})
        refused = await world.ask("POST", "/routing/decide", key="acme", body={"service": "gold"})
        assert body(refused)["code"] == "tier_too_low"


async def test_one_tenants_word_turns_nobody_else_away_from_a_shared_instance() -> None:
    async with running() as world:
        for name in ("acme", "globex", "third"):
            await world.tenant(name, "pro")
        await offered(world, key="root", service="models")

        async def blame(name: str) -> None:
            reserved = await decide(world, caller=name, path="/routing/reserve", require={**TASK, "hardware": "a100"})
            failed = {"decision_id": reserved["decision_id"], "ok": False, "latency_ms": 5}
            await world.must("POST", "/routing/outcomes", key=name, body={"outcomes": [failed]})

        for _ in range(5):
            await blame("acme")
        assert (await decide(world, caller="acme"))["instance_id"] == "i-2"
        assert (await decide(world, caller="third"))["instance_id"] == "i-1"
        await blame("globex")
        assert (await decide(world, caller="third"))["instance_id"] == "i-2"


async def test_a_lease_names_the_best_with_their_shares() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        lease = await decide(world, path="/routing/lease", count=5, ttl_s=10)
        assert [one["instance_id"] for one in lease["endpoints"]] == ["i-1", "i-2"]
        fast, good = (one["weight"] for one in lease["endpoints"])
        assert abs(fast + good - 1.0) < 1e-5
        assert abs(fast / good - 90 / 20) < 0.01
        assert (lease["ttl_s"], lease["expires_at"]) == (10, "2023-11-14T22:13:30.000Z")
        one = await decide(world, path="/routing/lease", count=1, strategy="accuracy_optimized")
        assert [(each["instance_id"], each["weight"]) for each in one["endpoints"]] == [("i-2", 1.0)]
        for wrong in ({"count": 0}, {"count": 33}, {"ttl_s": 0.5}, {"ttl_s": 301}):
            refused = await world.ask("POST", "/routing/lease", key="acme", body=wrong)
            assert body(refused)["code"] == "invalid_body"


async def test_discovery_shows_how_sure_routing_is_of_services_that_offer_models() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)

        async def confidence(service: str = "forecast") -> dict[str, float]:
            return (await world.must("GET", f"/services/discover/{service}", key="acme"))["confidence"]

        assert await confidence() == {"http://10.0.0.1:80": 0.5, "http://10.0.0.2:80": 0.5}
        for _ in range(10):
            reserved = await decide(world, path="/routing/reserve", require={**TASK, "hardware": "a100"})
            world.clock.advance(20)
            told = {"decision_id": reserved["decision_id"], "ok": True, "latency_ms": 20}
            await world.must("POST", "/routing/outcomes", key="acme", body={"outcomes": [told]})
        world.clock.advance(200)
        assert await confidence() == {"http://10.0.0.1:80": 0.7, "http://10.0.0.2:80": 0.5}
        failed = {"instance_id": "i-2", "ok": False, "latency_ms": 1}
        await world.must("POST", "/routing/outcomes", key="acme", body={"outcomes": [failed]})
        world.clock.advance(200)
        assert (await confidence())["http://10.0.0.2:80"] == 0.1
        await world.register("plain", key="acme", instance_id="p-1", host="10.0.0.5")
        assert (await confidence("plain"))["http://10.0.0.5:80"] > 0.0


async def test_a_simulation_says_where_requests_would_go_and_holds_nothing() -> None:
    async with running() as world:
        await world.tenant("acme", "pro")
        await offered(world)
        before = await decide(world)
        found = await decide(
            world, path="/routing/simulate", count=40, every_ms=1,
            strategies=["performance_optimized", "accuracy_optimized"],
        )  # fmt: skip
        assert (found["count"], found["candidates"]) == (40, 2)
        fast, good = found["strategies"]
        assert {one["instance_id"] for one in fast["instances"]} == {"i-1", "i-2"}
        assert abs(sum(one["share"] for one in fast["instances"]) - 1.0) < 1e-3
        assert good["instances"][0]["instance_id"] == "i-2"
        assert fast["predicted_ms"]["p99"] < good["predicted_ms"]["p99"]
        assert fast["nobody"] == 0
        after = await decide(world)
        assert after["ranked"] == before["ranked"]
        late = await decide(
            world, path="/routing/simulate", require={**TASK, "latency_ms": "< 50ms"}, count=40, every_ms=0
        )
        assert late["strategies"][0]["nobody"] > 0
        nobody = await world.ask("POST", "/routing/simulate", key="acme", body={"require": {"task": "cooking"}})
        assert body(nobody)["code"] == "no_candidate"
