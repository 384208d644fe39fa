"""The tenant's configuration beside a process: followed by a stream, typed, and the last good value on disk.

While the hub is away the last value stays in force, also over a restart. A value that does not fit the type a program
asks for is not handed out: the program keeps what it has, and hears of the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import unreachable
from central_hub.sdk.sse import SseParser
from central_hub.sdk.store import write_private

FIRST_VALUE_S: Final = 5.0
SAVED_FORMAT: Final = 1
SAVED_BYTES_MAX: Final = 16 * 1024 * 1024

T = TypeVar("T")
Json = Any  # Any: a JSON document
AS_IT_IS: Final = cast("type[Any]", dict)  # Any: JSON
Variant = tuple[str, str]
"""A service and an environment, empty for none in particular."""


class ConfigChange(msgspec.Struct, frozen=True, kw_only=True):
    """What differs at one place; `before` or `after` is UNSET where there is nothing."""

    path: str
    before: Json = msgspec.UNSET
    after: Json = msgspec.UNSET


class ConfigDiff(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is in force from now on, and how it differs from the one before."""

    config: dict[str, Any]  # Any: JSON
    etag: str
    changes: tuple[ConfigChange, ...]
    service: str = ""
    environment: str = ""

    def changed(self, prefix: str) -> bool:
        """Say whether something at a place or below it differs, as `/rate_limits`."""
        return any(change.path == prefix or change.path.startswith(prefix + "/") for change in self.changes)


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """What the stream says, and what is kept on disk."""

    etag: str
    config: dict[str, Any]  # Any: JSON
    service: str = ""
    environment: str = ""


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    values: list[_Event]


class Configurations:
    """Follows the values that a process asks for.

    Args:
        link: how the hub is reached.
        path: the file that keeps the last values; None to keep them in memory only.
    """

    def __init__(self, link: HubLink, path: Path | None) -> None:
        self._link = link
        self._path = path
        self._values: dict[Variant, _Event] = {}
        self._wanted: dict[Variant, None] = {}
        self._arrived = asyncio.Condition()
        self._wanted_more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loaded = False
        self._unsaved = False
        self.connected = False
        self.failures = 0
        self.last_refusal: HubError | None = None

    async def close(self) -> None:
        """Stop following; what came last is on disk then."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self.connected = False
        await self._keep()

    async def value(self, variant: Variant, kind: type[T], timeout_s: float = FIRST_VALUE_S) -> T:
        """Return the value in force as `kind`; the first one is waited for.

        Raises:
            HubError: what the hub refused, or `config_unknown` (503) when no value ever came;
                `config_mismatch` (422) when it does not fit `kind`.
        """
        await self._want(variant)
        if variant not in self._values:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s), self._arrived:
                    await self._arrived.wait_for(lambda: variant in self._values or self._is_refused())
        held = self._values.get(variant)
        if held is None:
            raise self.last_refusal or HubError(
                "config_unknown",
                Kind.UNAVAILABLE,
                "The hub has not said the configuration yet, and no value of an earlier run is on disk.",
                next_step="Start with defaults of your own, and follow config_changes().",
            )
        return converted(held.config, kind)

    async def changes(self, variant: Variant) -> AsyncIterator[ConfigDiff]:
        """Yield the value now, as a difference from nothing, and every other one from then on."""
        await self._want(variant)
        seen: _Event | None = None
        while True:
            held = await self._other(variant, seen)
            if seen is None or held.etag != seen.etag:
                before = {} if seen is None else seen.config
                yield ConfigDiff(
                    config=held.config,
                    etag=held.etag,
                    changes=difference(before, held.config),
                    service=variant[0],
                    environment=variant[1],
                )
            seen = held

    async def _other(self, variant: Variant, than: _Event | None) -> _Event:
        async with self._arrived:
            await self._arrived.wait_for(lambda: self._values.get(variant) not in (None, than))
        return self._values[variant]

    async def _want(self, variant: Variant) -> None:
        if not self._loaded:
            self._loaded = True
            for event in await asyncio.to_thread(self._load):
                self._values.setdefault((event.service, event.environment), event)
        if variant not in self._wanted:
            self._wanted[variant] = None
            self._wanted_more.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="central_hub.configuration")

    def _is_refused(self) -> bool:
        return self.last_refusal is not None and self.last_refusal.kind not in (Kind.UNAVAILABLE, Kind.LIMIT)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            self._wanted_more.clear()
            stream = asyncio.create_task(self._stream(tuple(self._wanted), backoff))
            more = asyncio.create_task(self._wanted_more.wait())
            try:
                await asyncio.wait((stream, more), return_when=asyncio.FIRST_COMPLETED)
                if not stream.done():
                    continue
                stream.result()
            except (HubError, msgspec.DecodeError) as error:
                await self._disconnected(error)
                asked_s = (error.retry_after_s or 0) if isinstance(error, HubError) else 1
                wait_s = backoff.next_s(random.random(), at_least_s=asked_s)  # noqa: S311  # jitter
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted_more.wait(), wait_s)
            finally:
                self.connected = False
                more.cancel()
                stream.cancel()
                await asyncio.gather(stream, more, return_exceptions=True)

    async def _stream(self, wanted: tuple[Variant, ...], backoff: Backoff) -> None:
        async with self._link.stream(self._link.protocol.watch_config(wanted)) as (_, chunks):
            parser = SseParser()
            async for chunk in chunks:
                events = [event for event in parser.feed(chunk) if event.name == "config"]
                if not events:
                    continue
                self.connected, self.last_refusal = True, None
                backoff.reset()
                for event in events:
                    value = msgspec.json.decode(event.data, type=_Event)
                    self._values[self._asked(value, wanted)] = value
                self._unsaved = True
                async with self._arrived:
                    self._arrived.notify_all()
                await self._keep()
        raise unreachable(self._link.protocol.base_url, "the stream ended")

    async def _keep(self) -> None:
        """Put on disk what is not there yet; whoever is interrupted in it leaves it to `close`."""
        if self._unsaved:
            await asyncio.to_thread(self._save, list(self._values.items()))
            self._unsaved = False

    def _asked(self, value: _Event, wanted: tuple[Variant, ...]) -> Variant:
        """Return the variant that a value answers: a key of one environment is told it where none was named."""
        exact = (value.service, value.environment)
        return exact if exact in wanted else (value.service, "")

    async def _disconnected(self, error: Exception) -> None:
        self.connected = False
        if isinstance(error, HubError):
            self.last_refusal = error
        async with self._arrived:
            self._arrived.notify_all()

    def _load(self) -> list[_Event]:
        if self._path is None:
            return []
        try:
            if self._path.stat().st_size > SAVED_BYTES_MAX:
                return []
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError):
            self.failures += 1
            return []
        return saved.values if saved.format == SAVED_FORMAT else []

    def _save(self, values: list[tuple[Variant, _Event]]) -> None:
        if self._path is None:
            return
        kept = [msgspec.structs.replace(event, service=key[0], environment=key[1]) for key, event in values]
        try:
            write_private(self._path, msgspec.json.encode(_Saved(format=SAVED_FORMAT, values=kept)))
        except OSError:
            self.failures += 1


def converted(config: Mapping[str, Any], kind: type[T]) -> T:
    """Return a configuration as a type.

    Raises:
        HubError: `config_mismatch` (422).
    """
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise HubError(
            "config_mismatch",
            Kind.MALFORMED,
            f"The configuration is not what this program takes: {error}.",
            next_step="Correct the layer; GET /config/{tenant_id}/explain says which.",
        ) from None


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ConfigChange, ...]:
    """Return what differs between two documents, by JSON pointer, in order."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    return tuple(
        ConfigChange(path=path, before=old.get(path, msgspec.UNSET), after=new.get(path, msgspec.UNSET))
        for path in sorted(old.keys() | new.keys())
        if msgspec.json.encode(old.get(path)) != msgspec.json.encode(new.get(path))
    )


def _leaves(prefix: str, document: Mapping[str, Any]) -> list[tuple[str, Json]]:
    found: list[tuple[str, Json]] = []
    for key, value in document.items():
        path = f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}"
        if isinstance(value, dict):
            found += _leaves(path, cast("dict[str, Any]", value))
        else:
            found.append((path, value))
    return found
