"""Configuration in the SDK against a real hub: typed, followed, kept on disk, and taken up by a service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub import BaseService, ConfigDiff, HubClient, HubError, ServiceConfig, SyncHubClient
from central_hub.sdk import configuration
from central_hub.sdk.configuration import Configurations, difference
from central_hub.sdk.protocol import HubProtocol
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess


class Rates(msgspec.Struct, frozen=True):
    api_calls_per_hour: int


class Wanted(msgspec.Struct, frozen=True):
    rate_limits: Rates


class Wrong(msgspec.Struct, frozen=True):
    rate_limits: str


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    yield hub
    with contextlib.suppress(ProcessLookupError):
        await hub.kill()


def client_of(hub: HubProcess, tmp_path: Path, tenant: str | None = "acme") -> HubClient:
    tier = "pro" if tenant else None
    return HubClient(hub.url, cache_dir=tmp_path / "cache", tenant_id=tenant, tier=tier)


async def calls(client: HubClient, at_most: int) -> Any:
    return await client.update_global_config({"rate_limits": {"api_calls_per_hour": at_most}}, reason="a test")


async def test_configuration_is_typed_followed_and_survives_the_hub(hub: HubProcess, tmp_path: Path) -> None:
    async with client_of(hub, tmp_path) as client, client_of(hub, tmp_path, None) as operator:
        assert (await client.config(Wanted)).rate_limits.api_calls_per_hour == 10_000
        assert (await client.config())["features"]["advanced_ai"] is True
        with pytest.raises(HubError, match="config_mismatch"):
            await client.config(Wrong)
        layer = await calls(operator, 77)
        assert (layer["revision"], layer["reason"]) == (1, "a test")
        async with asyncio.timeout(5):
            while (await client.config(Wanted)).rate_limits.api_calls_per_hour != 77:
                await asyncio.sleep(0.01)
    await hub.kill()
    async with client_of(hub, tmp_path) as again:
        assert (await again.config(Wanted)).rate_limits.api_calls_per_hour == 77
        with pytest.raises(HubError):
            await again.config(Wanted, service="never-asked", timeout=0.2)


async def test_every_value_comes_with_what_differs(hub: HubProcess, tmp_path: Path) -> None:
    async with client_of(hub, tmp_path) as client, client_of(hub, tmp_path, None) as operator:
        diffs = client.config_changes(service="risk", environment="production")
        async with asyncio.timeout(10):
            first = await anext(diffs)
            assert first.changed("/rate_limits")
            await calls(operator, 50)
            second = await anext(diffs)
        assert [(each.path, each.before, each.after) for each in second.changes] == [
            ("/rate_limits/api_calls_per_hour", 10_000, 50)
        ]
        assert not second.changed("/features")
        await diffs.aclose()


async def test_updates_at_once_are_all_made(hub: HubProcess, tmp_path: Path) -> None:
    async with client_of(hub, tmp_path, None) as operator:
        await asyncio.gather(
            operator.update_global_config({"rate_limits": {"api_calls_per_hour": 5}}),
            operator.update_global_config({"features": {"advanced_ai": False}}),
            operator.update_global_config({"resource_limits": {"websocket_connections": 2}}),
        )
        layer = await operator.ask("/config/layers/global")
        assert layer["revision"] == 3
        assert set(layer["document"]) == {"rate_limits", "features", "resource_limits"}
        with pytest.raises(HubError, match="unknown_key"):
            await operator.update_global_config({"rate_limit": {}})


async def test_a_service_takes_up_every_value_and_outlives_a_failure(hub: HubProcess, tmp_path: Path) -> None:
    seen: list[ConfigDiff] = []

    class Service(BaseService):
        async def on_config(self, diff: ConfigDiff) -> None:
            seen.append(diff)
            if len(seen) == 1:
                raise ValueError("the first one is not for me")

    async with client_of(hub, tmp_path) as client, client_of(hub, tmp_path, None) as operator:
        service = Service(ServiceConfig("risk", "1.0", port=1, environment="production"), client)
        await service.start()
        await until(lambda: len(seen) == 1)
        await calls(operator, 50)
        await until(lambda: len(seen) == 2)
        assert seen[1].config["rate_limits"] == {"api_calls_per_hour": 50}
        assert (seen[1].service, seen[1].environment) == ("risk", "production")
        await service.leave()


async def test_the_blocking_face_has_the_same(hub: HubProcess, tmp_path: Path) -> None:
    def ask() -> tuple[int, int, int]:
        acme = SyncHubClient(hub.url, cache_dir=tmp_path / "sync", tenant_id="acme", tier="pro")
        with acme, SyncHubClient(hub.url, cache_dir="") as operator:
            first = next(acme.config_changes())
            revision = operator.update_global_config({"features": {"advanced_ai": False}})["revision"]
            return acme.config(Wanted).rate_limits.api_calls_per_hour, len(first.changes), revision

    assert await asyncio.to_thread(ask) == (10_000, 7, 1)


def test_a_difference_names_each_place_by_its_pointer() -> None:
    before, after = {"a": {"b": 1, "c/d": [1]}, "e": "x"}, {"a": {"b": 2, "c/d": [1]}, "f": True}
    found = [(each.path, each.before, each.after) for each in difference(before, after)]
    assert found == [("/a/b", 1, 2), ("/e", "x", msgspec.UNSET), ("/f", msgspec.UNSET, True)]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, 1.5]) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b/c", "~"]), inner, max_size=3),
)
_DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c/d", "e~f"]), _VALUES, max_size=4)


def leaves_of(prefix: str, document: dict[str, Any]) -> dict[str, bytes]:
    """Return the leaves of a document, encoded, found by going through all of it."""
    found: dict[str, bytes] = {}
    for key, value in document.items():
        path = f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}"
        found |= leaves_of(path, value) if isinstance(value, dict) else {path: msgspec.json.encode(value)}
    return found


@given(_DOCUMENTS, _DOCUMENTS)
def test_a_difference_is_every_leaf_that_is_written_otherwise_and_no_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    def written(value: Any) -> bytes | None:
        return None if value is msgspec.UNSET else msgspec.json.encode(value)

    old, new = leaves_of("", before), leaves_of("", after)
    meant = [(path, old.get(path), new.get(path)) for path in sorted(old.keys() | new.keys())]
    found = [(each.path, written(each.before), written(each.after)) for each in difference(before, after)]
    assert found == [change for change in meant if change[1] != change[2]]


@pytest.mark.timeout(60)
async def test_values_are_put_on_disk_beside_the_stream_and_the_last_one_on_closing(
    hub: HubProcess, tmp_path: Path
) -> None:
    async with client_of(hub, tmp_path, None) as operator, client_of(hub, tmp_path) as client:
        changes = client.config_changes()
        await anext(changes)
        for limit in range(700, 710):
            await operator.update_global_config({"rate_limits": {"api_calls_per_hour": limit}})
            assert (await anext(changes)).config["rate_limits"]["api_calls_per_hour"] == limit
        await changes.aclose()
    (saved,) = (tmp_path / "cache").glob("config-*.json")
    assert b'"api_calls_per_hour":709' in saved.read_bytes()


class Waiting:
    """A link on which these chunks wait, and then nothing more comes."""

    def __init__(self, *chunks: bytes) -> None:
        self.protocol = HubProtocol("http://hub", mint=str)
        self._chunks = chunks

    @contextlib.asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[Any]:
        async def chunks() -> AsyncIterator[bytes]:
            for chunk in self._chunks:
                yield chunk
            await asyncio.Event().wait()

        yield None, chunks()


def said(number: int, service: str = "") -> bytes:
    event = {"environment": "", "etag": f'"{number}"', "service": service, "config": {"number": number}}
    return b"event: config\ndata: " + msgspec.json.encode(event) + b"\n\n"


async def test_of_values_that_wait_the_last_of_each_variant_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    decode = configuration._read_event

    def reading(data: bytes) -> Any:
        read.append(data)
        return decode(data)

    monkeypatch.setattr(configuration, "_read_event", reading)
    one = Configurations(Waiting(said(1) + said(2) + said(3), said(4)), None)  # pyright: ignore
    changes = one.changes(("", ""))
    assert [(await anext(changes)).config, len(read)] in ([{"number": 3}, 1], [{"number": 4}, 2])
    await one.close()
    read.clear()
    two = Configurations(Waiting(said(1, "risk") + said(2) + said(3) + said(4, "risk") + said(5)), None)  # pyright: ignore
    for service in ("risk", ""):
        await two._want((service, ""))
    assert await two.value(("", ""), dict) == {"number": 5}
    assert await two.value(("risk", ""), dict) == {"number": 4}
    assert len(read) == 2
    await two.close()
