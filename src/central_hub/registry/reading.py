"""The registry's reads: discovery, one service, one instance, everything visible.

Never touches the disk. An answer without filters joins bytes from the catalogue; with filters,
the same bytes of fewer instances.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.kernel.patience import come_true
from central_hub.registry.catalogue import NO_INSTANCE_MATCHES, Catalogue, Entry, Shown, status_of_service, why_none
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.encoding import encode_discovery, encode_legacy_service, encode_service, with_members
from central_hub.registry.model import Instance, Status
from central_hub.registry.picker import Pick, is_eligible
from central_hub.registry.ports import Access, Positions, Tiers
from central_hub.registry.schemas import DiscoverQuery, ExplainPart, Explanation, Filters
from central_hub.registry.service import Service
from central_hub.registry.usecases import instance_not_found
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import (
    Viewer,
    keys_for,
    require_visible,
    revision_for,
    scope_word,
    viewer_of,
    visible,
)
from central_hub.registry.waiting import WAIT_S_MAX, Waiters

SERVICES_LISTED_MAX: Final = 10_000
SLICE_MS: Final = 1.0
EXPLAINED_MAX: Final = 200
METHOD: Final = "power_of_two_choices"

RandomByte = Callable[[], int]

_json: Final = msgspec.json.Encoder()


class Read(NamedTuple):
    """An encoded answer, a long one in pieces, and its weak ETag."""

    body: bytes | tuple[bytes, ...]
    etag: str = ""


class Reading:
    """Answers what callers ask of the registry.

    Args:
        view: what is registered.
        catalogue: its encoded form.
        waiters: who waits for a change.
        dependencies: where look-ups are noted.
        tiers: for the name of the tier a caller would need.
        access: whether a caller that waited still may.
        positions: heads of domains.
        clock: for slicing.
        random_byte: 0 to 255, uniform; the draw among candidates.
        listed_max: services in one listing.
        patience_s: how long a position beyond the head is waited for: another hub may have written it.
    """

    def __init__(
        self,
        view: RegistryView,
        catalogue: Catalogue,
        waiters: Waiters,
        dependencies: Dependencies,
        tiers: Tiers,
        access: Access,
        positions: Positions,
        clock: Clock,
        random_byte: RandomByte,
        *,
        listed_max: int = SERVICES_LISTED_MAX,
        patience_s: float = 0.0,
    ) -> None:
        self._view = view
        self._catalogue = catalogue
        self._waiters = waiters
        self._dependencies = dependencies
        self._tiers = tiers
        self._access = access
        self._positions = positions
        self._clock = clock
        self._random_byte = random_byte
        self._listed_max = listed_max
        self._patience_s = patience_s

    async def discover(self, ctx: TenantContext, name: str, query: DiscoverQuery) -> Read:
        """Answer where to call a service; see `DiscoverQuery` for filters, waiting and explaining.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403), `position_gone` (410),
                `invalid_query` (400), `too_many_waiters` (429).
        """
        if query.wait_seq is not None:
            if self._view.service(SHARED, name) is not None:
                # Whoever may not see it does not learn when it changes either.
                require_visible(self._view, viewer_of(ctx), name, self._tiers)
            ctx = await self.wait(ctx, name, query.wait_seq, query.wait_s)
        viewer = viewer_of(ctx)
        entry = await self._entry(viewer, name)
        if ctx.caller_service:
            self._dependencies.counter(viewer.domain, ctx.caller_service, name).count += 1
        revision = revision_for(self._view, viewer, name)
        if not query.given and not query.near and not query.explain and revision == entry.revision:
            return Read(entry.lane.body(self._random_byte()), entry.etag)
        return self._selected(entry, query, revision)

    async def prepare(self, ctx: TenantContext, names: Iterable[str]) -> None:
        """Have services of many instances encoded before they are sent in one piece; unknown names are passed over."""
        viewer = viewer_of(ctx)
        for name in names:
            found = visible(self._view, viewer, name)
            if found is not None:
                await self._catalogue.prepare(*found)

    async def service(self, ctx: TenantContext, name: str, filters: Filters) -> Read:
        """Answer one service with the instances that pass the filters.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403).
        """
        viewer = viewer_of(ctx)
        entry = await self._entry(viewer, name)
        return Read(self._encoded(viewer, entry, filters), entry.etag)

    async def instance(self, ctx: TenantContext, name: str, instance_id: str) -> Read:
        """Answer one instance.

        Raises:
            HubError: `service_not_found`, `instance_not_found` (404), `tier_too_low` (403).
        """
        entry = await self._entry(viewer_of(ctx), name)
        shown = entry.shown.get(instance_id)
        if shown is None:
            raise instance_not_found(name, instance_id)
        return Read(with_members(shown.encoded, {"service_name": name, "domain": scope_word(entry.domain)}))

    async def services(self, ctx: TenantContext, filters: Filters, *, legacy_mode: bool = False) -> Read:
        """Answer everything the caller sees, by name, in slices that leave the event loop free.

        Args:
            legacy_mode: the shape and the view of callers from before tenants: shared services
                without requirements, their address beside their instances.
        """
        legacy = legacy_mode or ctx.legacy
        viewer = Viewer(SHARED, 0, legacy=True) if legacy else viewer_of(ctx)
        own = list(self._view.services(viewer.domain)) if viewer.domain != SHARED else []
        names = [(viewer.domain, name) for name in own] + [(SHARED, name) for name in self._view.services(SHARED)]
        pieces: list[bytes] = [b'{"services":{']
        truncated = False
        begun = self._clock.monotonic_ms()
        for domain, name in names:
            found = visible(self._view, viewer, name)
            if found is not None and found[0] == domain:
                if len(pieces) > self._listed_max:
                    truncated = True
                    break
                if await self._catalogue.prepare(domain, found[1]):
                    found = visible(self._view, viewer, name)
                    if found is None or found[0] != domain:
                        continue
                piece = self._listed(viewer, domain, found[1], filters, legacy=legacy)
                if piece:
                    pieces.append((b"," if len(pieces) > 1 else b"") + _json.encode(name) + b":" + piece)
            if self._clock.monotonic_ms() - begun >= SLICE_MS:
                await asyncio.sleep(0)
                begun = self._clock.monotonic_ms()
        pieces.append(b'},"truncated":true}' if truncated else b'},"truncated":false}')
        return Read(tuple(pieces))

    async def wait(self, ctx: TenantContext, name: str, seq: int, seconds: float) -> TenantContext:
        """Block until the service's revision is past `seq`, or the time is up.

        Returns:
            The caller's context as it is now.

        Raises:
            HubError: `position_gone` (410) for a position beyond the head, `invalid_query` (400),
                and whatever has become of the caller's access.
        """
        if not 0 <= seconds <= WAIT_S_MAX or seq < 0:
            raise HubError(
                "invalid_query",
                Kind.INVALID,
                f"wait_s is from 0 to {WAIT_S_MAX:g} seconds and wait_seq is not negative.",
                next_step="Correct the query string.",
            )
        viewer = viewer_of(ctx)
        if not await come_true(lambda: seq <= self._head(viewer, name), self._patience_s):
            raise HubError(
                "position_gone",
                Kind.GONE,
                "That position is beyond the head of the log: it belongs to another history.",
                next_step="Read without wait_seq and go on from the revision of that answer.",
            )
        deadline = self._clock.monotonic_ms() + seconds * 1000
        while revision_for(self._view, viewer, name) <= seq:
            left = (deadline - self._clock.monotonic_ms()) / 1000
            if left <= 0 or not await self._waiters.wait(viewer.domain, keys_for(viewer, name), left):
                break
            ctx = self._access.current(ctx)
            viewer = viewer_of(ctx)
        return self._access.current(ctx)

    async def _entry(self, viewer: Viewer, name: str) -> Entry:
        """Return a service's entry; one of many instances is made in several steps of the event loop."""
        domain, service = require_visible(self._view, viewer, name, self._tiers)
        if self._catalogue.at_hand(domain, service) is not None:
            return self._catalogue.entry(domain, service)
        if await self._catalogue.prepare(domain, service):
            # Others ran meanwhile: it may have changed, or gone.
            domain, service = require_visible(self._view, viewer, name, self._tiers)
        entry = self._catalogue.entry(domain, service)
        # Neither a look at who may be recommended nor the answer that says so shares a step with the rest.
        await asyncio.sleep(0)
        _ = entry.pick
        await asyncio.sleep(0)
        return entry

    def _head(self, viewer: Viewer, name: str) -> int:
        """Return the largest revision the name could have by now."""
        heads = [
            self._positions.position(domain)
            for domain, _ in keys_for(viewer, name)
            if self._view.revision(domain, name) > 0
        ]
        return sum(heads) or sum(self._positions.position(domain) for domain, _ in keys_for(viewer, name))

    def _listed(
        self, viewer: Viewer, domain: DomainId, service: Service, filters: Filters, *, legacy: bool
    ) -> bytes | None:
        entry = self._catalogue.entry(domain, service)
        if legacy:
            shown = _filtered(entry, filters)
            best = next((one for one in shown if is_eligible(one.instance, one.status)), shown[0] if shown else None)
            return encode_legacy_service(best.instance, [one.encoded for one in shown]) if best else None
        if filters.given and not _filtered(entry, filters):
            return None
        return self._encoded(viewer, entry, filters)

    def _encoded(self, viewer: Viewer, entry: Entry, filters: Filters) -> bytes:
        shown = _filtered(entry, filters)
        return encode_service(
            entry.name,
            entry.domain,
            [one.instance for one in shown],
            [one.encoded for one in shown],
            revision=revision_for(self._view, viewer, entry.name),
            status=entry.status if not filters.given else status_of_service(shown),
        )

    def _selected(self, entry: Entry, query: DiscoverQuery, revision: int) -> Read:
        shown = _filtered(entry, query)
        chosen = self._catalogue.choose(entry.domain, shown, near=query.near)
        reason = why_none(shown) if shown else NO_INSTANCE_MATCHES
        answer = encode_discovery(
            entry.name, entry.domain, chosen, [one.encoded for one in shown], revision=revision, reason=reason
        )
        slot = self._random_byte()
        body = answer.body(chosen.draw(slot))
        if query.explain:
            body = with_members(body, {"explain": self._explanation(entry, query, chosen, shown, slot)})
        return Read(body, entry.etag)

    def _explanation(
        self, entry: Entry, query: DiscoverQuery, chosen: Pick, shown: list[Shown], slot: int
    ) -> Explanation:
        passed = {one.instance.instance_id for one in shown}
        excluded = {name: "filtered" for name in entry.shown if name not in passed}
        for one in shown:
            if one.instance.draining:
                excluded[one.instance.instance_id] = "draining"
            elif one.status is Status.UNHEALTHY:
                excluded[one.instance.instance_id] = "unhealthy"
        given = msgspec.structs.asdict(query)
        return Explanation(
            method=METHOD,
            domain=scope_word(entry.domain),
            required_tier=self._tiers.tier_at(entry.rank) if entry.rank else None,
            filters={name: given[name] for name in Filters.__struct_fields__ if given[name]},
            excluded=dict(list(excluded.items())[:EXPLAINED_MAX]),
            near=chosen.zone,
            slot=slot if chosen.candidates else None,
            candidates=[
                msgspec.convert(msgspec.structs.asdict(chosen.part(index)), ExplainPart)
                for index in range(min(EXPLAINED_MAX, len(chosen.candidates)))
            ],
        )


def _filtered(entry: Entry, filters: Filters) -> list[Shown]:
    if not filters.given:
        return list(entry.shown.values())
    return [one for one in entry.shown.values() if matches(one.instance, one.status, filters)]


def matches(instance: Instance, status: Status, filters: Filters) -> bool:
    """Say whether an instance passes every filter that is given."""
    if filters.version is not None and instance.version != filters.version:
        return False
    if filters.zone is not None and instance.zone != filters.zone:
        return False
    if any(tag not in instance.tags for tag in filters.tag):
        return False
    if filters.healthy is not None and filters.healthy != (status is Status.HEALTHY and not instance.draining):
        return False
    return all(_text(_at(instance.metadata, key)) == value for key, value in filters.metadata.items())


def _at(metadata: dict[str, Any], key: str) -> object:  # Any: JSON of the registrant
    if key in metadata:
        return metadata[key]
    current: object = metadata
    for part in key.split("."):
        if not isinstance(current, dict) or part not in current:
            return None
        current = current[part]  # pyright: ignore[reportUnknownVariableType]  # JSON of the registrant
    return current  # pyright: ignore[reportUnknownVariableType]  # any JSON


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return None if value is None or isinstance(value, dict | list) else _json.encode(value).decode()
