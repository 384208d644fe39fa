"""The webhook commands against a real hub and a real receiver."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from central_hub import verify_webhook
from tests.cli.conftest import Hub

LEVEL = "io.centralhub.quota.level-reached.v1"


class Receiver:
    """Takes deliveries on a free port, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/in"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def owner(hub: Hub, name: str) -> str:
    """Create a tenant; returns a key that may manage its webhooks."""
    hub.tenant(name, "free")
    scopes = [word for scope in ("webhooks:read", "webhooks:admin", "quota:write") for word in ("--scope", scope)]
    return hub.json("key", "create", name, *scopes)["api_key"]


def test_a_webhook_from_its_creation_to_its_end(hub: Hub, unique: str, receiver: Receiver) -> None:
    key = owner(hub, unique)
    made = hub.json("webhook", "create", unique, receiver.url, "--event", LEVEL, "--description", "alerts", key=key)
    webhook_id, secret = made["webhook"]["webhook_id"], made["secret"]
    assert hub.json("webhook", "test", unique, webhook_id, key=key)["delivered"] is True
    hub.json("quota", "allocate", unique, "concurrent_requests", "8", key=key)
    until(lambda: len(receiver.got) == 2)
    event = verify_webhook(*receiver.got[1], secret)
    assert (event.type, event.tenantid, event.data["level"]) == (LEVEL, unique, 80)
    rotated = hub.json("webhook", "rotate", unique, webhook_id, "--grace", "60", key=key)
    hub.json("webhook", "test", unique, webhook_id, key=key)
    for one in (secret, rotated["secret"]):
        assert verify_webhook(*receiver.got[2], one).type.endswith("webhook.ping.v1")
    (shown,) = hub.json("webhook", "list", unique, key=key)["webhooks"]
    assert (shown["status"], shown["description"], "secret" in shown) == ("enabled", "alerts", False)
    assert hub.json("webhook", "disable", unique, webhook_id, key=key)["reason"] == "asked"
    assert hub.json("webhook", "enable", unique, webhook_id, key=key)["status"] == "enabled"
    assert hub.json("webhook", "delete", unique, webhook_id, key=key)["deleted"] is True
    assert hub.run("webhook", "show", unique, webhook_id, key=key).returncode == 3


def test_what_was_given_up_is_shown_and_sent_again(hub: Hub, unique: str, receiver: Receiver) -> None:
    key = owner(hub, unique)
    webhook_id = hub.json("webhook", "create", unique, receiver.url, "--event", LEVEL, key=key)["webhook"]["webhook_id"]
    receiver.status = 422
    hub.json("quota", "allocate", unique, "concurrent_requests", "5", key=key)

    def letters() -> Any:
        return hub.json("webhook", "deliveries", unique, webhook_id, key=key)["dead_letters"]

    until(letters)
    words = hub.run("webhook", "deliveries", unique, webhook_id, key=key)
    assert words.stdout.split()[0] == "POSITION"
    assert "refused" in words.stdout
    assert (
        "1 dead letters would be sent" in hub.run("webhook", "replay", unique, webhook_id, "--dry-run", key=key).stderr
    )
    receiver.status = 200
    seq = str(letters()[0]["seq"])
    assert hub.json("webhook", "replay", unique, webhook_id, "--seq", seq, key=key)["remaining"] == 0
    until(lambda: not letters())
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]


def test_a_test_message_that_is_not_taken_fails_the_command(hub: Hub, unique: str, receiver: Receiver) -> None:
    key = owner(hub, unique)
    made = hub.run("webhook", "create", unique, receiver.url, key=key)
    assert made.stdout.startswith("whsec_")
    assert made.stderr.splitlines()[-1].startswith("Next: central-hub webhook test")
    receiver.status = 500
    webhook_id = made.stderr.splitlines()[-1].split()[-1]
    refused = hub.run("webhook", "test", unique, webhook_id, key=key)
    assert refused.returncode == 1
    assert "refused with status 500" in refused.stderr
    assert "Next" not in refused.stdout


def test_where_the_hub_may_not_go_no_webhook_is_made(hub: Hub, unique: str) -> None:
    key = owner(hub, unique)
    for url, code in (
        ("http://169.254.169.254/latest", "webhook_address_denied"),
        ("https://10.0.0.1/", "webhook_address_denied"),
        (f"{hub.url}/in", "webhook_address_denied"),
        ("ftp://127.0.0.1/", "invalid_webhook_url"),
    ):
        refused = hub.run("webhook", "create", unique, url, key=key)
        assert code in refused.stderr, (url, refused.stderr)
    assert "No webhooks yet" in hub.run("webhook", "list", unique, key=key).stderr
