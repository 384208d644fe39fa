"""The event commands against a real hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Hub


def test_an_event_is_published_once_and_read_again(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    words = ("event", "publish", "com.example.placed", "--subject", "order/1", "--id", "e-1", "--data", '{"n": 1}')
    assert hub.json(*words, key=key)["accepted"] == 1
    again = hub.run(*words, key=key)
    assert again.stdout.split()[:4] == ["accepted", "0", "duplicates", "1"]
    hub.json("event", "publish", "com.example.billed", "--source", "/services/billing", "--integration", key=key)
    replayed = hub.json("event", "replay", "--type", "com.*", key=key)
    assert [one["type"] for one in replayed["events"]] == ["com.example.placed", "com.example.billed"]
    assert (
        hub.json("event", "replay", "--category", "integration", key=key)["events"][0]["source"] == "/services/billing"
    )
    assert hub.json("event", "replay", "--service", "billing", key=key)["events"][0]["hubcategory"] == "integration"
    shown = hub.run("event", "replay", "--limit", "1", key=key)
    assert "io.centralhub.tenant.created.v1" in shown.stdout
    assert "central-hub event replay --after" in shown.stderr
    assert hub.json("event", "replay", "--after", replayed["next"], key=key)["events"] == []
    assert hub.json("event", "replay", "--since", "2020-01-01T00:00:00Z", "--limit", "1", key=key)["more"]


def test_events_are_followed_from_the_beginning(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    hub.json("event", "publish", "com.example.placed", "--data", '"text"', key=key)
    words = ("event", "tail", "--after", "start", "--type", "com.*", "--for", "1")
    lines = hub.run(*words, "-o", "json", key=key).stdout.splitlines()
    assert [json.loads(line)["data"] for line in lines] == ["text"]
    assert "com.example.placed" in hub.run(*words, key=key).stdout


def test_the_platform_s_own_events(hub: Hub, unique: str) -> None:
    hub.run("flag", "create", f"{unique}.x")
    shown = hub.json("event", "replay", "--platform", "--type", "io.centralhub.flag.*", "--limit", "1000")
    assert f"{unique}.x" in [one["data"]["key"] for one in shown["events"]]
    assert hub.run("event", "replay", "--platform", key=hub.tenant(unique)).returncode == 4


def test_what_is_told_can_be_listed_and_what_is_wrong_is_said(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    assert "ServiceRegistered" in hub.run("event", "types", key=key).stdout
    assert hub.run("event", "publish", "com.x", "--data", "{", key=key).returncode == 2
    described = hub.json("event", "describe", "ServiceRegistered", key=key)
    assert hub.json("event", "describe", "ServiceRegistered", "--schema", key=key) == described["json_schema"]
    assert "An event that could have been" in hub.run("event", "describe", "ServiceScaled", key=key).stderr
    assert hub.run("event", "describe", "Nothing", key=key).returncode == 3
    refused = hub.run("event", "publish", "io.centralhub.x", key=key)
    assert (refused.returncode, "what the hub itself tells" in refused.stderr) == (2, True)
    assert hub.run("event", "replay", "--after", "other.5", key=key).returncode == 3


def test_a_tenant_s_own_type_is_registered_tried_and_retired(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.tenant(unique)
    words = ("key", "create", unique, "--scope", "events:read", "--scope", "events:write", "--scope", "events:admin")
    key = hub.json(*words)["api_key"]
    schema = tmp_path / "placed.json"
    schema.write_text('{"type": "object", "required": ["symbol"], "properties": {"symbol": {"type": "string"}}}')
    words = ("event", "register", "com.example.placed", "--schema", str(schema), "--description", "An order.")
    assert hub.json(*words, "--dry-run", key=key)["version"] == 1
    assert (hub.json(*words, key=key)["is_new"], hub.json(*words, key=key)["is_new"]) == (True, False)
    assert hub.json("event", "describe", "com.example.placed", key=key)["summary"] == "An order."
    refused = hub.run("event", "publish", "com.example.placed", "--data", "{}", key=key)
    assert (refused.returncode, "symbol" in refused.stderr) == (2, True)
    schema.write_text('{"type": "object", "required": ["symbol", "side"]}')
    assert hub.run(*words, key=key).returncode == 5
    assert hub.json("event", "policy", "--unknown", "refused", key=key) == {"unknown_types": "refused"}
    assert hub.json("event", "policy", key=key) == {"unknown_types": "refused"}
    assert hub.run("event", "retire", "com.example.placed", key=key).returncode == 0
    assert hub.run("event", "publish", "com.example.placed", key=key).returncode == 2
    assert hub.run("event", "register", "com.x", "--schema", str(tmp_path / "none"), key=key).returncode == 2


def test_what_is_kept_is_shown_and_events_are_purged(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    words = ("key", "create", unique, "--scope", "events:read", "--scope", "events:write", "--scope", "events:admin")
    key = hub.json(*words)["api_key"]
    hub.json("event", "publish", "com.example.placed", key=key)
    assert hub.json("event", "retention", key=key)["events_days"] == 30
    assert "--yes" in hub.run("event", "purge", "--before", "now", key=key).stderr
    assert len(hub.json("event", "replay", "--type", "com.*", key=key)["events"]) == 1
    assert hub.json("event", "purge", "--before", "now", "--yes", key=key)["purged_through"]
    assert hub.json("event", "replay", "--type", "com.*", key=key)["events"] == []
