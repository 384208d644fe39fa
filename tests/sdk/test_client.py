"""The client against a hub, both faces where they share behaviour."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from central_hub import HubClient, HubError, Kind
from central_hub.sdk.model import SUBSCRIPTIONS_MAX
from tests.sdk.conftest import until
from tests.sdk.fake_hub import FakeHub

Make = Callable[..., Any]


async def test_registers_discovers_and_lists(hub: FakeHub, face: Make) -> None:
    client = await face()
    answer = await client.register_service(name="risk", host="127.0.0.1", port=8001, instance_id="r-1")
    assert answer["instance_id"] == "r-1"
    assert (await client.discover("risk"))["recommended_endpoint"] == "http://127.0.0.1:8001"
    assert list((await client.list_services())["services"]) == ["risk"]
    await client.deregister("risk", "r-1")
    assert not hub.services["risk"].instances


async def test_a_registration_may_be_a_document(hub: FakeHub, face: Make) -> None:
    client = await face()
    await client.register_service({"name": "risk", "host": "127.0.0.1", "port": 8001, "instance_id": "r-1"})
    assert "r-1" in hub.services["risk"].instances


async def test_a_refusal_keeps_its_code(face: Make) -> None:
    client = await face()
    with pytest.raises(HubError) as refused:
        await client.get_service("nobody")
    assert (refused.value.code, refused.value.kind) == ("service_not_found", Kind.NOT_FOUND)


async def test_ready_then_resolve_is_in_memory(hub: FakeHub, worker: Make, face: Make) -> None:
    await worker("risk", "r-1")
    client = await face()
    assert await client.ready("risk")
    await hub.stop()
    endpoint = client.resolve("risk")
    assert (endpoint.instance_id, endpoint.url) == ("r-1", f"http://127.0.0.1:{endpoint.port}")
    balanced = client.get_load_balanced_endpoint("risk")
    assert balanced == {"host": "127.0.0.1", "port": endpoint.port, "load": None}


async def test_ready_says_no_when_there_is_nobody(face: Make) -> None:
    client = await face()
    assert not await client.ready("nobody", timeout=0.2)


async def test_a_call_goes_directly_and_carries_the_tenant_but_not_the_key(worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    client = await face(api_key="chk_id_secret", tenant_id="acme", user_id="ann", tier="pro")
    response = await client.request("risk", "POST", "/risk/validate", json={"size": 3}, idempotency_key="k-1")
    assert response.status == 200
    assert response.json()["body"] == '{"size":3}'
    headers = risk.seen[0]
    assert {name: headers[name] for name in ("x-tenant-id", "x-user-id", "x-service-name", "idempotency-key")} == {
        "x-tenant-id": "acme",
        "x-user-id": "ann",
        "x-service-name": "tester",
        "idempotency-key": "k-1",
    }
    assert "authorization" not in headers
    assert "chk_" not in str(headers)
    assert 0 < int(headers["x-request-deadline-ms"]) <= 10_000
    assert len(headers["x-correlation-id"]) == 16


async def test_lookups_carry_the_name_of_the_caller(hub: FakeHub, worker: Make, face: Make) -> None:
    await worker("risk", "r-1")
    client = await face()
    await client.request("risk", "GET", "/")
    lookups = [headers for _, path, headers in hub.requests if path == "/services/discover/risk"]
    assert lookups
    assert lookups[0]["x-service-name"] == "tester"


async def test_acting_for_another_tenant_is_bound_to_the_block(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    client: HubClient = await connect(tenant_id="acme")
    with client.acting_for("bank", user_id="bob"):
        await client.request("risk", "GET", "/")
    await client.request("risk", "GET", "/")
    assert [seen.get("x-tenant-id") for seen in risk.seen] == ["bank", "acme"]
    assert [seen.get("x-user-id") for seen in risk.seen] == ["bob", None]


async def test_an_error_status_of_the_service_is_its_answer(worker: Make, face: Make) -> None:
    (await worker("risk", "r-1")).status = 422
    client = await face()
    response = await client.request("risk", "POST", "/")
    assert (response.status, response.ok, response.attempts) == (422, False, 1)


async def test_a_call_of_nobody_says_so_soon(face: Make) -> None:
    client = await face()
    with pytest.raises(HubError) as refused:
        await client.request("nobody", "GET", "/", timeout=0.3)
    assert refused.value.code == "service_not_found"


async def test_changes_arrive_by_the_stream(hub: FakeHub, connect: Make) -> None:
    hub.put("risk", "r-1")
    client: HubClient = await connect(watch=["risk"])
    await until(lambda: client.connected)
    hub.put("risk", "r-2")
    await until(lambda: "r-2" in client.view()["risk"].instances)
    hub.remove("risk", "r-1")
    await until(lambda: "r-1" not in client.view()["risk"].instances)
    assert client.stats["streams"] == 1


async def test_watch_yields_the_state_and_then_each_change(hub: FakeHub, connect: Make) -> None:
    hub.put("risk", "r-1")
    client: HubClient = await connect()
    states = client.watch("risk")
    async with asyncio.timeout(5):
        assert set((await anext(states)).instances) == {"r-1"}
        hub.put("risk", "r-2")
        assert set((await anext(states)).instances) == {"r-1", "r-2"}
    await states.aclose()


async def test_a_cut_stream_resumes_where_it_was(hub: FakeHub, connect: Make) -> None:
    hub.put("risk", "r-1")
    client: HubClient = await connect(watch=["risk"])
    await until(lambda: client.connected)
    hub.cut()
    await until(lambda: not client.connected)
    hub.put("risk", "r-2")
    hub.remove("risk", "r-1")
    await until(lambda: client.connected and set(client.view()["risk"].instances) == {"r-2"})
    resumed = [headers for _, path, headers in hub.requests if path.startswith("/watch")]
    assert resumed[-1]["last-event-id"]


async def test_a_hub_that_lost_its_history_replaces_the_view(hub: FakeHub, connect: Make) -> None:
    for _ in range(5):
        hub.put("risk", "r-old")
    client: HubClient = await connect(watch=["risk"])
    await until(lambda: client.connected)
    await hub.stop()
    hub.services.clear()
    hub.seq, hub.incarnation = 0, "inc2"
    hub.put("risk", "r-new")
    await hub.start()
    await until(lambda: set(client.view()["risk"].instances) == {"r-new"})
    assert client.view()["risk"].revision == 1


async def test_the_view_is_kept_privately_and_starts_a_process_while_the_hub_is_away(
    hub: FakeHub, worker: Make, connect: Make, tmp_path: Path
) -> None:
    await worker("risk", "r-1")
    first: HubClient = await connect(api_key="chk_a_secret")
    await first.request("risk", "GET", "/")
    await until(lambda: first.connected)
    await first.close()
    (file,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes()
    await hub.stop()
    second: HubClient = await connect(api_key="chk_a_secret")
    response = await second.request("risk", "GET", "/")
    assert response.json()["by"] == "r-1"
    assert not second.connected
    assert second.view_age_s is not None
    assert 0 <= second.view_age_s < 30
    assert (await second.discover("risk"))["all_healthy_endpoints"] == [response.endpoint.url]


async def test_another_caller_never_gets_the_view_of_the_first(hub: FakeHub, worker: Make, connect: Make) -> None:
    await worker("risk", "r-1")
    first: HubClient = await connect(api_key="chk_a_secret", tenant_id="acme")
    await first.ready("risk")
    await first.close()
    await hub.stop()
    for other in ({"api_key": "chk_b_secret", "tenant_id": "acme"}, {"api_key": "chk_a_secret", "tenant_id": "bank"}):
        client: HubClient = await connect(**other)
        with pytest.raises(HubError):
            client.resolve("risk")


async def test_a_damaged_file_is_as_good_as_none(hub: FakeHub, worker: Make, connect: Make, tmp_path: Path) -> None:
    await worker("risk", "r-1")
    first: HubClient = await connect()
    await first.ready("risk")
    await first.close()
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    second: HubClient = await connect()
    assert await second.ready("risk")


async def test_zero_failed_calls_while_the_hub_is_away(hub: FakeHub, worker: Make, connect: Make) -> None:
    for number in range(3):
        await worker("risk", f"r-{number}")
    client: HubClient = await connect()
    assert await client.ready("risk")
    await hub.stop()
    answers = [await client.request("risk", "POST", "/", json={}) for _ in range(200)]
    await hub.start()
    await until(lambda: client.connected, 10)
    assert {answer.status for answer in answers} == {200}
    assert {answer.json()["by"] for answer in answers} == {"r-0", "r-1", "r-2"}
    assert client.stats["failures"] == 0


async def test_zero_failed_calls_when_an_instance_is_killed_under_load(worker: Make, connect: Make) -> None:
    workers = [await worker("risk", f"r-{number}") for number in range(3)]
    client: HubClient = await connect()
    assert await client.ready("risk")

    async def load(caller: int) -> list[int]:
        return [
            (await client.request("risk", "POST", "/", json={}, idempotency_key=f"{caller}-{n}")).status
            for n in range(60)
        ]

    loads = [asyncio.create_task(load(caller)) for caller in range(8)]
    await asyncio.sleep(0.05)
    await workers[0].kill()
    statuses = [status for done in await asyncio.gather(*loads) for status in done]
    assert statuses == [200] * 480
    assert client.stats["failures"] == 0
    assert client.stats["retries"] > 0


async def test_a_refused_connection_goes_elsewhere_even_without_a_key(worker: Make, connect: Make) -> None:
    dead = await worker("risk", "r-dead")
    await worker("risk", "r-live")
    await dead.kill()
    client: HubClient = await connect()
    answers = [await client.request("risk", "POST", "/", json={}) for _ in range(40)]
    assert {answer.json()["by"] for answer in answers} == {"r-live"}


async def test_what_may_have_been_executed_is_not_repeated_without_a_key(worker: Make, connect: Make) -> None:
    stuck, other = await worker("risk", "r-1"), await worker("risk", "r-2")
    stuck.hang = other.hang = True
    client: HubClient = await connect()
    with pytest.raises(HubError) as refused:
        await client.request("risk", "POST", "/", json={}, timeout=3, attempt_timeout=0.1)
    assert refused.value.code == "call_failed"
    assert len(stuck.seen) + len(other.seen) == 1
    assert "idempotency_key" in refused.value.next_step


async def test_with_a_key_a_stuck_instance_is_left_for_another(worker: Make, connect: Make) -> None:
    stuck, other = await worker("risk", "r-1"), await worker("risk", "r-2")
    stuck.hang = True
    client: HubClient = await connect()
    for number in range(6):
        answer = await client.request(
            "risk", "POST", "/", json={}, timeout=3, attempt_timeout=0.1, idempotency_key=f"k-{number}"
        )
        assert answer.json()["by"] == "r-2"
    assert len(other.seen) == 6


@pytest.mark.parametrize(("key", "calls"), [(None, 1), ("k-1", 2)])
async def test_a_busy_answer_is_tried_elsewhere_only_where_safe(
    worker: Make, connect: Make, key: str | None, calls: int
) -> None:
    first, second = await worker("risk", "r-1"), await worker("risk", "r-2")
    first.status = second.status = 503
    client: HubClient = await connect()
    response = await client.request("risk", "POST", "/", json={}, idempotency_key=key)
    assert response.status == 503
    assert len(first.seen) + len(second.seen) >= calls
    assert (len(first.seen) + len(second.seen) == 1) == (key is None)


@pytest.mark.parametrize("path", ["@elsewhere/", ".elsewhere/", "", "x"])
async def test_a_path_cannot_lead_to_another_host(worker: Make, connect: Make, path: str) -> None:
    risk = await worker("risk", "r-1")
    client: HubClient = await connect()
    with pytest.raises(HubError, match="invalid_path"):
        await client.request("risk", "GET", path)
    assert not risk.seen


async def test_a_redirect_is_an_answer_and_not_followed(worker: Make, connect: Make) -> None:
    (await worker("risk", "r-1")).status = 307
    client: HubClient = await connect(tenant_id="acme")
    assert (await client.request("risk", "GET", "/")).status == 307


async def test_past_the_limit_of_names_everything_is_watched(hub: FakeHub, connect: Make) -> None:
    client: HubClient = await connect(watch=[f"s-{n}" for n in range(SUBSCRIPTIONS_MAX)])
    await until(lambda: client.connected)
    with pytest.raises(HubError):
        client.resolve("one-more")
    await until(lambda: any("services=%2A" in path or "services=*" in path for _, path, _ in hub.requests))


async def test_the_deadline_holds_over_all_attempts(worker: Make, connect: Make) -> None:
    (await worker("risk", "r-1")).hang = True
    client: HubClient = await connect()
    began = asyncio.get_running_loop().time()
    with pytest.raises(HubError) as refused:
        await client.request("risk", "GET", "/", timeout=0.3)
    assert refused.value.code == "deadline_exceeded"
    assert asyncio.get_running_loop().time() - began < 1.5


async def test_draining_and_unhealthy_instances_are_not_called(worker: Make, connect: Make) -> None:
    await worker("risk", "r-1", draining=True)
    await worker("risk", "r-2", status="unhealthy")
    await worker("risk", "r-3")
    client: HubClient = await connect()
    assert await client.ready("risk")
    assert {client.resolve("risk").instance_id for _ in range(200)} == {"r-3"}


async def test_outcomes_are_reported_in_batches_while_the_hub_takes_them(
    hub: FakeHub, worker: Make, connect: Make
) -> None:
    await worker("risk", "r-1")
    hub.outcome_status = 202
    client: HubClient = await connect()
    for _ in range(5):
        await client.request("risk", "GET", "/")
    await until(lambda: len(hub.outcomes) == 5)
    assert hub.outcomes[0]["instance_id"] == "r-1"
    assert hub.outcomes[0]["ok"] is True


async def test_a_hub_that_takes_no_outcomes_is_asked_once(hub: FakeHub, worker: Make, connect: Make) -> None:
    await worker("risk", "r-1")
    client: HubClient = await connect()
    for _ in range(3):
        await client.request("risk", "GET", "/")
        await asyncio.sleep(1.05)
    assert len([path for _, path, _ in hub.requests if path == "/routing/outcomes"]) == 1


async def test_a_hub_that_refuses_is_named_and_the_view_stays(hub: FakeHub, worker: Make, connect: Make) -> None:
    await worker("risk", "r-1")
    client: HubClient = await connect()
    assert await client.ready("risk")
    await until(lambda: client.connected)
    hub.refuse = (401, "unknown_key")
    hub.cut()
    await until(lambda: client.last_refusal is not None and client.last_refusal.code == "unknown_key")
    assert client.resolve("risk").instance_id == "r-1"


async def test_a_command_is_sent_again_with_the_same_key(hub: FakeHub, connect: Make) -> None:
    client: HubClient = await connect()
    hub.refuse = (503, "outcome_unknown")
    registering = asyncio.create_task(client.register_service(name="risk", host="127.0.0.1", port=1))
    await until(lambda: len(hub.requests) > 0)
    hub.refuse = None
    await registering
    keys = {headers["idempotency-key"] for method, _, headers in hub.requests if method == "POST"}
    assert len(keys) == 1


async def test_a_client_that_is_not_open_says_what_to_do() -> None:
    client = HubClient("http://127.0.0.1:9", cache_dir="")
    with pytest.raises(RuntimeError, match="async with HubClient"):
        await client.list_services()


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:7000", "http://", "http://h/?a=b"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(HubError) as refused:
        HubClient(url)
    assert refused.value.code == "invalid_hub_url"
