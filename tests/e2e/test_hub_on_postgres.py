"""A whole hub on a real PostgreSQL: without it, back with it, on another machine, and after history was lost."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hub_process import HubProcess, running_hub
from tests.postgres import Database, Pair, a_server, new_database

REFUSED_S = 0.1
BACK_S = 2.0
FRAMEWORK, LANE = "/services/", "/services/discover/risk"


@pytest.fixture
def own() -> Iterator[Database]:
    """A database on a server that the test may kill."""
    server = a_server()
    yield new_database(server)
    server.remove()


def answer(hub: HubProcess, path: str) -> tuple[int, dict[str, str], Any]:
    """Read a path; returns status, header lines and the decoded body."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {hub.bootstrap}"})
        got = connection.getresponse()
        return got.status, {name.lower(): value for name, value in got.getheaders()}, json.loads(got.read())
    finally:
        connection.close()


def register(hub: HubProcess, name: str, port: int = 8000) -> tuple[int, float]:
    """Register an instance; returns the status and the seconds it took."""
    body = {"name": name, "instance_id": f"{name}-{port}", "host": "127.0.0.1", "port": port, "lease_ttl_s": 60}
    asked = time.monotonic()
    status, _ = hub.call("POST", "/services/register", body)
    return status, time.monotonic() - asked


def until(hub: HubProcess, name: str, *, within_s: float) -> float:
    """Register until it is taken; returns the seconds it took."""
    began = time.monotonic()
    while register(hub, name)[0] != 201:
        assert time.monotonic() - began < within_s
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.timing
@pytest.mark.timeout(120)
def test_while_the_store_is_away_reads_go_on_and_writes_are_refused_at_once(tmp_path: Path, own: Database) -> None:
    with running_hub(tmp_path / "hub", store=own.text) as hub:
        assert register(hub, "risk")[0] == 201
        before = {path: answer(hub, path) for path in (FRAMEWORK, LANE)}
        assert all("hub-stale-ms" not in lines for _, lines, _ in before.values())
        own.server.kill()
        time.sleep(0.3)
        stale = 0
        for _ in range(20):
            status, took_s = register(hub, "another")
            assert status == 503
            assert took_s < REFUSED_S
            for path, (_, lines, body) in before.items():
                status, now, same = answer(hub, path)
                assert (status, now["hub-seq"]) == (200, lines["hub-seq"])
                assert same.keys() == body.keys()
                assert int(now["hub-stale-ms"]) >= stale
            stale = int(now["hub-stale-ms"])
            time.sleep(0.05)
        assert stale >= 1_000
        assert answer(hub, LANE)[2]["all_healthy_endpoints"] == ["http://127.0.0.1:8000"]
        assert (answer(hub, "/readyz")[0], answer(hub, "/livez")[0]) == (503, 200)
        own.server.start()
        assert until(hub, "another", within_s=10) < BACK_S
        for path in before:
            assert "hub-stale-ms" not in answer(hub, path)[1]
        assert answer(hub, "/readyz")[0] == 200
    assert own.sql("SELECT count(*) FROM central_hub.log WHERE type = 'ServiceRegistered'") == "2"


@pytest.mark.timeout(120)
def test_a_hub_goes_on_on_another_machine_with_the_address_and_the_key(tmp_path: Path, database: Database) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with running_hub(here, store=database.text) as hub:
        key = hub.tenant("company_abc", "pro", ["registry:write", "registry:read"])
        assert register(hub, "risk")[0] == 201
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["master.key"]
    (there / "keys").mkdir(parents=True)
    shutil.copy2(here / "keys/master.key", there / "keys/master.key")
    with running_hub(there, store=database.text) as hub:
        assert hub.call("GET", LANE, key=key)[1]["all_healthy_endpoints"] == ["http://127.0.0.1:8000"]
        assert hub.call("GET", "/services/", key="chk_wrong")[0] == 401


@pytest.mark.timeout(120)
def test_with_a_key_from_the_environment_nothing_is_on_the_machine(tmp_path: Path, database: Database) -> None:
    options = {"store": database.text, "key_provider": "env", "master_key": secrets.token_hex(32)}
    with running_hub(tmp_path / "here", **options) as hub:
        key = hub.tenant("company_abc", "pro", ["registry:read"])
    with running_hub(tmp_path / "there", **options) as hub:
        assert hub.call("GET", "/services/", key=key)[0] == 200
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]


@pytest.mark.timeout(60)
def test_a_second_hub_does_not_start_on_a_store_that_one_holds(tmp_path: Path, database: Database) -> None:
    with running_hub(tmp_path / "hub", store=database.text):
        command = [sys.executable, "-m", "central_hub", "serve", "--port", "0", "--data", str(tmp_path / "other")]
        shutil.copytree(tmp_path / "hub/keys", tmp_path / "other/keys")
        done = subprocess.run(
            [*command, "--store", database.text], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 7
        assert "store_in_use" in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_hub_whose_history_was_lost_begins_anew_under_another_name(tmp_path: Path, pair: Pair) -> None:
    with running_hub(tmp_path / "hub", store=pair.text) as hub:
        assert register(hub, "risk")[0] == 201
        pair.wait_for_replica("async")
        time.sleep(0.5)
        pair.standby.stop()
        assert register(hub, "lost")[0] == 201
        incarnation, _, seq = answer(hub, FRAMEWORK)[1]["hub-seq"].split(".")
        pair.primary.kill()
        pair.standby.start()
        pair.standby.promote()
        assert until(hub, "after", within_s=30) >= 0
        _, lines, body = answer(hub, FRAMEWORK)
        assert set(body["services"]) == {"risk", "after"}
        assert lines["hub-seq"].split(".")[0] != incarnation
        assert answer(hub, "/services/discover/lost")[0] == 404
        assert int(seq) == 2
