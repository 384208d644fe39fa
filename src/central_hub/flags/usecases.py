"""Commands about flags, segments and tenants' overrides."""

from __future__ import annotations

import msgspec

from central_hub.flags.model import (
    COUNT_FLAGS,
    COUNT_OVERRIDES,
    COUNT_SEGMENTS,
    FLAGS_MAX,
    OVERRIDES_PER_TENANT_MAX,
    SCOPE_ADMIN,
    SEGMENTS_MAX,
    Definition,
    FlagDefined,
    FlagOverridden,
    FlagOverrideRemoved,
    FlagStateSet,
    Override,
    Segment,
    SegmentDefined,
    SegmentRemoved,
    State,
    flag_stream,
    segment_stream,
)
from central_hub.flags.ports import Features, KnownNames
from central_hub.flags.rules import (
    Known,
    check_definition,
    check_override,
    check_revision,
    check_segment,
    flag_missing,
)
from central_hub.flags.view import FlagsView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.sequencer import Sequencer, Tx


class Flags:
    """Defines flags and segments, and sets what single tenants get.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        names: tiers and tenants that rules may name.
        features: entitlements, whose names no flag takes.
    """

    def __init__(self, view: FlagsView, sequencer: Sequencer, names: KnownNames, features: Features) -> None:
        self._view = view
        self._sequencer = sequencer
        self._names = names
        self._features = features

    async def define(self, ctx: TenantContext, wanted: Definition, *, if_match: str | None) -> tuple[Definition, bool]:
        """Create a flag, or replace the revision that `if_match` names; what is the same already writes nothing.

        Returns:
            The flag as it is now, and whether it is new.

        Raises:
            HubError: what `check_definition` and `check_revision` raise; `limit_reached` (429).
        """

        def decide(tx: Tx) -> bool:
            tx.touch(PLATFORM, flag_stream(wanted.key))
            for segment in {name for rule in wanted.rules for name in rule.segments}:
                tx.touch(PLATFORM, segment_stream(segment))
            before = self._view.flag(PLATFORM, wanted.key)
            check_revision(if_match, before.revision if before else 0, document=before)
            flag = check_definition(wanted, self._known())
            if before is None and len(self._view.keys(PLATFORM)) + tx.pending(PLATFORM, COUNT_FLAGS) >= FLAGS_MAX:
                raise _limit("flags", FLAGS_MAX)
            if before is None or _content(before) != _content(flag):
                counts = {COUNT_FLAGS: 1} if before is None else None
                tx.append(PLATFORM, FlagDefined(flag=flag), streams=(flag_stream(flag.key),), counts=counts)
            return before is None

        committed = await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        return self.get(wanted.key), committed.answer

    async def set_state(self, ctx: TenantContext, key: str, state: State, reason: str) -> Definition:
        """Enable, disable or archive a flag, whatever its revision: it is what one does in a hurry.

        Raises:
            HubError: `flag_not_found` (404).
        """

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, flag_stream(key))
            if self.get(key).state is not state:
                fact = FlagStateSet(key=key, state=state, reason=reason)
                tx.append(PLATFORM, fact, streams=(flag_stream(key),))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        return self.get(key)

    def get(self, key: str) -> Definition:
        """Return a flag, archived ones too.

        Raises:
            HubError: `flag_not_found` (404).
        """
        found = self._view.flag(PLATFORM, key)
        if found is None:
            raise flag_missing()
        return found

    async def define_segment(
        self, ctx: TenantContext, wanted: Segment, *, if_match: str | None
    ) -> tuple[Segment, bool]:
        """Create a segment, or replace the revision that `if_match` names.

        Returns:
            The segment as it is now, and whether it is new.

        Raises:
            HubError: `invalid_segment` (422), `limit_reached` (429), what `check_revision` raises.
        """
        segment = check_segment(wanted)

        def decide(tx: Tx) -> bool:
            tx.touch(PLATFORM, segment_stream(segment.name))
            before = self._view.segment(PLATFORM, segment.name)
            check_revision(if_match, before.revision if before else 0, document=before)
            count = len(self._view.segments(PLATFORM)) + tx.pending(PLATFORM, COUNT_SEGMENTS)
            if before is None and count >= SEGMENTS_MAX:
                raise _limit("segments", SEGMENTS_MAX)
            if before is None or _content(before) != _content(segment):
                counts = {COUNT_SEGMENTS: 1} if before is None else None
                stream = segment_stream(segment.name)
                tx.append(PLATFORM, SegmentDefined(segment=segment), streams=(stream,), counts=counts)
            return before is None

        committed = await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        return self.get_segment(segment.name), committed.answer

    async def remove_segment(self, ctx: TenantContext, name: str) -> None:
        """Remove a segment that no rule names; one that is not there is already gone.

        Raises:
            HubError: `segment_in_use` (409).
        """

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, segment_stream(name))
            if self._view.segment(PLATFORM, name) is None:
                return
            users = self._view.flags_with_segment(PLATFORM, name)
            if users:
                raise HubError(
                    "segment_in_use",
                    Kind.CONFLICT,
                    f"Rules of {len(users)} flags name this segment.",
                    next_step=f"Change {', '.join(users[:5])} first.",
                    fields={"flags": list(users[:100])},
                )
            stream = segment_stream(name)
            tx.append(PLATFORM, SegmentRemoved(name=name), streams=(stream,), counts={COUNT_SEGMENTS: -1})

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)

    def get_segment(self, name: str) -> Segment:
        """Return a segment.

        Raises:
            HubError: `segment_not_found` (404).
        """
        found = self._view.segment(PLATFORM, name)
        if found is None:
            raise HubError(
                "segment_not_found",
                Kind.NOT_FOUND,
                "There is no such segment.",
                next_step="List the segments to see their names.",
            )
        return found

    async def override(self, ctx: TenantContext, domain: DomainId, wanted: Override) -> Override:
        """Give a tenant a variant of its own.

        Raises:
            HubError: what `check_override` raises; `limit_reached` (429).
        """
        by_operator = ctx.principal.holds(SCOPE_ADMIN)

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, flag_stream(wanted.key))
            tx.touch(domain, flag_stream(wanted.key))
            override = check_override(wanted, self._view.flag(domain, wanted.key), by_operator=by_operator)
            before = self._view.override(domain, wanted.key)
            count = len(self._view.overrides(domain)) + tx.pending(domain, COUNT_OVERRIDES)
            if before is None and count >= OVERRIDES_PER_TENANT_MAX:
                raise _limit("overrides", OVERRIDES_PER_TENANT_MAX)
            if before is None or _content(before) != _content(override):
                counts = {COUNT_OVERRIDES: 1} if before is None else None
                stream = flag_stream(wanted.key)
                tx.append(domain, FlagOverridden(override=override), streams=(stream,), counts=counts)

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        made = self._view.override(domain, wanted.key)
        assert made is not None
        return made

    async def remove_override(self, ctx: TenantContext, domain: DomainId, key: str) -> None:
        """Let a tenant have what the rules say again; an override that is not there is already gone.

        Raises:
            HubError: `flag_not_overridable` (403).
        """
        by_operator = ctx.principal.holds(SCOPE_ADMIN)

        def decide(tx: Tx) -> None:
            tx.touch(domain, flag_stream(key))
            override = self._view.override(domain, key)
            if override is None:
                return
            flag = self._view.flag(domain, key)
            if flag is not None and not by_operator:
                check_override(msgspec.structs.replace(override, variant=flag.default), flag, by_operator=False)
            fact = FlagOverrideRemoved(key=key)
            tx.append(domain, fact, streams=(flag_stream(key),), counts={COUNT_OVERRIDES: -1})

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def _known(self) -> Known:
        return Known(
            tiers=self._names.tier_names(),
            segments={segment.name for segment in self._view.segments(PLATFORM)},
            features=frozenset(self._features.names()),
            is_tenant=self._names.is_tenant,
        )


def _content(one: Definition | Segment | Override) -> bytes:
    """Return what a person wrote of it: not when, by whom and how often."""
    changes = {"changed_at_ms": 0, "changed_by": ""}
    if isinstance(one, Definition | Segment):
        changes = {"revision": 0, **changes}
    return msgspec.json.encode(msgspec.structs.replace(one, **changes))  # encoded, since true == 1 and 1 == 1.0


def _limit(what: str, limit: int) -> HubError:
    return HubError(
        "limit_reached",
        Kind.LIMIT,
        f"There are {limit} {what} already, which is the limit.",
        next_step=f"Remove {what} that are not needed.",
        retry_after_s=60,
        fields={"limit": limit},
    )
