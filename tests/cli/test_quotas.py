"""The quota commands against a real hub."""

from __future__ import annotations

from tests.cli.conftest import Hub


def test_capacity_is_held_shown_renewed_and_released(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "free")
    held = hub.json("quota", "allocate", unique, "concurrent_requests", "8", "--ttl", "30", key=key)
    assert (held["used"], held["limit"]) == (8, 10)
    (shown,) = [
        one for one in hub.json("quota", "show", unique, key=key)["limits"] if one["name"] == "max_concurrent_requests"
    ]
    assert (shown["used"], shown["remaining"], shown["upgrade_to"]) == (8, 2, "pro")
    assert hub.json("quota", "renew", unique, held["lease_id"], key=key)["lease_id"] == held["lease_id"]
    assert [one["lease_id"] for one in hub.json("quota", "leases", unique, key=key)["leases"]] == [held["lease_id"]]
    assert hub.json("quota", "release", unique, held["lease_id"], key=key)["released"] is True
    assert hub.json("quota", "leases", unique, "--resource", "concurrent_requests", key=key)["leases"] == []


def test_no_room_is_exit_code_6_with_the_next_command(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "free")
    refused = hub.run("quota", "allocate", unique, "concurrent_requests", "11", key=key)
    assert refused.returncode == 6
    assert "quota_exceeded" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "try:   central-hub quota show TENANT"


def test_tables_name_what_they_show(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "pro")
    assert "Nothing is held." in hub.run("quota", "leases", unique, key=key).stderr
    held = hub.run("quota", "allocate", unique, "websocket_connections", key=key)
    assert held.stdout.splitlines()[1].split() == ["resource", "websocket_connections"]
    assert hub.run("quota", "leases", unique, key=key).stdout.split()[0] == "LEASE"
    assert hub.run("quota", "show", unique, key=key).stdout.split()[0] == "LIMIT"
    assert hub.run("quota", "show", unique, key=hub.tenant(unique + "x")).returncode == 3


def test_a_budget_is_spent_until_it_is_used_up(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "free")
    spent = hub.json("quota", "spend", unique, "api_calls_per_hour", "990", key=key)
    assert (spent["granted"], spent["remaining"]) == (990, 10)
    assert hub.run("quota", "spend", unique, "api_calls_per_hour", "11", key=key).returncode == 6
    shown = hub.run("quota", "spend", unique, "api_calls_per_hour", "10", key=key).stdout.split()
    assert shown[:4] == ["limit", "api_calls_per_hour", "spent", "10"]
    assert hub.run("quota", "spend", unique, "max_concurrent_requests", key=key).returncode == 2
