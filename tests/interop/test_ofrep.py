"""OFREP in process: shapes, refusals, entity tags, streams, and whom the credential speaks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from central_hub.edge.pipeline import Answer
from central_hub.flags.stream_tokens import HOUR_MS
from central_hub.settings import Settings
from tests.isolation.world import World, running
from tests.unit.registry.test_watch_model import MemorySink

BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
ALL = "/ofrep/v1/evaluate/flags"
HALF = BOOLEAN | {"rules": [{"variant": "on", "percentage": 50}]}


async def furnish(world: World) -> None:
    """Two tenants, three flags, and a key of acme that speaks for staging."""
    await world.tenant("acme", "pro")
    await world.tenant("globex", "enterprise")
    for key, flag in (("plain", BOOLEAN), ("half", HALF), ("theirs", BOOLEAN | {"only_tenants": ["globex"]})):
        await world.must("PUT", f"/flags/{key}", key="root", body=flag)
    await key_of(world, "staging", environment="staging")


async def key_of(world: World, name: str, **wanted: Any) -> None:
    made = await world.must("POST", "/tenants/acme/keys", key="root", body={"name": name, **wanted})
    world.keys[name], world.key_ids[name] = made["api_key"], made["key_id"]


def header(answer: Answer, name: str) -> str:
    return dict(answer.headers)[name.encode()].decode()


def decoded(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def all_flags(world: World, key: str = "acme", target: str = ALL, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.ask("POST", target, key=key, body={"context": {"targetingKey": "u"}}, headers=given)


async def events_target(world: World, key: str = "acme") -> str:
    (stream,) = decoded(await all_flags(world, key))["eventStreams"]
    assert (stream["type"], stream["inactivityDelaySec"]) == ("sse", 120)
    return stream["endpoint"]["requestUri"]


@pytest.mark.parametrize(
    ("target", "body", "status", "error"),
    [
        (ALL + "/nothing", {}, 404, "FLAG_NOT_FOUND"),
        (ALL + "/theirs", {}, 404, "FLAG_NOT_FOUND"),
        (ALL + "/half", {}, 400, "TARGETING_KEY_MISSING"),
        (ALL + "/half", {"context": {"targetingKey": ""}}, 400, "TARGETING_KEY_MISSING"),
        (ALL + "/half", {"context": {"targetingKey": 7}}, 400, "INVALID_CONTEXT"),
        (ALL + "/half", {"context": {"targetingKey": "x" * 257}}, 400, "INVALID_CONTEXT"),
        (ALL + "/plain", {"context": "me"}, 400, "PARSE_ERROR"),
        (ALL + "/plain", {"context": {str(number): 1 for number in range(300)}}, 400, "PARSE_ERROR"),
        (ALL + "/plain", {"context": {"a": "x" * 70_000}}, 400, "GENERAL"),
        (ALL + "/plain?environment=Bad!", {}, 400, "GENERAL"),
        (ALL + "/plain?unknown=1", {}, 400, "GENERAL"),
        (ALL, {"context": {"targetingKey": 7}}, 400, "INVALID_CONTEXT"),
        (ALL, [], 400, "PARSE_ERROR"),
    ],
)
async def test_a_refusal_reads_as_the_protocol_has_it_and_as_a_problem(
    target: str, body: Any, status: int, error: str
) -> None:
    async with running() as world:
        await furnish(world)
        answer = await world.ask("POST", target, key="acme", body=body)
        said = decoded(answer)
        assert (answer.status, said["errorCode"]) == (status, error)
        assert said["errorDetails"].startswith(said["detail"])
        assert said["type"] == f"/problems/{said['code']}"
        assert said.get("key") == (target.partition("?")[0].split("/")[5] if target.count("/") == 5 else None)


@pytest.mark.parametrize(
    ("key", "target", "status", "code"),
    [
        ("", ALL + "/plain", 401, "credential_required"),
        ("acme:blind", ALL + "/plain", 403, "scope_missing"),
        ("root", ALL + "/plain", 400, "tenant_required"),
        ("staging", ALL + "/plain?environment=production", 403, "environment_mismatch"),
        ("staging", ALL + "?environment=production", 403, "environment_mismatch"),
    ],
)
async def test_who_may_ask(key: str, target: str, status: int, code: str) -> None:
    async with running() as world:
        await furnish(world)
        answer = await world.ask("POST", target, key=key, body={})
        assert (answer.status, decoded(answer)["code"], decoded(answer)["errorCode"]) == (status, code, "GENERAL")


async def test_whoever_asks_too_much_is_told_how_many_seconds_to_wait() -> None:
    async with running(settings=Settings(reads_per_tenant_s=1)) as world:
        await world.tenant("acme", "pro")
        world.clock.advance(10_000)
        answers = [await all_flags(world) for _ in range(6)]
        assert answers[0].status == 200
        assert answers[-1].status == 429
        assert header(answers[-1], "retry-after") == "1"


async def test_absent_bodies_and_contexts_are_empty_ones() -> None:
    async with running() as world:
        await furnish(world)
        for body in (None, {}, {"context": None}, {"context": {}}, {"context": {}, "future": 1}):
            answer = await world.ask("POST", ALL + "/plain", key="acme", body=body)
            assert decoded(answer) == {
                "key": "plain", "value": False, "reason": "STATIC", "variant": "off",
                "metadata": {"source": "default"},
            }  # fmt: skip


async def test_the_environment_is_the_credentials_or_the_one_that_is_named() -> None:
    async with running() as world:
        await furnish(world)
        rules = [{"variant": "on", "environments": ["staging"]}]
        await world.must("PUT", "/flags/staged", key="root", body=BOOLEAN | {"rules": rules})
        for key, query, value in (
            ("acme", "", False), ("acme", "?environment=staging", True), ("acme", "?environment=production", False),
            ("staging", "", True), ("staging", "?environment=staging", True),
        ):  # fmt: skip
            said = decoded(await world.ask("POST", f"{ALL}/staged{query}", key=key, body={}))
            assert said["value"] is value, (key, query)
        assert decoded(await all_flags(world, "staging"))["metadata"] == {"tenant": "acme", "environment": "staging"}


async def test_an_unchanged_answer_is_not_sent_again() -> None:
    async with running() as world:
        await furnish(world)
        first = await all_flags(world)
        tag = header(first, "etag")
        assert tag.startswith('"')
        again = f"{ALL}?flagConfigEtag=abc&flagConfigLastModified=1771622898"
        for given in (tag, f'"other", {tag}', "*"):
            unchanged = await all_flags(world, target=again, if_none_match=given)
            assert (unchanged.status, unchanged.body, header(unchanged, "etag")) == (304, b"", tag)
        for given in ('"other"', tag.strip('"'), f"W/{tag}"):
            assert (await all_flags(world, if_none_match=given)).body == first.body
        # What is edited for others, or says the same in other words, changes nothing here.
        rules = [{"variant": "on", "tenants": ["globex"]}, {"variant": "on", "environments": ["staging"]}]
        await world.must("PUT", "/flags/plain", key="root", body=BOOLEAN | {"rules": rules}, headers={"if-match": "*"})
        assert (await all_flags(world, if_none_match=tag)).status == 304
        await world.must("PUT", "/tenants/acme/flags/plain", key="root", body={"variant": "on"})
        changed = await all_flags(world, if_none_match=tag)
        assert changed.status == 200
        assert header(changed, "etag") != tag


async def test_everything_a_tenant_sees_is_there_with_failures_of_its_own() -> None:
    async with running() as world:
        await furnish(world)
        said = decoded(await world.ask("POST", ALL, key="acme", body={}))
        assert [one["key"] for one in said["flags"]] == [
            "advanced_ai", "basic_analytics", "custom_models", "half", "plain",
        ]  # fmt: skip
        assert [one.get("errorCode") for one in said["flags"]] == [None, None, None, "TARGETING_KEY_MISSING", None]
        assert said["flags"][2]["metadata"]["upgrade_to"] == "enterprise"
        theirs = decoded(await all_flags(world, "globex"))
        assert {"theirs", "half"} <= {one["key"] for one in theirs["flags"]}


async def test_an_entitlement_follows_the_plan_at_once() -> None:
    async with running() as world:
        await furnish(world)
        for tier, value in (("enterprise", True), ("free", False)):
            await world.must("PATCH", "/tenants/acme", key="root", body={"tier": tier})
            assert decoded(await world.ask("POST", ALL + "/custom_models", key="acme", body={}))["value"] is value


async def test_a_stream_says_when_to_ask_again() -> None:
    async with running() as world:
        await furnish(world)
        target = await events_target(world)
        sink = MemorySink()
        answer = await world.ask("GET", target)
        assert (answer.status, header(answer, "content-type")) == (200, "text/event-stream")
        assert answer.stream is not None
        leave = answer.stream(sink)
        assert len(sink.frames) == 1
        position = sink.frames[0].split(b"id: ")[1].split(b"\n")[0].decode()
        resumed = MemorySink()
        again = await world.ask("GET", target, headers={"last-event-id": position})
        assert again.stream is not None
        again.stream(resumed)()
        assert resumed.frames == []
        await world.must("PUT", "/flags/plain", key="root", body=BOOLEAN | {"default": "on"}, headers={"if-match": "*"})
        for _ in range(20):
            await world.must("GET", "/livez")
        assert len(sink.frames) == 2
        leave()


async def test_a_stream_opens_as_long_as_the_credential_that_got_it_stands() -> None:
    async with running() as world:
        await furnish(world)
        target, theirs = await events_target(world), await events_target(world, "globex")
        for key, wanted, status in (
            ("", target, 200), ("acme", target, 200), ("root", target, 200), ("globex", target, 404),
            ("acme", theirs, 404), ("", target + "x", 404), ("", "/ofrep/v1/events?token=abc", 404),
            ("", "/ofrep/v1/events", 400),
        ):  # fmt: skip
            assert (await world.ask("GET", wanted, key=key)).status == status, (key, wanted)
        foreign = await world.ask("GET", target, key="globex")
        missing = await world.ask("GET", "/ofrep/v1/events?token=abc", key="globex")
        assert foreign.body == missing.body
        await world.must("POST", "/tenants/acme/suspend", key="root")
        assert (await world.ask("GET", target)).status == 403
        await world.must("POST", "/tenants/acme/resume", key="root")
        assert (await world.ask("GET", target)).status == 200
        await world.must("DELETE", f"/tenants/acme/keys/{world.key_ids['acme']}", key="root")
        assert (await world.ask("GET", target)).status == 401
        world.clock.advance(2 * HOUR_MS)
        assert (await world.ask("GET", theirs)).status == 404


async def test_who_cannot_be_asked_after_again_gets_no_stream() -> None:
    async with running() as world:
        await furnish(world)
        said = decoded(await all_flags(world, "root", x_tenant_id="acme"))
        assert "eventStreams" not in said


async def test_streams_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await furnish(world)
        target = await events_target(world)
        monkeypatch.setattr(world.hub.features.flagging.streams, "_per_tenant_max", 1)
        answer = await world.ask("GET", target)
        assert answer.stream is not None
        answer.stream(MemorySink())
        refused = await world.ask("GET", target)
        assert (refused.status, header(refused, "retry-after")) == (429, "5")


async def test_in_open_mode_the_claim_is_the_credential() -> None:
    async with running(settings=Settings(open=True)) as world:
        made = await world.ask("PUT", "/flags/plain", body=BOOLEAN | {"rules": [{"variant": "on", "tiers": ["pro"]}]})
        assert made.status == 201
        claims = {"x-tenant-id": "walkin", "x-subscription-tier": "pro"}
        said = decoded(await world.ask("POST", ALL + "/plain", body={}, headers=claims))
        assert said["value"] is True
        stream = decoded(await world.ask("POST", ALL, body={}, headers=claims))["eventStreams"][0]
        assert (await world.ask("GET", stream["endpoint"]["requestUri"])).status == 200


async def test_evaluations_are_counted_by_reason() -> None:
    async with running() as world:
        await furnish(world)
        for target in (ALL, ALL + "/plain", ALL + "/half", ALL + "/nothing"):
            await world.ask("POST", target, key="acme", body={})
        counted = (await world.ask("GET", "/metrics", key="root")).body.decode()
        for reason, count in (("targeting_match", 3), ("static", 2), ("error", 3)):
            assert f'central_hub_flag_evaluations_total{{reason="{reason}"}} {count}' in counted
