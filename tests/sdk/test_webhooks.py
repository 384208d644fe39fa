"""Receiving webhooks with the SDK: what is verified, what is handled once, and configuration without a stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from central_hub import BaseService, ConfigDiff, HubClient, HubError, ServiceConfig, WebhookEvent, verify_webhook
from central_hub.kernel.signatures import secret_text, sign
from central_hub.sdk.webhooks import BODY_BYTES_MAX, IDS_KEPT, WebhookReceiver
from tests.sdk.conftest import until
from tests.sdk.fake_hub import free_port
from tests.sdk.test_real_hub import HubProcess

SECRET, OTHER = secret_text(b"s" * 32), secret_text(b"o" * 32)


def body_of(event_id: str = "e1", event_type: str = "io.centralhub.webhook.ping.v1") -> bytes:
    event = {
        "specversion": "1.0", "id": event_id, "type": event_type, "source": "/tenants/acme", "subject": "webhook/w",
        "time": "2026-01-01T00:00:00.000Z", "tenantid": "acme", "datacontenttype": "application/json",
        "data": {"webhook_id": "w"},
    }  # fmt: skip
    return json.dumps(event).encode()


def signed(body: bytes, *, event_id: str = "e1", raw: bytes = b"s" * 32, stamp: int = 0) -> dict[str, str]:
    stamp = stamp or int(time.time())
    signature = sign([raw], event_id, stamp, body)
    return {"Webhook-Id": event_id, "Webhook-Timestamp": str(stamp), "Webhook-Signature": signature}


def test_a_delivery_is_verified_and_read() -> None:
    body = body_of()
    event = verify_webhook(signed(body), body, SECRET)
    assert (event.id, event.tenantid, event.data) == ("e1", "acme", {"webhook_id": "w"})
    assert verify_webhook(signed(body), body, [OTHER, SECRET]) == event
    assert verify_webhook(signed(body, event_id="r-1"), body, SECRET).message_id == "r-1", "no publisher's own id"
    assert verify_webhook(signed(body, stamp=99), body, SECRET, now_s=100.0) == event


@pytest.mark.parametrize(
    ("headers", "body", "secret"),
    [
        (signed(body_of()), body_of("e2"), SECRET),
        (signed(body_of()), body_of(), OTHER),
        ({}, body_of(), SECRET),
        (signed(body_of(), stamp=1), body_of(), SECRET),
        (signed(b"{}"), b"{}", SECRET),
    ],
    ids=["altered", "another secret", "unsigned", "too old", "no event"],
)
def test_anything_else_is_refused(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    with pytest.raises(HubError) as refused:
        verify_webhook(headers, body, secret)
    assert refused.value.code == "invalid_webhook"


def test_what_is_no_secret_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="signing secret"):
        verify_webhook(signed(body_of()), body_of(), "whsec_abcd")


async def test_a_delivery_that_comes_again_is_not_handled_again() -> None:
    handled: list[str] = []

    async def act(event: WebhookEvent) -> None:
        handled.append(event.id)

    receiver = WebhookReceiver([SECRET], act)
    for event_id in ("e1", "e2", "e1", "e2"):
        body = body_of(event_id)
        assert await receiver.take(signed(body, event_id=event_id), body) == 204
    assert (handled, receiver.repeated) == (["e1", "e2"], 2)
    assert await receiver.take({}, body_of()) == 401
    assert receiver.refused == 1


async def test_what_could_not_be_handled_is_asked_for_again() -> None:
    answers = iter([ValueError("not now"), None])

    async def act(_: WebhookEvent) -> None:
        if error := next(answers):
            raise error

    receiver = WebhookReceiver([SECRET], act)
    statuses = [await receiver.take(signed(body_of()), body_of()) for _ in range(3)]
    assert statuses == [500, 204, 204]


async def test_how_many_ids_are_remembered_is_limited() -> None:
    async def act(_: WebhookEvent) -> None:
        pass

    receiver = WebhookReceiver([SECRET], act)
    for number in range(IDS_KEPT + 1):
        body = body_of(f"e{number}")
        await receiver.take(signed(body, event_id=f"e{number}"), body)
    await receiver.take(signed(body_of("e0"), event_id="e0"), body_of("e0"))
    assert receiver.repeated == 0


def test_a_service_takes_nothing_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServiceConfig("risk", webhook_path="/hub")
    with pytest.raises(ValueError, match="HUB_WEBHOOK_SECRETS"):
        BaseService(config)
    monkeypatch.setenv("HUB_WEBHOOK_SECRETS", f"{SECRET}, {OTHER}")
    assert BaseService(config).webhooks is not None
    assert BaseService(ServiceConfig("risk")).webhooks is None


@asynccontextmanager
async def without_streams(hub: HubProcess) -> AsyncIterator[str]:
    """Stand between a service and its hub, and let no stream through, as some proxies do."""

    async def pass_on(request: web.Request) -> web.Response:
        if request.path == "/watch":
            return web.Response(status=502)
        url = hub.url + request.path_qs
        kept = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "via")}
        async with session.request(request.method, url, headers=kept, data=await request.read()) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() == "etag"}
            return web.Response(
                status=answer.status, body=await answer.read(), headers=headers, content_type=answer.content_type
            )

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", pass_on)
    runner, port = web.AppRunner(app, shutdown_timeout=0.01), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


class Told(BaseService):
    """A service that keeps what it is given."""

    def __init__(self, config: ServiceConfig, hub: HubClient) -> None:
        super().__init__(config, hub)
        self.values: list[int] = []
        self.events: list[WebhookEvent] = []

    async def on_config(self, diff: ConfigDiff) -> None:
        self.values.append(diff.config["rate_limits"]["api_calls_per_hour"])

    async def on_webhook(self, event: WebhookEvent) -> None:
        self.events.append(event)


async def _must(method: str, url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body, headers=headers) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def test_configuration_reaches_a_service_by_webhook_alone(tmp_path: Path) -> None:
    hub, port = HubProcess(tmp_path, "--open"), free_port()
    await hub.start()
    try:
        await _must("POST", f"{hub.url}/tenants", {"id": "acme", "name": "Acme", "tier": "pro"})
        body = {"url": f"http://127.0.0.1:{port}/hub", "service": "risk"}
        made = await _must("POST", f"{hub.url}/tenants/acme/webhooks", body)
        config = ServiceConfig("risk", port=port, webhook_path="/hub", webhook_secrets=(made["secret"],))
        async with (
            without_streams(hub) as url,
            HubClient(url, tenant_id="acme", tier="pro", cache_dir=tmp_path / "cache") as client,
        ):
            service = Told(config, client)
            serving = asyncio.create_task(service.serve())
            try:
                await until(lambda: service.port == port and service.registered)
                layer = {"rate_limits": {"api_calls_per_hour": 77}}
                url = f"{hub.url}/config/layers/tenant/acme"
                await _must("PUT", url, layer, {"if-match": "*"})
                await until(lambda: service.values == [77])
                assert not client._configurations.connected  # pyright: ignore[reportPrivateUsage]  # no stream told it
                assert [event.type for event in service.events] == ["io.centralhub.config.changed.v1"]
                hook = f"{hub.url}/tenants/acme/webhooks/{made['webhook']['webhook_id']}"
                assert (await _must("POST", f"{hook}/test", None))["delivered"]
                async with aiohttp.ClientSession() as session:
                    target = f"http://127.0.0.1:{port}/hub"
                    async with session.post(target, data=b"{}") as answer:
                        assert answer.status == 401
                    async with session.post(target, data=b"x" * (BODY_BYTES_MAX + 1)) as answer:
                        assert answer.status == 413
            finally:
                service.stop()
                await serving
    finally:
        with contextlib.suppress(ProcessLookupError):
            await hub.kill()


async def test_an_asgi_service_receives_webhooks_too() -> None:
    seen: list[str] = []

    class Risk(BaseService):
        async def on_webhook(self, event: WebhookEvent) -> None:
            seen.append(event.id)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("webhooks are not the application's")

    wrapped = Risk(ServiceConfig("risk", webhook_path="/hub", webhook_secrets=(SECRET,))).asgi(application)
    body = body_of()
    assert await _asgi(wrapped, signed(body), [body[:9], body[9:]]) == 204
    assert await _asgi(wrapped, {}, [body]) == 401
    assert await _asgi(wrapped, signed(body), [b"x" * BODY_BYTES_MAX, b"x"]) == 413
    assert seen == ["e1"]


async def _asgi(application: Any, headers: dict[str, str], parts: list[bytes]) -> int:
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting[-1]["more_body"] = False
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await application({"type": "http", "method": "POST", "path": "/hub", "headers": raw}, receive, send)
    return sent[0]["status"]
