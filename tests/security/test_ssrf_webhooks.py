"""Wherever a webhook is said to be, the hub opens no connection to where it must not, and follows no redirect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import LOOPBACK_WEBHOOKS, Grant, Policy, Purpose, parse_grants
from central_hub.adapters.webhook_sender import WebhookSender
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.messaging import Result, Target
from central_hub.webhooks.rules import target_of
from tests.security.test_ssrf import ACME, TARGETS, WIDE, Canary, Recorder, resolve

UNASKED = {Result.NOT_GRANTED, Result.UNRESOLVED}
WIDE_FOR_WEBHOOKS = tuple(msgspec.structs.replace(grant, purposes=frozenset({Purpose.WEBHOOK})) for grant in WIDE)


@pytest.fixture(scope="module")
def installed() -> Recorder:
    return Recorder()


@pytest.fixture
def recorder(installed: Recorder) -> Iterator[Recorder]:
    installed.connects.clear()
    installed.on = True
    yield installed
    installed.on = False


@pytest.fixture
def canary() -> Iterator[Canary]:
    listening = Canary()
    yield listening
    listening.close()


@pytest.mark.parametrize("grants", [(), WIDE, WIDE_FOR_WEBHOOKS], ids=["no_grants", "probes_only", "widest_grants"])
async def test_no_forbidden_target_is_ever_connected_to(
    recorder: Recorder, canary: Canary, grants: tuple[Grant, ...]
) -> None:
    egress = Egress(Policy(grants), ManualClock(), resolve=resolve)
    sender = WebhookSender(egress)
    for host in dict.fromkeys(TARGETS):
        targets = [Target(host=host, port=canary.port, tls=False, path="/")]
        for shown in (host, f"[{host}]"):
            try:
                targets.append(target_of(f"http://{shown}:{canary.port}/", plain=True))
            except HubError:
                continue  # it is no URL for a webhook in the first place
        for target in targets:
            outcome = await sender.send(ACME, target, {}, b"{}")
            assert outcome.result in UNASKED, (host, target)
            assert recorder.connects == [], (host, target)
    assert not canary.called()
    assert egress.opened == 0
    egress.close()


async def test_a_redirect_is_not_followed(recorder: Recorder, canary: Canary) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:{canary.port}/\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    egress = Egress(Policy(parse_grants(LOOPBACK_WEBHOOKS, purpose=Purpose.WEBHOOK)), ManualClock())
    outcome = await WebhookSender(egress).send(ACME, Target(host="127.0.0.1", port=port, tls=False, path="/"), {}, b"")
    assert (outcome.result, outcome.status) == (Result.REFUSED, 307)
    assert recorder.connects == [("127.0.0.1", port)]
    assert not canary.called()
    server.close()
    egress.close()
