"""Several real hubs on one PostgreSQL: what one knows all know, and each piece of work is done once."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.hub_process import HubProcess
from tests.postgres import Database
from tests.several_hubs import cluster, is_settled, several_hubs, until, url

TTL_S = 2.0
CHANGED_ELSEWHERE_S = 1.0


def register(hub: HubProcess, instance_id: str, key: str, *, ttl_s: float = TTL_S) -> int:
    body = {"name": "risk", "instance_id": instance_id, "host": "127.0.0.1", "port": 9, "lease_ttl_s": ttl_s}
    return hub.call("POST", "/services/register", body, key=key)[0]


def instances(hub: HubProcess, key: str) -> dict[str, str]:
    status, answer = hub.call("GET", "/services/risk", key=key)
    return {each["instance_id"]: each["status"] for each in answer["instances"]} if status == 200 else {}


def answered(hub: HubProcess, method: str, path: str, key: str, body: object) -> dict[str, str]:
    """Send a request that has to succeed; returns the answer's header lines."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    with contextlib.closing(connection):
        lines = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request(method, path, json.dumps(body), lines)
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300
        return {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.timeout(120)
def test_three_hubs_are_one(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 3) as (_, [one, two, three]):
        seen = cluster(two)
        assert [member["node"] for member in seen["members"]] == sorted(url(hub.port) for hub in (one, two, three))
        assert seen["node"] == url(two.port)
        key = one.tenant("acme", "enterprise", ["registry:read", "registry:write", "quota:read", "quota:write"])
        until(lambda: two.call("GET", "/services/", key=key)[0] == 200, within_s=CHANGED_ELSEWHERE_S)

        for number in range(6):
            assert register(one, f"i-{number}", key) == 201
        until(lambda: len(instances(three, key)) == 6, within_s=CHANGED_ELSEWHERE_S)
        work = {member["node"]: member["work"]["instance"] for member in cluster(three)["members"]}
        assert sum(work.values()) == 6

        def beat(*numbers: int) -> None:
            for number in numbers:
                hub = (one, two, three)[(beat_no[0] + number) % 3]
                said = {"load": 0.5} if number % 2 else None
                status, _ = hub.call("PUT", f"/services/risk/instances/i-{number}/heartbeat", said, key=key)
                assert status == 200
            beat_no[0] += 1
            time.sleep(TTL_S / 6)

        # Each beats to whichever hub it reaches, in turn, for several lifetimes: all are kept, whoever judges them.
        beat_no = [0]
        ended = time.monotonic() + 3 * TTL_S
        while time.monotonic() < ended:
            beat(*range(6))
        for hub in (one, two, three):
            assert instances(hub, key) == {f"i-{number}": "healthy" for number in range(6)}
        # Those that are silent everywhere end, once, and all hubs see it.
        ended = time.monotonic() + TTL_S + 4
        while len(instances(two, key)) > 4:
            assert time.monotonic() < ended
            beat(0, 1, 2, 3)
        for hub in (one, three):
            until(lambda hub=hub: set(instances(hub, key)) == {f"i-{number}" for number in range(4)}, within_s=1)
        assert database.sql("SELECT count(*) FROM central_hub.log WHERE type = 'ServiceUnregistered'") == "2"


@pytest.mark.timeout(120)
def test_a_key_that_is_revoked_at_one_hub_is_refused_by_all_within_a_second(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 2) as (_, [one, two]):
        key = one.tenant("acme", "pro", ["registry:read"])
        until(lambda: two.call("GET", "/services/", key=key)[0] == 200, within_s=CHANGED_ELSEWHERE_S)
        [kept] = one.must("GET", "/tenants/acme/keys")["keys"]
        assert one.call("DELETE", f"/tenants/acme/keys/{kept['key_id']}")[0] == 204
        assert one.call("GET", "/services/", key=key)[0] == 401
        until(lambda: two.call("GET", "/services/", key=key)[0] == 401, within_s=CHANGED_ELSEWHERE_S)


@pytest.mark.timeout(120)
def test_an_answer_is_no_older_than_what_was_written_elsewhere(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 2) as (_, [one, two]):
        key = one.tenant("acme", "enterprise", ["registry:read", "registry:write"])
        until(lambda: two.call("GET", "/services/", key=key)[0] == 200, within_s=CHANGED_ELSEWHERE_S)
        for number in range(40):
            written = answered(one, "POST", "/services/register", key, {
                "name": f"s-{number}", "instance_id": "i", "host": "127.0.0.1", "port": 9,
            })  # fmt: skip
            status, _ = two.call(
                "GET", f"/services/discover/s-{number}", key=key, headers={"hub-min-seq": written["hub-seq"]}
            )
            assert status == 200
        incarnation, tenant, shared = written["hub-seq"].split(".")
        beyond = {"hub-min-seq": f"{incarnation}.{int(tenant) + 1_000}.{shared}"}
        status, answer = two.call("GET", "/services/discover/s-1", key=key, headers=beyond)
        assert (status, answer["code"]) == (503, "behind")
        other = {"hub-min-seq": f"another.{tenant}.{shared}"}
        assert two.call("GET", "/services/discover/s-1", key=key, headers=other)[0] == 410


@pytest.mark.timeout(120)
def test_a_limit_holds_over_all_hubs_together(tmp_path: Path, database: Database) -> None:
    with several_hubs(tmp_path, database.text, 2) as (_, [one, two]):
        key = one.tenant("acme", "free", ["quota:read", "quota:write", "registry:read"])
        until(lambda: two.call("GET", "/services/", key=key)[0] == 200, within_s=CHANGED_ELSEWHERE_S)
        body = {"resource": "concurrent_requests", "amount": 1, "ttl_s": 60}

        def allocate(number: int) -> int:
            hub = (one, two)[number % 2]
            while True:
                status, answer = hub.call("POST", "/tenants/acme/allocations", body, key=key)
                if not (status == 409 and answer["code"] == "contended"):
                    return status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(allocate, range(40)))
        assert statuses.count(201) == 10, "the free plan's limit"
        assert set(statuses) == {201, 429}
        for hub in (one, two):
            used = hub.must("GET", "/tenants/acme/allocations?limit=100", key=key)["leases"]
            assert len(used) == 10


@pytest.mark.timeout(120)
def test_one_that_stops_in_order_hands_its_work_over_and_one_key_written_twice_is_one(
    tmp_path: Path, database: Database
) -> None:
    with several_hubs(tmp_path, database.text, 3) as (hubs, [one, two, three]):
        hubs.stop(three)
        assert until(lambda: is_settled(one, 2) and is_settled(two, 2), within_s=5) < 2
        lines = {"idempotency-key": "once"}
        body = {"name": "risk", "instance_id": "i-1", "host": "127.0.0.1", "port": 9}
        first = one.call("POST", "/services/register", body, headers=lines)
        again = two.call("POST", "/services/register", body, headers=lines)
        assert first[0] == again[0] == 201
        assert first[1]["seq"] == again[1]["seq"]
