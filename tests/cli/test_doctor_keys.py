"""What doctor says of the key-encryption key."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from central_hub.cli.doctor_keys import key_provider
from tests.cli.conftest import Hub

KEY = "ab" * 32


def found(environment: dict[str, str], data: Path) -> list[tuple[str, str]]:
    return [(each.check, each.result) for each in key_provider(environment, data)]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, []),
        ({"HUB_KEY_PROVIDER": "file"}, []),
        ({"HUB_KEY_PROVIDER": "safe"}, [("key provider", "fail")]),
        ({"HUB_KEY_PROVIDER": "env"}, [("key provider", "fail")]),
        ({"HUB_KEY_PROVIDER": "env", "HUB_MASTER_KEY": "hunter2"}, [("key provider", "fail")]),
        ({"HUB_KEY_PROVIDER": "env", "HUB_MASTER_KEY": KEY}, [("key provider", "ok")]),
        (
            {"HUB_KEY_PROVIDER": "env", "HUB_MASTER_KEY": KEY, "HUB_MASTER_KEY_PREVIOUS": KEY},
            [("key provider", "ok"), ("previous key", "warn")],
        ),
        ({"HUB_KEY_PROVIDER": "transit"}, [("key provider", "fail")]),
        (
            {"HUB_KEY_PROVIDER": "transit", "HUB_TRANSIT_URL": "http://127.0.0.1:1", "HUB_TRANSIT_TOKEN": "t"},
            [("key provider", "fail"), ("transit token", "warn")],
        ),
    ],
)
def test_what_is_set_is_judged(environment: dict[str, str], expected: list[tuple[str, str]], tmp_path: Path) -> None:
    assert found(environment, tmp_path) == expected
    assert all(each.result == "ok" or each.next for each in key_provider(environment, tmp_path))
    assert all("hunter2" not in f"{each.detail}{each.next}" for each in key_provider(environment, tmp_path))


def test_a_token_that_others_may_read_and_a_key_that_was_left_are_found(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o644)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = {"HUB_KEY_PROVIDER": "transit", "HUB_TRANSIT_URL": url, "HUB_TRANSIT_TOKEN_FILE": str(token)}
        expected = [("key provider", "ok"), ("transit token", "fail"), ("old key", "warn")]
        assert found(environment, tmp_path) == expected
        token.chmod(0o600)
        assert found(environment, tmp_path)[1] == ("transit token", "ok")
        token.unlink()
        assert found(environment, tmp_path)[1] == ("transit token", "fail")


def test_the_hub_says_what_everything_is_under(hub: Hub) -> None:
    findings = hub.json("doctor", "--data", str(hub.directory / "data"))["findings"]
    (encryption,) = (each for each in findings if each["check"] == "encryption")
    assert (encryption["result"], "local:" in encryption["detail"]) == ("ok", True)
