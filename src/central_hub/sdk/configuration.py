"""The tenant's configuration beside a process: followed by a stream, typed, and the last good value on disk.

While the hub is away the last value stays in force, also over a restart. A value that does not fit the type a program
asks for is not handed out: the program keeps what it has, and hears of the next one. A value that a service refuses is
not in force, and not what a restart begins with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.link import HubLink
from central_hub.sdk.model import VIEW_SAVE_S
from central_hub.sdk.protocol import read, segment
from central_hub.sdk.secret_values import REFERENCE
from central_hub.sdk.sse import Event, SseParser
from central_hub.sdk.store import write_private

FIRST_VALUE_S: Final = 5.0
SAVED_FORMAT: Final = 1
SAVED_BYTES_MAX: Final = 16 * 1024 * 1024
REFUSAL_LENGTH_MAX: Final = 200

_log: Final = logging.getLogger("central_hub")

T = TypeVar("T")
Json = Any  # Any: a JSON document
AS_IT_IS: Final = cast("type[Any]", dict)  # Any: JSON
_PLAIN: Final = frozenset((bool, int, str, type(None)))
"""Types whose equal values are written alike."""
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

    def read(self, kind: type[T]) -> T:
        """Return the value as `kind`, a `msgspec.Struct` with the sections that are needed for example.

        Raises:
            HubError: `config_mismatch` (422); raised out of `on_config` it refuses the value.
        """
        return converted(self.config, kind)


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    """What the stream says, and what is kept on disk."""

    etag: str
    config: dict[str, Any]  # Any: JSON
    service: str = ""
    environment: str = ""


_NOTHING_REFUSED: Final[tuple[str, str]] = ("", "")
_read_event: Final = msgspec.json.Decoder(_Event).decode


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    values: list[_Event]


class Configurations:
    """Follows the values that a process asks for.

    Args:
        link: how the hub is reached.
        path: the file that keeps the last values; None to keep them in memory only.
        instance: the instance whose values they are; a rollout may reach it before others.
    """

    def __init__(self, link: HubLink, path: Path | None, instance: str = "") -> None:
        self._link = link
        self._path = path
        self.instance = instance
        self.on_connected: list[Callable[[], None]] = []
        self._good: dict[Variant, _Event] = {}
        self._judged: set[Variant] = set()
        self._values: dict[Variant, _Event] = {}
        self._wanted: dict[Variant, None] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._wanted_more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._saver: asyncio.Task[None] | None = None
        self._loaded = False
        self._unsaved = asyncio.Event()
        self._saving = threading.Lock()
        self.connected = False
        self.failures = 0
        self.last_refusal: HubError | None = None

    async def close(self) -> None:
        """Stop following; what came last is on disk then."""
        for task in (self._task, self._saver):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._saver = None
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
                async with asyncio.timeout(timeout_s):
                    while variant not in self._values and not self._is_refused():
                        await self._news()
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
                yield _diff(variant, seen, held)
            seen = held

    async def follow(
        self,
        variant: Variant,
        take_up: Callable[[ConfigDiff], Awaitable[None]],
        say: Callable[[str, str], None],
    ) -> None:
        """Hand the value now and every other one to `take_up`, one at a time, until cancelled.

        Args:
            variant: which.
            take_up: raises to refuse a value, which then is neither in force here nor kept on disk.
            say: told the entity tag of every value that was taken up, or of one that was refused and why.
        """
        self._judged.add(variant)
        await self._want(variant)
        seen: _Event | None = None
        good: _Event | None = None
        refused: tuple[str, str] = _NOTHING_REFUSED
        while True:
            seen = held = await self._other(variant, seen)
            if held.etag != refused[0] and (good is None or held.etag != good.etag):
                reason = await _tried(take_up, _diff(variant, good, held))
                if reason is None:
                    good, refused = held, _NOTHING_REFUSED
                    self._good[variant] = held
                    self._unsaved.set()
                else:
                    refused = (held.etag, reason)
            if held.etag == refused[0]:
                if good is not None and self._values.get(variant) is held:
                    seen = self._values[variant] = good
                say(*refused)
            else:
                refused = _NOTHING_REFUSED
                say(held.etag, "")

    async def read_again(self, tenant_id: str) -> None:
        """Ask once for every value that is followed, as when somebody said that they may be others.

        Raises:
            HubError: what the hub refused, or `hub_unreachable` (503).
        """
        for variant in tuple(self._wanted):
            named = {
                "service": variant[0] or None,
                "environment": variant[1] or None,
                "instance": self.instance or None,
            }
            request = self._link.protocol.get(
                f"/config/{segment(tenant_id)}", {name: value for name, value in named.items() if value}
            )
            reply = await self._link.send(request)
            value = _Event(
                etag=reply.headers.get("etag", ""),
                config=read(reply)["config"],
                service=variant[0],
                environment=variant[1],
            )
            held = self._values.get(variant)
            if held is None or held.etag != value.etag:
                self._values[variant] = value
                self._unsaved.set()
                self._tell()

    @property
    def is_used(self) -> bool:
        """Whether somebody has asked for a value already."""
        return self._loaded

    async def _other(self, variant: Variant, than: _Event | None) -> _Event:
        while (held := self._values.get(variant)) is None or held is than:
            await self._news()
        return held

    async def _news(self) -> None:
        """Wait until something came, or the stream has ended."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _tell(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def _want(self, variant: Variant) -> None:
        if not self._loaded:
            self._loaded = True
            for event in await asyncio.to_thread(self._load):
                self._values.setdefault((event.service, event.environment), event)
                self._good.setdefault((event.service, event.environment), event)
        if variant not in self._wanted:
            self._wanted[variant] = None
            self._wanted_more.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="central_hub.configuration")
        if self._saver is None and self._path is not None:
            self._saver = asyncio.create_task(self._save_now_and_then(), name="central_hub.configuration.save")

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
                self._disconnected(error)
                asked_s = (error.retry_after_s or 0) if isinstance(error, HubError) else 1
                wait_s = backoff.next_s(random.random(), at_least_s=asked_s)  # noqa: S311  # jitter
                with contextlib.suppress(TimeoutError):
                    # Not wait_for: before Python 3.12 that can swallow a cancellation.
                    async with asyncio.timeout(wait_s):
                        await self._wanted_more.wait()
            finally:
                self.connected = False
                more.cancel()
                stream.cancel()
                await asyncio.gather(stream, more, return_exceptions=True)

    async def _stream(self, wanted: tuple[Variant, ...], backoff: Backoff) -> None:
        async with self._link.stream(self._link.protocol.watch_config(wanted, self.instance)) as (_, chunks):
            parser = SseParser()
            async for chunk in chunks:
                events = [event for event in parser.feed(chunk) if event.name == "config"]
                if not events:
                    continue
                if not self.connected:
                    for told in self.on_connected:
                        told()
                self.connected, self.last_refusal = True, None
                backoff.reset()
                self._values.update(self._newest(events, wanted))
                self._unsaved.set()
                self._tell()
        raise self._link.ended()

    async def _save_now_and_then(self) -> None:
        """Put on disk what came: the first at once, then what has come since, beside the stream."""
        while True:
            await self._unsaved.wait()
            await self._keep()
            await asyncio.sleep(VIEW_SAVE_S)

    async def _keep(self) -> None:
        """Put on disk what is not there yet; whoever is interrupted in it leaves it to `close`."""
        if self._path is not None and self._unsaved.is_set():
            self._unsaved.clear()
            try:
                await asyncio.to_thread(self._save, self._path)
            except asyncio.CancelledError:
                self._unsaved.set()
                raise

    def _newest(self, events: Sequence[Event], wanted: tuple[Variant, ...]) -> dict[Variant, _Event]:
        """Return the last value of each variant: what a busy process finds waiting is state, not history."""
        found: dict[Variant, _Event] = {}
        for event in reversed(events):
            value = _read_event(event.data)
            found.setdefault(self._asked(value, wanted), value)
            if len(found) == len(wanted):
                break
        return found

    def _asked(self, value: _Event, wanted: tuple[Variant, ...]) -> Variant:
        """Return the variant that a value answers: a key of one environment is told it where none was named."""
        exact = (value.service, value.environment)
        return exact if exact in wanted else (value.service, "")

    def _disconnected(self, error: Exception) -> None:
        self.connected = False
        if isinstance(error, HubError):
            self.last_refusal = error
        self._tell()

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

    def _save(self, path: Path) -> None:
        with self._saving:  # whoever writes last writes the newest
            unjudged = {variant: event for variant, event in self._values.items() if variant not in self._judged}
            values = list({**self._good, **unjudged}.items())
            kept = [msgspec.structs.replace(event, service=key[0], environment=key[1]) for key, event in values]
            try:
                write_private(path, msgspec.json.encode(_Saved(format=SAVED_FORMAT, values=kept)))
            except OSError:
                self.failures += 1


def _diff(variant: Variant, before: _Event | None, now: _Event) -> ConfigDiff:
    return ConfigDiff(
        config=now.config,
        etag=now.etag,
        changes=difference({} if before is None else before.config, now.config),
        service=variant[0],
        environment=variant[1],
    )


async def _tried(take_up: Callable[[ConfigDiff], Awaitable[None]], diff: ConfigDiff) -> str | None:
    """Return None where a value was taken up, and otherwise why it was not, in one line."""
    try:
        await take_up(diff)
    except Exception as error:
        _log.exception("on_config failed for %s; the service goes on with what it has", diff.etag)
        return f"{type(error).__name__}: {error}".splitlines()[0][:REFUSAL_LENGTH_MAX]
    return None


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
    found: list[ConfigChange] = []
    _compare("", before, after, found)
    found.sort(key=lambda change: change.path)
    return tuple(found)


def _compare(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any], found: list[ConfigChange]) -> None:
    for key, new in after.items():
        old = before.get(key, msgspec.UNSET)
        if old is new or (type(old) is type(new) and type(new) in _PLAIN and old == new):
            continue
        path = _below(prefix, key)
        if _is_object(old) and _is_object(new):
            _compare(path, cast("dict[str, Any]", old), cast("dict[str, Any]", new), found)
        elif old is msgspec.UNSET or msgspec.json.encode(old) != msgspec.json.encode(new):
            gone, come = _leaves(path, old), _leaves(path, new)
            found += [ConfigChange(path=at, before=value) for at, value in gone.items() if at not in come]
            found += [ConfigChange(path=at, before=gone.get(at, msgspec.UNSET), after=come[at]) for at in come]
    for key, old in before.items():
        if key not in after:
            found += [ConfigChange(path=at, before=value) for at, value in _leaves(_below(prefix, key), old).items()]


def _is_object(value: Json) -> bool:
    """Say whether a value has leaves of its own; a reference to a secret is one itself."""
    return isinstance(value, dict) and REFERENCE not in value


def _below(prefix: str, key: str) -> str:
    if "~" in key or "/" in key:
        key = key.replace("~", "~0").replace("/", "~1")
    return f"{prefix}/{key}"


def _leaves(path: str, value: Json) -> dict[str, Json]:
    """Return the leaves of a value at a place by pointer; of an object without members, and of UNSET, none."""
    if value is msgspec.UNSET:
        return {}
    if not _is_object(value):
        return {path: value}
    found: dict[str, Json] = {}
    for key, below in cast("dict[str, Any]", value).items():
        found.update(_leaves(_below(path, key), below))
    return found
