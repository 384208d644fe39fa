"""Keys rotated by a real hub that is killed in the middle: it goes on where it was, and everything opens."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.hub_process import HubProcess, running_hub

TENANTS = 300
KILLS = 3
AT = "/tenants/t-{}/secrets/value?path=app/token"


def furnish(hub: HubProcess) -> None:
    for number in range(TENANTS):
        hub.must("POST", "/tenants", {"id": f"t-{number}", "name": "T", "tier": "pro"})
    for number in range(0, TENANTS, 10):
        hub.must("PUT", AT.format(number), {"value": f"value-{number}"})


def killed(hub: HubProcess) -> None:
    hub.process.send_signal(signal.SIGKILL)
    hub.process.wait(10)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("what", ["key_encryption_key", "data_keys"])
def test_a_rotation_survives_kill_9(what: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_hub(data) as hub:
        furnish(hub)
        hub.must("POST", "/encryption/rotations", {"what": what})
        time.sleep(secrets.randbelow(100) / 1_000)
        killed(hub)
    for _ in range(KILLS):
        with running_hub(data) as hub:
            time.sleep(secrets.randbelow(50) / 1_000)
            killed(hub)
    with running_hub(data) as hub:
        deadline = time.monotonic() + 30
        while (answer := hub.must("GET", "/encryption"))["rotation"].get("phase", "idle") not in ("done", "idle"):
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
        assert answer["behind"] == 0
        if what == "data_keys":
            assert answer["data_keys"] >= 2 * answer["domains"], "every domain has a new one"
        for number in range(0, TENANTS, 10):
            assert hub.must("GET", AT.format(number))["value"] == f"value-{number}"
        trail = hub.must("GET", "/audit?limit=500&latest=true")["entries"]
        begun = [each for each in trail if each["type"] == "EncryptionRotationBegun"]
        ended = [each for each in trail if each["type"] == "EncryptionRotationEnded"]
        assert (len(begun), len(ended)) == (1, 1)
        assert ended[0]["data"]["to_key"] == answer["key_encryption_key"]
    keys = (data / "keys" / "master.key").read_text().split()
    assert len(keys) == 1, "the key of before is gone"
    assert os.stat(data / "keys" / "master.key").st_mode & 0o077 == 0


def test_a_hub_without_its_key_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_hub(data) as hub:
        furnished = hub.must("POST", "/tenants", {"id": "acme", "name": "T", "tier": "pro"})
        assert furnished["id"] == "acme"
    (data / "keys" / "master.key").write_text(secrets.token_hex(32))
    with pytest.raises((RuntimeError, AssertionError, subprocess.SubprocessError)), running_hub(data):
        pass
    assert any("wrong_master_key" in log.read_text() for log in tmp_path.glob("hub-*.log"))
