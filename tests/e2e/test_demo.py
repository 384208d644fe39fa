"""The demo, in short: real processes are killed under load, and no caller sees an error."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tools.postgres_server import MissingError, programs

SECONDS = 12
CLUSTER_SECONDS = 20
SHARED_TEMPORARY = Path("/tmp")  # PostgreSQL may run as another user, to whom pytest's own directory is closed
INSTANCES_MIN = 7
STARTED_WITHIN_S = 60
ENDED_WITHIN_S = 20


def demo(*words: str, temporary: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return subprocess.Popen(
        [sys.executable, "-m", "central_hub", "demo", "--port", "0", "--no-live", *words],
        env=environment | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the demo's processes once most of them are there."""
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        if len(children) > INSTANCES_MIN:
            return children
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate())


def summary_of(process: subprocess.Popen[str], seconds: float) -> dict[str, object]:
    out, err = process.communicate(timeout=STARTED_WITHIN_S + seconds + ENDED_WITHIN_S)
    assert out, err
    summary = json.loads(out)
    assert summary["good"], (out, err)
    assert process.returncode == 0
    return summary


@pytest.mark.timing
@pytest.mark.timeout(200)
def test_three_hubs_their_store_and_services_are_killed_in_turn_and_no_call_fails(tmp_path: Path) -> None:
    try:
        programs()
    except MissingError as missing:
        pytest.skip(str(missing))
    tmp_path.chmod(0o755)
    words = ("--cluster", "--for", str(CLUSTER_SECONDS), "-o", "json")
    summary = summary_of(demo(*words, temporary=SHARED_TEMPORARY), CLUSTER_SECONDS)
    assert summary["failures"] == 0
    killed = summary["parts_killed"]
    assert isinstance(killed, dict)
    assert {"hub-1", "PostgreSQL"} <= set(killed)
    assert summary["orders_acknowledged"] == summary["orders_executed"] > 0
    assert all(summary["walls"].values())


@pytest.mark.timeout(150)
def test_instances_are_killed_under_load_and_no_call_fails(tmp_path: Path) -> None:
    summary = summary_of(demo("--for", str(SECONDS), "-o", "json", temporary=tmp_path), SECONDS)
    assert summary["failures"] == 0
    assert summary["calls"] > SECONDS
    assert summary["instances_killed"] >= 1
    assert summary["orders_acknowledged"] == summary["orders_executed"] > 0
    assert all(summary["walls"].values())
    assert {each["tier"] for each in summary["tenants"]} == {"free", "pro", "enterprise"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(150)
def test_the_hub_is_killed_under_load_and_no_call_fails(tmp_path: Path) -> None:
    summary = summary_of(demo("--for", str(SECONDS), "--hub-outage", "5", "-o", "json", temporary=tmp_path), SECONDS)
    assert summary["hub_down_s"] >= 5
    assert summary["failures"] == 0
    assert summary["instances_killed"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_hub_is_away_for_a_minute_and_no_call_fails(tmp_path: Path) -> None:
    summary = summary_of(demo("--for", "100", "--hub-outage", "60", "-o", "json", temporary=tmp_path), 100)
    assert summary["hub_down_s"] >= 60
    assert summary["failures"] == 0


@pytest.mark.timeout(150)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    process = demo(temporary=tmp_path)
    children = family(process)
    process.send_signal(how)
    process.communicate(timeout=ENDED_WITHIN_S)
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(150)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    process = demo(temporary=tmp_path)
    children = family(process)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_taken_port_says_what_to_do(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "central_hub", "demo", "--port", str(taken.getsockname()[1]), "--for", "1"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == "try:   central-hub demo --port 0"
