"""The subscription commands against a real hub."""

from __future__ import annotations

from tests.cli.conftest import Hub


def publish(hub: Hub, key: str, name: str) -> None:
    hub.json("event", "publish", "com.example.placed", "--id", name, "--data", '{"n": 1}', key=key)


def test_a_subscription_is_created_pulled_and_acknowledged(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    words = ("subscription", "create", "orders", "--type", "com.example.*", "--max-in-flight", "5", "--backoff", "0,1")
    made = hub.json(*words, key=key)
    assert (made["filter"], made["terms"]["backoff_s"]) == ({"types": ["com.example.*"]}, [0, 1])
    assert hub.run(*words, key=key).returncode == 5
    for name in ("a", "b"):
        publish(hub, key, name)
    shown = hub.run("subscription", "pull", "orders", "--limit", "1", key=key)
    assert "com.example.placed" in shown.stdout
    assert "come again" in shown.stderr
    taken = hub.json("subscription", "pull", "orders", "--ack", "--wait", "2", key=key)
    assert [one["event"]["id"] for one in taken["deliveries"]] == ["b"]
    (listed,) = hub.json("subscription", "list", key=key)["subscriptions"]
    assert (listed["name"], listed["in_flight"]) == ("orders", 1)
    assert "orders" in hub.run("subscription", "list", key=key).stdout
    assert hub.json("subscription", "pause", "orders", key=key)["status"] == "paused"
    assert hub.json("subscription", "resume", "orders", key=key)["status"] == "active"
    updated = hub.json("subscription", "update", "orders", "--max-deliveries", "9", "--everything", key=key)
    assert (updated["terms"]["max_deliveries"], updated["filter"]) == (9, {})
    assert hub.json("subscription", "move", "orders", "--deliver", "all", key=key)["in_flight"] == 0
    assert "max_in_flight" in hub.run("subscription", "show", "orders", key=key).stdout
    assert hub.run("subscription", "delete", "orders", key=key).returncode == 0
    assert hub.run("subscription", "show", "orders", key=key).returncode == 3


def test_dead_letters_are_listed_replayed_and_forgotten(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    hub.json(
        "subscription", "create", "orders", "--type", "com.*", "--ack-wait", "0.1", "--max-deliveries", "1", key=key
    )
    publish(hub, key, "a")
    hub.json("subscription", "pull", "orders", key=key)
    for _ in range(50):
        letters = hub.json("subscription", "letters", "orders", key=key)["letters"]
        if letters:
            break
    assert [one["cause"] for one in letters] == ["not_acknowledged"]
    dry = hub.run("subscription", "replay", "orders", "--dry-run", key=key)
    assert "1 dead letters would be delivered again; 0 remain." in dry.stderr
    assert hub.json("subscription", "replay", "orders", "--rate", "100", key=key)["seqs"] == [letters[0]["seq"]]
    taken = hub.json("subscription", "pull", "orders", "--ack", "--wait", "3", key=key)
    assert [one["event"]["id"] for one in taken["deliveries"]] == ["a"]
    assert hub.json("subscription", "letters", "orders", key=key)["letters"] == []
    assert hub.json("subscription", "discard", "orders", key=key)["seqs"] == []


def test_what_is_no_number_is_said(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique)
    assert hub.run("subscription", "create", "orders", "--backoff", "soon", key=key).returncode == 2
    assert hub.run("subscription", "create", "orders", "--after", "nowhere", key=key).returncode != 0
    assert hub.run("subscription", "list", "--platform", key=key).returncode == 4
