"""The commands of secrets and encryption against a real hub: values from files and pipes, never from arguments."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Hub

VALUE = "correct-horse-battery-staple"


def put(hub: Hub, monkeypatch: pytest.MonkeyPatch, owner: str, path: str, value: str, *words: str) -> int:
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(value))
        done = hub.run("secret", "put", owner, path, *words)
    assert VALUE not in done.stdout + done.stderr
    return done.returncode


def test_a_secret_is_put_read_listed_and_deleted(
    hub: Hub, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tenant(unique)
    assert put(hub, monkeypatch, unique, "db/password", VALUE + "\n", "--note", "of the database") == 0
    assert hub.run("secret", "get", unique, "db/password").stdout == VALUE
    file = tmp_path / "value"
    file.write_text("second\n")
    replaced = hub.run("secret", "put", unique, "db/password", "--file", str(file))
    assert (replaced.returncode, "version 2" in replaced.stderr) == (0, True)
    assert hub.json("secret", "get", unique, "db/password", "--version", "1")["value"] == VALUE
    listed = hub.run("secret", "list", unique)
    assert "db/password" in listed.stdout
    assert VALUE not in listed.stdout
    assert [one["path"] for one in hub.json("secret", "list", unique, "--prefix", "db/")["secrets"]] == ["db/password"]
    assert [one["version"] for one in hub.json("secret", "history", unique, "db/password")["versions"]] == [2, 1]
    assert "of the database" in hub.run("secret", "history", unique, "db/password").stdout
    assert hub.run("secret", "delete", unique, "db/password").returncode == 0
    gone = hub.run("secret", "get", unique, "db/password")
    assert (gone.returncode, "central-hub secret list" in gone.stderr) == (3, True)


def test_a_version_that_was_replaced_is_not_replaced_again(
    hub: Hub, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tenant(unique)
    for value in ("one", "two"):
        assert put(hub, monkeypatch, unique, "a", value) == 0
    assert put(hub, monkeypatch, unique, "a", "three", "--if-version", "1") == 5
    assert hub.run("secret", "get", unique, "a").stdout == "two"


def test_what_is_no_value_is_said_and_not_sent(hub: Hub, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tenant(unique)
    assert put(hub, monkeypatch, unique, "a", "") == 2
    assert hub.run("secret", "put", unique, "a", "--file", "/nowhere").returncode == 2
    assert put(hub, monkeypatch, unique, "../a", VALUE) == 2
    assert hub.json("secret", "list", unique)["secrets"] == []


def test_the_platforms_own_may_be_shared(hub: Hub, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tenant(unique)
    assert put(hub, monkeypatch, "platform", f"of-{unique}", VALUE, "--shared") == 0
    assert hub.json("secret", "get", unique, f"of-{unique}")["source"] == "platform"
    assert put(hub, monkeypatch, unique, "mine", VALUE, "--shared") == 2


def test_keys_are_rotated_and_shown(hub: Hub, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tenant(unique)
    assert put(hub, monkeypatch, unique, "a", VALUE) == 0
    assert "key-encryption key" in hub.run("encryption", "status").stdout
    before = hub.json("encryption", "status")
    assert (before["provider"], before["behind"]) == ("file", 0)
    rotated = hub.json("encryption", "rotate", "key-encryption-key")
    assert rotated["rotation"]["phase"] == "done"
    assert rotated["key_encryption_key"] != before["key_encryption_key"]
    one = hub.json("encryption", "rotate", "data-keys", "--for", unique)
    assert one["data_keys"] == rotated["data_keys"] + 1
    words = hub.run("encryption", "status").stdout
    assert rotated["key_encryption_key"] in words
    assert hub.run("secret", "get", unique, "a").stdout == VALUE
    refused = hub.run("encryption", "rotate", "data-keys", "--for", "nobody")
    assert refused.returncode == 3


def test_a_reference_is_shown_as_one_value_and_as_unresolved_when_its_secret_is_gone(
    hub: Hub, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tenant(unique)
    section, schema = f"s-{unique}", tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"password": {"type": "string", "x-hub-secret": true}}}')
    hub.json("config", "describe", section, str(schema))
    assert put(hub, monkeypatch, unique, "a/b", VALUE) == 0
    said = hub.json("config", "set", f"tenant/{unique}", f'/{section}/password={{"$secret": "a/b"}}')
    assert said["revision"] == 1
    assert f"/{section}/password " in hub.run("config", "show", unique).stdout
    assert "unresolved" not in hub.run("config", "explain", unique).stdout
    hub.run("secret", "delete", unique, "a/b")
    assert "unresolved" in hub.run("config", "explain", unique).stdout
