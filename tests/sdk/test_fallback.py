"""What stands in for an answer: to whom it is given, what is kept of answers, and how much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from central_hub import BreakerOpen, Fallback, HubClient, HubError, ServiceResponse
from central_hub.sdk.fallback import CACHED_ANSWER_BYTES_MAX, CACHED_ANSWERS_MAX, CACHED_BYTES_MAX, LastAnswers
from central_hub.sdk.model import Endpoint

Make = Callable[..., Any]
NOWHERE = Endpoint("risk", "", "", 0, "")


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> ServiceResponse:
    return ServiceResponse(status, headers, body, NOWHERE, 1)


def test_the_newest_answer_is_found_and_its_age_told() -> None:
    answers = LastAnswers()
    answers.keep(("a",), answer(b"1"), 1.0)
    answers.keep(("a",), answer(b"2"), 2.0)
    found = answers.find(("a",), 5.0, 3.0)
    assert found is not None
    assert (found[0].body, found[1], len(answers), answers.size) == (b"2", 3.0, 1, 1)
    assert answers.find(("a",), 5.1, 3.0) is None
    assert answers.find(("b",), 5.0, 3.0) is None


@pytest.mark.parametrize("status", [199, 300, 304, 404, 500])
def test_only_good_answers_are_kept(status: int) -> None:
    answers = LastAnswers()
    answers.keep(("a",), answer(status=status), 1.0)
    assert len(answers) == 0


def test_a_worse_answer_does_not_take_the_place_of_a_good_one() -> None:
    answers = LastAnswers()
    answers.keep(("a",), answer(b"good"), 1.0)
    answers.keep(("a",), answer(b"bad", status=404), 2.0)
    answers.keep(("a",), answer(b"secret", **{"Cache-Control": "no-store"}), 3.0)
    found = answers.find(("a",), 3.0, 60.0)
    assert found is not None
    assert found[0].body == b"good"


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    answers = LastAnswers()
    answers.keep(("a",), answer(bytes(CACHED_ANSWER_BYTES_MAX + 1)), 1.0)
    assert len(answers) == 0
    answers.keep(("a",), answer(bytes(CACHED_ANSWER_BYTES_MAX)), 1.0)
    assert len(answers) == 1


def test_no_more_answers_are_kept_than_the_limit_and_the_one_used_longest_ago_goes() -> None:
    answers = LastAnswers()
    for number in range(CACHED_ANSWERS_MAX):
        answers.keep((number,), answer(), 1.0)
    assert answers.find((0,), 1.0, 1.0)
    answers.keep(("one more",), answer(), 1.0)
    assert len(answers) == CACHED_ANSWERS_MAX
    assert answers.find((0,), 1.0, 1.0)
    assert answers.find((1,), 1.0, 1.0) is None


def test_no_more_bytes_are_kept_than_the_limit() -> None:
    answers = LastAnswers()
    for number in range(CACHED_BYTES_MAX // CACHED_ANSWER_BYTES_MAX + 3):
        answers.keep((number,), answer(bytes(CACHED_ANSWER_BYTES_MAX)), 1.0)
    assert answers.size == CACHED_BYTES_MAX
    assert answers.find((2,), 1.0, 1.0) is None


async def test_the_last_good_answer_stands_in_for_as_long_as_it_is_good_for(worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    client = await face(tenant_id="acme")
    kept = Fallback(cached_s=60)
    fresh = await client.request("risk", "GET", "/limits?a=1", fallback=kept)
    assert (fresh.source, fresh.age_s) == ("service", 0.0)
    risk.status = 500
    for _ in range(12):  # first the service's own failures, then the breaker's refusals
        answer = await client.request("risk", "GET", "/limits?a=1", fallback=kept)
        assert (answer.source, answer.status, answer.json()) == ("cache", 200, fresh.json())
        assert answer.age_s < 10
    assert client.get_circuit_state("risk") == "OPEN"
    assert client.stats["fallbacks"] == 12
    with pytest.raises(BreakerOpen):
        await client.request("risk", "GET", "/limits?a=2", fallback=kept)
    await asyncio.sleep(0.05)
    with pytest.raises(BreakerOpen):
        await client.request("risk", "GET", "/limits?a=1", fallback=Fallback(cached_s=0.01))


async def test_a_default_stands_in_for_any_call(worker: Make, face: Make) -> None:
    risk = await worker("risk", "r-1")
    client = await face()
    await client.request("risk", "GET", "/")
    await risk.kill()
    for _ in range(10):
        answer = await client.request("risk", "POST", "/", json={"a": 1}, fallback=Fallback(default={"limit": 0}))
        assert (answer.source, answer.status, answer.json(), answer.attempts) == ("default", 200, {"limit": 0}, 0)
        assert answer.endpoint.url == ""
    assert (await client.request("risk", "GET", "/", fallback=Fallback(default=None))).json() is None


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "globex"},
        {"user_id": "u-2"},
        {"tier": "free"},
        {"params": {"page": "2"}},
        {"headers": {"accept": "text/plain"}},
        {"path": "/other"},
        {"method": "HEAD"},
    ],
)
async def test_nobody_is_given_what_was_another_s(worker: Make, connect: Make, other: dict[str, Any]) -> None:
    risk = await worker("risk", "r-1")
    client: HubClient = await connect()
    asked = {
        "tenant": "acme",
        "user_id": "u-1",
        "tier": "pro",
        "method": "GET",
        "path": "/",
    }

    async def ask(**members: Any) -> str:
        all_of_it = {**asked, **members}
        with client.acting_for(all_of_it["tenant"], user_id=all_of_it["user_id"], tier=all_of_it["tier"]):
            answer = await client.request(
                "risk",
                all_of_it["method"],
                all_of_it["path"],
                params=all_of_it.get("params"),
                headers=all_of_it.get("headers"),
                fallback=Fallback(cached_s=60, default="nothing"),
            )
        return answer.source

    assert await ask() == "service"
    risk.status = 500
    assert await ask() == "cache"
    assert await ask(**other) == "default"


async def test_what_may_not_be_stored_is_not(worker: Make, connect: Make) -> None:
    risk = await worker("risk", "r-1")
    risk.headers = {"cache-control": "private, No-Store"}
    client: HubClient = await connect()
    kept = Fallback(cached_s=60)
    await client.request("risk", "GET", "/", fallback=kept)
    risk.status = 500
    assert (await client.request("risk", "GET", "/", fallback=kept)).status == 500


@pytest.mark.parametrize(("method", "body"), [("POST", None), ("GET", b"x"), ("DELETE", None)])
async def test_only_plain_reads_are_kept(connect: Make, method: str, body: bytes | None) -> None:
    client: HubClient = await connect()
    with pytest.raises(HubError, match="invalid_fallback"):
        await client.request("risk", method, "/", data=body, fallback=Fallback(cached_s=1))
