"""The routing commands against a real hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Hub

OFFERING = {"id": "m", "model": "lstm-7", "task": "forecast", "latency_ms": {"p50": 20}, "hardware": "a100"}


def test_a_model_is_declared_asked_for_and_explained(hub: Hub, unique: str, tmp_path: Path) -> None:
    key = hub.tenant(unique)
    for at in (1, 2):
        words = (
            "register",
            "models",
            "--host",
            f"10.0.0.{at}",
            "--port",
            "80",
            "--instance",
            f"i-{at}",
            "--lease",
            "60",
        )
        assert hub.run(*words, key=key).returncode == 0
    file = tmp_path / "offerings.json"
    file.write_text(json.dumps([OFFERING]))
    assert "offers 1 models" in hub.run("route", "declare", "models", "i-1", str(file), key=key).stderr
    slower = {**OFFERING, "latency_ms": {"p50": 80}, "hardware": "cpu"}
    file.write_text(json.dumps({"offerings": [slower]}))
    hub.json("route", "declare", "models", "i-2", str(file), key=key)
    listed = hub.run("route", "offerings", key=key)
    assert listed.stdout.count("lstm-7") == 2
    answer = hub.json("route", "decide", "forecast", "--latency", "< 5s", "--input", "100", key=key)
    assert [one["instance_id"] for one in answer["ranked"]] == ["i-1", "i-2"]
    shown = hub.run("route", "decide", "forecast", key=key)
    assert "route explain" in shown.stderr
    why = hub.run("route", "explain", answer["decision_id"], key=key)
    assert (why.returncode, why.stdout.count("models")) == (0, 2)
    simulated = hub.run("route", "simulate", "forecast", "--count", "20", "--strategy", "least_loaded", key=key)
    assert (simulated.returncode, "least_loaded" in simulated.stdout) == (0, True)
    refused = hub.run("route", "decide", "forecast", "--region", "eu", key=key)
    assert (refused.returncode, "region" in refused.stderr) == (5, True)
    assert hub.run("route", "decide", "--require", "{", key=key).returncode == 2
    assert hub.run("route", "withdraw", "models", "i-1", key=key).returncode == 0
    assert len(hub.json("route", "offerings", key=key)["offerings"]) == 1
