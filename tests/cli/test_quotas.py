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


def test_use_is_recorded_once_shown_and_exported(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "pro")
    for duplicates in (0, 1):
        answer = hub.json("usage", "record", unique, "tokens", "120", "--id", "req-1", key=key)
        assert answer["duplicates"] == duplicates
    late = hub.run("usage", "record", unique, "tokens", "1", "--id", "req-2", "--at-ms", "1000", key=key)
    assert "too_late" in late.stdout
    (row,) = hub.json("usage", "show", unique, "--by", "month", "--meter", "tokens", key=key)["rows"]
    assert (row["quantity"], row["events"], row["tier"], row["final"]) == (120, 1, "pro", False)
    assert hub.run("usage", "show", unique, key=key).stdout.split()[:3] == ["METER", "FROM", "TIER"]
    month = row["period_start"][:7]
    exported = hub.run("usage", "export", "--month", month).stdout.splitlines()
    assert exported[0] == "tenant_id,meter,period_start,period_end,tier,quantity,events,final"
    assert [line for line in exported if line.startswith(f"{unique},tokens,")]
    assert hub.run("usage", "export", "--month", month, key=key).returncode == 4
    assert hub.run("usage", "export", "--month", "november").returncode == 2
