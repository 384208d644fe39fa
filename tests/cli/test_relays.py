"""The relay commands against a real hub; a broker is only ever named."""

from __future__ import annotations

from tests.cli.conftest import Hub


def test_a_relay_from_creation_to_its_end(hub: Hub, unique: str) -> None:
    done = hub.run("relay", "create", unique, "nats", "127.0.0.1:1", "--only-tenant", "acme", "--type", "com.*")
    assert done.returncode == 0, done.stderr
    assert "connecting" in done.stdout
    (shown,) = [one for one in hub.json("relay", "list")["relays"] if one["name"] == unique]
    assert (shown["servers"], shown["tenants"], shown["types"]) == (["127.0.0.1:1"], ["acme"], ["com.*"])
    assert hub.json("relay", "pause", unique)["status"] == "paused"
    assert hub.json("relay", "resume", unique)["status"] == "running"
    assert hub.json("relay", "parked", unique) == {"parked": []}
    assert "Nothing was set aside" in hub.run("relay", "parked", unique).stderr
    assert "is deleted" in hub.run("relay", "delete", unique).stderr
    gone = hub.run("relay", "show", unique)
    assert (gone.returncode, "relay_not_found" in gone.stderr) == (3, True)


def test_what_cannot_work_says_which_field(hub: Hub, unique: str) -> None:
    done = hub.run("relay", "create", unique, "nats", "nowhere")
    assert done.returncode != 0
    assert "servers" in done.stderr
