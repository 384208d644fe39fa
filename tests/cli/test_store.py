"""`central-hub store …` on a real database: made ready, looked at, moved to and from; refusals name what mends them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.hub_process import running_hub
from central_hub.adapters.postgres.migrations import migrations
from central_hub.cli.failures import ExitCode
from tests.cli.conftest import clean_environment
from tests.postgres import HUB, OWNER, Database

TIMEOUT_S = 60
EVERY = [f"{one.version:04d} {one.name}" for one in migrations()]


def typed(directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    return subprocess.run(
        [sys.executable, "-m", "central_hub", *words],
        cwd=directory,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def owners(database: Database) -> str:
    return database.server.address(database.name, OWNER)


def test_a_database_is_made_ready_once_and_again_without_harm(tmp_path: Path, database: Database) -> None:
    database.sql("DROP SCHEMA central_hub CASCADE")
    first = typed(tmp_path, "store", "prepare", owners(database), "--role", HUB, "-o", "json")
    assert (first.returncode, json.loads(first.stdout)) == (0, {"applied": EVERY, "role": HUB})
    again = typed(tmp_path, "store", "prepare", owners(database), "--role", HUB)
    assert again.returncode == 0
    assert "nothing, all was there" in again.stdout
    assert "central-hub serve --store" in again.stderr


def test_status_tells_what_is_there(tmp_path: Path, database: Database) -> None:
    done = typed(tmp_path, "store", "status", database.text)
    assert done.returncode == 0
    assert "synchronous_commit" in done.stdout
    by_variable = typed(tmp_path, "store", "status", "-o", "json", HUB_STORE=database.text)
    assert json.loads(by_variable.stdout)["held_by_a_hub"] is False


@pytest.mark.parametrize(
    ("store", "code", "exit_code"),
    [
        ("missing", "store_not_found", ExitCode.USAGE),
        ("postgresql://hub:secret@127.0.0.1:1/hub", "store_unavailable", ExitCode.UNAVAILABLE),
        ("postgresql://hub:secret@127.0.0.1:1/", "invalid_store", ExitCode.USAGE),
    ],
)
def test_what_cannot_be_looked_at_is_said_without_secrets(
    tmp_path: Path, store: str, code: str, exit_code: ExitCode
) -> None:
    done = typed(tmp_path, "store", "status", store)
    assert done.returncode == exit_code
    assert code in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_an_unsafe_role_is_told_what_to_do_about_it_by_serve_and_by_doctor(tmp_path: Path, database: Database) -> None:
    unsafe = owners(database)
    serving = typed(tmp_path, "serve", "--port", "0", "--store", unsafe)
    assert serving.returncode == ExitCode.USAGE
    assert "unsafe_store_role" in serving.stderr
    assert "central-hub store prepare" in serving.stderr
    looked = typed(tmp_path, "doctor", "--store", unsafe)
    assert looked.returncode == ExitCode.ERROR
    assert "owns central_hub" in looked.stdout


def test_doctor_judges_a_store_that_is_fit(tmp_path: Path, database: Database) -> None:
    done = typed(tmp_path, "doctor", "-o", "json", HUB_STORE=database.text)
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert found["store"]["result"] == "ok"


@pytest.mark.timeout(120)
def test_a_hub_is_moved_by_command_and_answers_the_same(tmp_path: Path, database: Database) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with running_hub(old) as hub:
        key = hub.tenant("company_abc", "pro")
        body = {"name": "risk", "instance_id": "r-1", "host": "127.0.0.1", "port": 8000, "lease_ttl_s": 600}
        hub.must("POST", "/services/register", body)
        before = hub.must("GET", "/services/")
        refused = typed(tmp_path, "store", "migrate", str(old), database.text)
        assert refused.returncode == ExitCode.UNAVAILABLE
        assert "store_in_use" in refused.stderr
    there = typed(tmp_path, "store", "migrate", str(old), database.text, "-o", "json")
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["records"] > 0
    with running_hub(old, store=database.text) as hub:
        assert hub.must("GET", "/services/")["services"].keys() == before["services"].keys()
        assert hub.call("GET", "/services/", key=key)[0] == 200
    back = typed(tmp_path, "store", "migrate", database.text, str(new), "--data", str(old))
    assert back.returncode == 0, back.stderr
    assert "equal in both" in back.stdout
    with running_hub(new) as hub:
        assert hub.must("GET", "/services/")["services"].keys() == before["services"].keys()
        assert hub.call("GET", "/services/", key=key)[0] == 200
    again = typed(tmp_path, "store", "migrate", str(new), str(old))
    assert again.returncode == ExitCode.CONFLICT
    assert "store_not_empty" in again.stderr
