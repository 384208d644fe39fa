"""The commands of rollouts against a real hub; what a whole one looks like is typed in the how-to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from central_hub.cli.rollouts import line_of, reach_of
from tests.cli.conftest import Hub


def test_a_tenants_rollout_is_begun_shown_held_and_ended(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.tenant(unique)
    layer, of = f"tenant/{unique}", ("--of", unique)
    gates = tmp_path / "gates.json"
    gates.write_text(json.dumps({"acknowledged_percent": 50}))
    begun = hub.json(
        "rollout", "start", layer, "/rate_limits/api_calls_per_hour=5", "--unit", "tenant", "--bake", "3600",
        "--gates", str(gates), "--reason", "why not",
    )  # fmt: skip
    rollout_id = begun["rollout_id"]
    assert (begun["unit"], begun["gates"]["acknowledged_percent"], begun["reason"]) == ("tenant", 50, "why not")
    assert rollout_id in hub.run("rollout", "list", *of).stdout
    shown = hub.run("rollout", "show", rollout_id, *of)
    assert "everyone" in shown.stdout
    assert f"It changes {layer}" in shown.stderr
    assert "paused" in hub.run("rollout", "pause", rollout_id, *of, "--reason", "lunch").stdout
    assert hub.json("rollout", "resume", rollout_id, *of)["state"] == "running"
    assert hub.json("rollout", "promote", rollout_id, *of)["stage"] >= 1
    assert hub.json("rollout", "abort", rollout_id, *of, "--reason", "no")["state"] == "aborted"
    watched = hub.run("rollout", "watch", rollout_id, *of)
    assert watched.returncode == 1
    assert "nobody has its values" in watched.stderr
    assert f"central-hub rollout show {rollout_id} --of {unique}" in watched.stderr
    assert "No instance follows" in hub.run("rollout", "instances", unique).stderr


def test_one_that_nobody_follows_is_made_at_once(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    done = hub.run("rollout", "start", f"tenant/{unique}", "/rate_limits/api_calls_per_hour=5", "--watch")
    assert done.returncode == 0
    assert "completed" in done.stdout
    (listed,) = hub.json("rollout", "list", "--of", unique)["rollouts"]
    assert (listed["state"], listed["layers"][0]["revision"]) == ("completed", 1)


def test_what_is_no_rollout_is_said(hub: Hub, unique: str) -> None:
    assert hub.run("rollout", "start", "global", "no-value").returncode == 2
    assert hub.run("rollout", "show", "never-was").returncode == 3
    refused = hub.run(
        "rollout", "start", "global", "/features/advanced_ai=false", "--strategy", "linear", "--percent", "5"
    )
    assert refused.returncode != 0


@pytest.mark.parametrize(
    ("seen", "state", "bar", "words"),
    [
        ({"population": 10, "exposed": 5}, "running", "#" * 10 + "-" * 10, "waiting for x"),
        ({"population": 10, "exposed": 5, "refused": 1}, "rolled_back", "-" * 20, "1 refused"),
        ({"population": 0}, "completed", "#" * 20, "completed, stage 1 of 2"),
        ({"population": 10, "requests": 9, "errors": 2}, "running", "-" * 20, "2 of 9 requests failed"),
    ],
)
def test_one_line_says_how_far_it_is(seen: dict[str, int], state: str, bar: str, words: str) -> None:
    counts = dict.fromkeys(
        ("population", "exposed", "acknowledged", "refused", "failing", "requests", "errors"), 0
    )  # fmt: skip
    rollout: dict[str, Any] = {
        "evidence": {**counts, **seen}, "stages": [{}, {}], "state": state, "stage": 1, "ended_reason": "",
        "failed_gate": "", "waits_for": "x",
    }  # fmt: skip
    line = line_of(rollout)
    assert line.startswith(f"[{bar}]")
    assert words in line


def test_whom_a_stage_reaches_is_said_in_words() -> None:
    assert reach_of({"percent": 100}) == "everyone"
    assert reach_of({"percent": 12.5, "tiers": ["pro", "free"]}) == "12.5 % and tiers pro, free"
