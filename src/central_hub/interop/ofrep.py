"""OFREP 0.3.0: the OpenFeature Remote Evaluation Protocol, by which any OpenFeature SDK asks for flags.

Tenant and environment come from the credential; what a client says of them in its context is overwritten. Real
clients are stricter than the protocol, so every answer has each member, fractions stay fractions, and reasons
are the protocol's own words.

Source: github.com/open-feature/protocol, service/openapi.yaml and ADR-0008 (event streams).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink
from central_hub.flags.evaluation import MISSING_KEY_DETAILS, Asker, Evaluated, FlagSets
from central_hub.flags.model import DEFAULT_ENVIRONMENT, SCOPE_READ, TEXT_MAX
from central_hub.flags.preparing import TARGETING_KEY, Reason, TargetingKeyMissing
from central_hub.flags.rules import check_environment, flag_missing
from central_hub.flags.schemas import Context, Name
from central_hub.flags.stream_tokens import TOKEN_LENGTH_MAX, StreamTokens
from central_hub.flags.telling import FlagStreams
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind

TAG: Final = "ofrep"
PREFIX: Final = "/ofrep/v1"
EVENTS: Final = PREFIX + "/events"
INACTIVITY_DELAY_S: Final = 120
"""Seconds that a page in the background keeps its stream; the protocol's own default."""
ETAG_LENGTH: Final = 32
QUERY_VALUE_MAX: Final = 128

_ERROR_CODES: Final = {
    "flag_not_found": "FLAG_NOT_FOUND",
    "targeting_key_missing": "TARGETING_KEY_MISSING",
    "invalid_context": "INVALID_CONTEXT",
    "invalid_body": "PARSE_ERROR",
}
"""The protocol's word for a refusal; GENERAL for all others."""

_AS_INVALID: Final = frozenset({Kind.MALFORMED, Kind.TOO_LARGE, Kind.UNSUPPORTED})
"""What the protocol answers with 400 and the hub elsewhere with a status of its own."""


class EvaluateQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The environment to ask about, where the credential is bound to none."""

    environment: Name | None = None


class EvaluateAllQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    rename={"config_etag": "flagConfigEtag", "config_last_modified": "flagConfigLastModified"},
):  # fmt: skip
    """As for one flag; and what an event said that led to this question, which the hub needs not: it is up to date."""

    environment: Name | None = None
    config_etag: Annotated[str, msgspec.Meta(max_length=QUERY_VALUE_MAX)] | None = None
    config_last_modified: Annotated[str, msgspec.Meta(max_length=QUERY_VALUE_MAX)] | None = None


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token of the stream, as an evaluation of all flags handed it out."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=TOKEN_LENGTH_MAX)]


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Whom and what it is about: `targetingKey`, and attributes that segments ask for."""

    context: Context | None = None


class EvaluationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a flag says."""

    key: str
    value: object
    reason: str
    variant: str
    metadata: dict[str, str]


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a flag says, or why it says nothing."""

    key: str
    value: object = None
    reason: str = ""
    variant: str = ""
    metadata: dict[str, str] = {}
    errorCode: str = ""  # noqa: N815  # the protocol's word
    errorDetails: str = ""  # noqa: N815  # as above


class StreamEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stream is, on the hub that answered."""

    requestUri: str  # noqa: N815  # the protocol's word


class EventStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that says when to ask again."""

    type: str
    endpoint: StreamEndpoint
    inactivityDelaySec: int  # noqa: N815  # the protocol's word


class EvaluationsAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every flag says, and where to hear of changes."""

    flags: list[EvaluationResult]
    metadata: dict[str, str]
    eventStreams: list[EventStream] = []  # noqa: N815  # the protocol's word


class Ofrep:
    """Handlers of the protocol.

    Args:
        sets: what flags say.
        streams: who is told of changes.
        tokens: stand for credentials in streams' addresses.
        clock: wall time of tokens.
    """

    def __init__(self, sets: FlagSets, streams: FlagStreams, tokens: StreamTokens, clock: Clock) -> None:
        self._sets = sets
        self._streams = streams
        self._tokens = tokens
        self._clock = clock
        self.evaluations: Counter[str] = Counter()
        """Answers by reason, for metrics."""

    async def evaluate_flag(self, call: Call) -> Reply:
        """Evaluate one flag."""
        key = call.path["flag_key"]
        asker, context = _asked(call, call.query.environment)
        try:
            outcome = self._sets.evaluate(asker, key, context)
        except TargetingKeyMissing:
            self.evaluations[Reason.ERROR] += 1
            raise HubError(
                "targeting_key_missing",
                Kind.INVALID,
                MISSING_KEY_DETAILS,
                next_step="Make it a stable id of the user, device or service.",
            ) from None
        if outcome is None:
            self.evaluations[Reason.ERROR] += 1
            raise flag_missing()
        self.evaluations[outcome.reason] += 1
        return Reply(outcome.encoded)

    async def evaluate_flags(self, call: Call) -> Reply:
        """Evaluate every flag that the caller sees."""
        query: EvaluateAllQuery = call.query
        asker, context = _asked(call, query.environment)
        evaluated = self._sets.evaluate_all(asker, context)
        self.evaluations.update(Reason.ERROR if one.outcome is None else one.outcome.reason for one in evaluated)
        body = self._body(call.ctx, asker, evaluated)
        etag = f'"{hashlib.sha256(body).hexdigest()[:ETAG_LENGTH]}"'
        given = call.headers.get("if-none-match")
        if given is not None and (given.strip() == "*" or etag in (tag.strip() for tag in given.split(","))):
            return Reply(None, status=304, headers=(("etag", etag),))
        return Reply(body, headers=(("etag", etag),))

    async def flag_events(self, call: Call) -> Reply:
        """Open a stream that says when to ask again."""
        query: EventsQuery = call.query
        found = self._tokens.read(query.token, self._clock.now_ms())
        if found is None or call.ctx.tenant_id not in (None, found[0].tenant_id):
            raise HubError(
                "stream_not_found",
                Kind.NOT_FOUND,
                "There is no such stream, or its address has run out.",
                next_step="Evaluate all flags again: the answer has a new address.",
            )
        ctx, environment = self._streams.current(found[0]), found[1]
        self._streams.admit(ctx.domain)
        last_id = call.headers.get("last-event-id") or ""

        def opened(sink: Sink) -> Callable[[], None]:
            return self._streams.open(ctx, environment, sink, last_id=last_id)

        return Reply(media_type=EVENT_STREAM, stream=opened)

    def _body(self, ctx: TenantContext, asker: Asker, evaluated: list[Evaluated]) -> bytes:
        flags = b",".join(_failure(one) if one.outcome is None else one.outcome.encoded for one in evaluated)
        metadata = msgspec.json.encode({"tenant": asker.domain, "environment": asker.environment})
        token = self._tokens.mint(ctx, asker, self._clock.now_ms())
        streams = b""
        if token is not None:
            endpoint = StreamEndpoint(requestUri=f"{EVENTS}?token={token}")
            stream = EventStream(type="sse", endpoint=endpoint, inactivityDelaySec=INACTIVITY_DELAY_S)
            streams = b',"eventStreams":' + msgspec.json.encode([stream])
        return b'{"flags":[%b],"metadata":%b%b}' % (flags, metadata, streams)


def refused(error: HubError, path: dict[str, str]) -> HubError:
    """Return a refusal with the members that the protocol's clients read beside the problem's own."""
    fields: dict[str, object] = {
        **error.fields,
        "errorCode": _ERROR_CODES.get(error.code, "GENERAL"),
        "errorDetails": f"{error.message} {error.next_step}".strip(),
    }
    if "flag_key" in path:
        fields["key"] = path["flag_key"]
    return HubError(
        error.code,
        Kind.INVALID if error.kind in _AS_INVALID else error.kind,
        error.message,
        next_step=error.next_step,
        fields=fields,
        retry_after_s=error.retry_after_s,
    )


def operations(ofrep: Ofrep) -> tuple[Operation, ...]:
    """Return the protocol's rows."""
    row: dict[str, Any] = {  # Any: Operation's own types
        "tag": TAG,
        "scope": SCOPE_READ,
        "needs_tenant": True,
        "body": EvaluationRequest,
        "body_optional": True,
        "refused": refused,
        "cross_origin": True,
    }
    return (
        Operation(
            id="evaluate_flag", method="POST", path=PREFIX + "/evaluate/flags/{flag_key}", query=EvaluateQuery,
            handler=ofrep.evaluate_flag, answer=EvaluationAnswer,
            problems=("flag_not_found", "targeting_key_missing", "invalid_context", "environment_mismatch"),
            summary="Evaluate one flag for the credential's tenant and environment (OFREP).", **row,
        ),
        Operation(
            id="evaluate_flags", method="POST", path=PREFIX + "/evaluate/flags", query=EvaluateAllQuery,
            handler=ofrep.evaluate_flags, answer=EvaluationsAnswer, statuses=(304,),
            problems=("invalid_context", "environment_mismatch"),
            summary="Evaluate every flag the credential's tenant sees; If-None-Match gives 304 (OFREP).", **row,
        ),
        Operation(
            id="flag_events", method="GET", path=EVENTS, query=EventsQuery, handler=ofrep.flag_events,
            media_type=EVENT_STREAM, answer=str, tag=TAG, public=True, problems=("stream_not_found",),
            cross_origin=True,
            summary="Be told when flags may answer differently; the address comes from an evaluation of all flags.",
        ),
    )  # fmt: skip


def _asked(call: Call, environment: str | None) -> tuple[Asker, dict[str, Any]]:  # Any: JSON values
    """Return for whom and about what flags are asked; raises what check_environment does, and invalid_context."""
    ctx = call.ctx
    found = check_environment(ctx.principal.environment, environment or "", DEFAULT_ENVIRONMENT)
    body: EvaluationRequest | None = call.body
    context = (body.context if body is not None else None) or {}
    subject = context.get(TARGETING_KEY)
    if subject is not None and (not isinstance(subject, str) or len(subject) > TEXT_MAX):
        raise HubError(
            "invalid_context",
            Kind.INVALID,
            f"context.targetingKey is a text of at most {TEXT_MAX} characters.",
            next_step="Send a stable id of the user, device or service.",
        )
    return Asker(ctx.domain, ctx.tier, found), context


def _failure(one: Evaluated) -> bytes:
    return msgspec.json.encode(EvaluationResult(key=one.key, errorCode=one.error_code, errorDetails=one.error_details))
