"""The rows of managing flags, segments and overrides, and their handlers."""

from __future__ import annotations

from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.flags.evaluation import Asker, FlagSets
from central_hub.flags.explaining import ExplainedStep, Explanation, Walk
from central_hub.flags.model import (
    DEFAULT_ENVIRONMENT,
    DEFINITION_BYTES_MAX,
    SCOPE_ADMIN,
    SCOPE_READ,
    SCOPE_WRITE,
    SEGMENT_BYTES_MAX,
    Override,
    State,
)
from central_hub.flags.preparing import ENVIRONMENT, TENANT_ID, TIER
from central_hub.flags.rules import check_environment, etag_of, flag_missing
from central_hub.flags.schemas import (
    DefineFlag,
    DefineSegment,
    ExplainFlag,
    FlagAnswer,
    FlagList,
    FlagPage,
    NamePage,
    OverrideAnswer,
    OverrideList,
    SegmentAnswer,
    SegmentList,
    SetOverride,
    SetState,
    definition_of,
    flag_answer,
    override_answer,
    segment_answer,
    segment_of,
)
from central_hub.flags.usecases import Flags
from central_hub.flags.view import FlagsView
from central_hub.kernel.ids import PLATFORM, DomainId

TAG: Final = "flags"


class FlagRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(self, flags: Flags, view: FlagsView, sets: FlagSets) -> None:
        self._flags = flags
        self._view = view
        self._sets = sets

    async def list_flags(self, call: Call) -> Reply:
        """List definitions by page."""
        page: FlagPage = call.query
        wanted = [
            flag
            for flag in self._view.flags(PLATFORM)
            if flag.key > (page.cursor or "")
            and (flag.state is page.state if page.state else flag.state is not State.ARCHIVED)
        ]
        more = wanted[page.limit - 1].key if len(wanted) > page.limit else None
        return Reply(FlagList(flags=[flag_answer(flag) for flag in wanted[: page.limit]], next_cursor=more))

    async def get_flag(self, call: Call) -> Reply:
        """Show a definition."""
        flag = self._flags.get(call.path["flag_key"])
        return Reply(flag_answer(flag), headers=(("etag", etag_of(flag.revision)),))

    async def define_flag(self, call: Call) -> Reply:
        """Create a flag, or replace the revision that If-Match names."""
        body: DefineFlag = call.body
        wanted = definition_of(call.path["flag_key"], body)
        flag, created = await self._flags.define(call.ctx, wanted, if_match=call.headers.get("if-match"))
        return Reply(flag_answer(flag), status=201 if created else 200, headers=(("etag", etag_of(flag.revision)),))

    async def set_flag_state(self, call: Call) -> Reply:
        """Enable, disable or archive a flag at once."""
        body: SetState = call.body
        flag = await self._flags.set_state(call.ctx, call.path["flag_key"], body.state, body.reason)
        return Reply(flag_answer(flag), headers=(("etag", etag_of(flag.revision)),))

    async def list_segments(self, call: Call) -> Reply:
        """List segments by page."""
        page: NamePage = call.query
        found = [one for one in self._view.segments(PLATFORM) if one.name > (page.cursor or "")]
        more = found[page.limit - 1].name if len(found) > page.limit else None
        return Reply(SegmentList(segments=[segment_answer(one) for one in found[: page.limit]], next_cursor=more))

    async def get_segment(self, call: Call) -> Reply:
        """Show a segment."""
        segment = self._flags.get_segment(call.path["name"])
        return Reply(segment_answer(segment), headers=(("etag", etag_of(segment.revision)),))

    async def define_segment(self, call: Call) -> Reply:
        """Create a segment, or replace the revision that If-Match names."""
        body: DefineSegment = call.body
        wanted = segment_of(call.path["name"], body)
        segment, created = await self._flags.define_segment(call.ctx, wanted, if_match=call.headers.get("if-match"))
        return Reply(
            segment_answer(segment), status=201 if created else 200, headers=(("etag", etag_of(segment.revision)),)
        )

    async def remove_segment(self, call: Call) -> Reply:
        """Remove a segment that no rule names."""
        await self._flags.remove_segment(call.ctx, call.path["name"])
        return Reply()

    async def list_overrides(self, call: Call) -> Reply:
        """List a tenant's overrides."""
        page: NamePage = call.query
        found = [one for one in self._view.overrides(_domain(call)) if one.key > (page.cursor or "")]
        more = found[page.limit - 1].key if len(found) > page.limit else None
        return Reply(OverrideList(overrides=[override_answer(one) for one in found[: page.limit]], next_cursor=more))

    async def set_override(self, call: Call) -> Reply:
        """Give a tenant a variant of its own."""
        body: SetOverride = call.body
        wanted = Override(
            key=call.path["flag_key"],
            variant=body.variant,
            environments=tuple(body.environments),
            reason=body.reason,
        )
        return Reply(override_answer(await self._flags.override(call.ctx, _domain(call), wanted)))

    async def remove_override(self, call: Call) -> Reply:
        """Let a tenant have what the rules say again."""
        await self._flags.remove_override(call.ctx, _domain(call), call.path["flag_key"])
        return Reply()

    async def explain_flag(self, call: Call) -> Reply:
        """Explain what a flag says to a tenant in a context."""
        body: ExplainFlag = call.body or ExplainFlag()
        domain, key = _domain(call), call.path["flag_key"]
        environment = check_environment(call.ctx.principal.environment, body.environment or "", DEFAULT_ENVIRONMENT)
        asker = Asker(domain, call.ctx.tier, environment)
        if self._sets.is_feature(key):
            return Reply(self._entitlement(asker, key))
        flag = self._view.flag(domain, key)
        if flag is None:
            raise flag_missing()
        own = {TENANT_ID: domain, TIER: asker.tier, ENVIRONMENT: environment}
        walk = Walk(flag, lambda name: self._view.segment(PLATFORM, name), asker, {**body.context, **own})
        return Reply(walk.explain(self._view.override(domain, key), whole=call.ctx.principal.holds(SCOPE_ADMIN)))

    def _entitlement(self, asker: Asker, key: str) -> Explanation:
        outcome = self._sets.evaluate(asker, key, {})
        assert outcome is not None, "a feature always has an answer"
        because = "it is an entitlement: the tenant's plan, add-ons and grants decide"
        step = ExplainedStep(step="entitlement", decided=True, because=because, variant=outcome.variant)
        return Explanation(
            key=key, tenant_id=asker.domain, tier=asker.tier, environment=asker.environment, variant=outcome.variant,
            value=outcome.value, reason=outcome.reason, steps=[step],
        )  # fmt: skip


def operations(routes: FlagRoutes) -> tuple[Operation, ...]:
    """Return the rows of managing flags."""
    return (*_definitions(routes), *_segments(routes), *_of_tenants(routes))


def _definitions(routes: FlagRoutes) -> tuple[Operation, ...]:
    one = "/flags/{flag_key}"
    row: dict[str, Any] = {"tag": TAG, "scope": SCOPE_ADMIN, "platform": True}  # Any: Operation's own types
    revised = ("precondition_required", "revision_moved", "invalid_flag", "flag_is_entitlement", "unknown_variant")
    return (
        Operation(
            id="list_flags", method="GET", path="/flags", handler=routes.list_flags, query=FlagPage, answer=FlagList,
            summary="List flags in order of key.", **row,
        ),
        Operation(
            id="get_flag", method="GET", path=one, handler=routes.get_flag, answer=FlagAnswer,
            problems=("flag_not_found",), summary="Show a flag's definition; its ETag is the revision.", **row,
        ),
        Operation(
            id="define_flag", method="PUT", path=one, handler=routes.define_flag, body=DefineFlag, answer=FlagAnswer,
            statuses=(201,), problems=revised, body_bytes_max=DEFINITION_BYTES_MAX,
            summary="Create a flag, or replace the revision that If-Match names.", **row,
        ),
        Operation(
            id="set_flag_state", method="POST", path=one + "/state", handler=routes.set_flag_state, body=SetState,
            answer=FlagAnswer, problems=("flag_not_found",),
            summary="Enable, disable or archive a flag at once, whatever its revision.", **row,
        ),
    )  # fmt: skip


def _segments(routes: FlagRoutes) -> tuple[Operation, ...]:
    one = "/segments/{name}"
    row: dict[str, Any] = {"tag": TAG, "scope": SCOPE_ADMIN, "platform": True}  # Any: Operation's own types
    return (
        Operation(
            id="list_segments", method="GET", path="/segments", handler=routes.list_segments, query=NamePage,
            answer=SegmentList, summary="List segments in order of name.", **row,
        ),
        Operation(
            id="get_segment", method="GET", path=one, handler=routes.get_segment, answer=SegmentAnswer,
            problems=("segment_not_found",), summary="Show a segment; its ETag is the revision.", **row,
        ),
        Operation(
            id="define_segment", method="PUT", path=one, handler=routes.define_segment, body=DefineSegment,
            answer=SegmentAnswer, statuses=(201,), body_bytes_max=SEGMENT_BYTES_MAX,
            problems=("precondition_required", "revision_moved", "invalid_segment"),
            summary="Create a segment, or replace the revision that If-Match names.", **row,
        ),
        Operation(
            id="remove_segment", method="DELETE", path=one, handler=routes.remove_segment, status=204,
            problems=("segment_in_use",), summary="Remove a segment that no rule names.", **row,
        ),
    )  # fmt: skip


def _of_tenants(routes: FlagRoutes) -> tuple[Operation, ...]:
    every = "/tenants/{tenant_id}/flags"
    one = every + "/{flag_key}"
    row: dict[str, Any] = {"tag": TAG, "tenant_param": "tenant_id"}  # Any: Operation's own types
    refused = ("flag_not_found", "flag_not_overridable", "unknown_variant")
    return (
        Operation(
            id="list_flag_overrides", method="GET", path=every, handler=routes.list_overrides, query=NamePage,
            answer=OverrideList, scope=SCOPE_READ, cross_origin=True,
            summary="List what a tenant gets instead of what rules say.", **row,
        ),
        Operation(
            id="set_flag_override", method="PUT", path=one, handler=routes.set_override, body=SetOverride,
            answer=OverrideAnswer, scope=SCOPE_WRITE, problems=refused,
            summary="Give a tenant a variant of its own; a tenant itself only where the flag is overridable.", **row,
        ),
        Operation(
            id="remove_flag_override", method="DELETE", path=one, handler=routes.remove_override, status=204,
            scope=SCOPE_WRITE, problems=refused, summary="Let a tenant have what the rules say again.", **row,
        ),
        Operation(
            id="explain_flag", method="POST", path=one + "/explain", handler=routes.explain_flag, body=ExplainFlag,
            body_optional=True, answer=Explanation, scope=SCOPE_READ, problems=("flag_not_found",), cross_origin=True,
            summary="Explain what a flag says to a tenant in a context, step by step.", **row,
        ),
    )  # fmt: skip


def _domain(call: Call) -> DomainId:
    return DomainId(call.path["tenant_id"])
