"""From a raw request to an answer: the same steps, in the same order, whoever carries the bytes.

Guard, authentication, claims, scope, the hub's own limits, decoding, the handler, encoding. The
order decides what a caller may learn, so it is written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from time import perf_counter
from typing import Any, Final, cast

import msgspec
import structlog

from central_hub.edge import guard
from central_hub.edge.authenticate import Authenticate, CallerRefused, Denials, Positions, Protection
from central_hub.edge.caught_up import caught_up
from central_hub.edge.cross_origin import CrossOrigin
from central_hub.edge.decoding import check_depth, decode_body, decode_query
from central_hub.edge.holding import Hold, hold_of
from central_hub.edge.operations import Call, Found, Headers, Operation, Reply, Table
from central_hub.edge.problems import MEDIA_TYPE, internal_error, problem_of
from central_hub.edge.shares import HubBusy, Share
from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind

BODY_READ_TIMEOUT_S: Final = 10.0
IDEMPOTENCY_KEY_LENGTH_MAX: Final = 128
DENIED_KINDS: Final = frozenset({Kind.UNAUTHENTICATED, Kind.DENIED})

ReadBody = Callable[[int], Awaitable[bytes]]
OnOpen = Callable[[Any], Callable[[], None]]  # Any: edge.streams.Sink
Observe = Callable[[str, int, float], None]

_ALL_PATHS: Final = "GET /openapi.json lists all paths."

_log = structlog.get_logger("central_hub.edge")


class BodyTooLarge(Exception):
    """The client sent more than the operation allows."""


class ClientGone(Exception):
    """The client went away before the request was whole."""


@dataclass(slots=True)
class Request:
    """A request before anything about it is believed."""

    method: str
    path: str
    target: bytes
    query: bytes
    headers: Headers
    origin: str
    read_body: ReadBody
    found: Found | None = None
    """The operation, where whoever carries the request has looked for it already."""
    whole: bool = False
    """Whether the body has arrived, so that nobody has to watch the time it takes."""


@dataclass(slots=True)
class Answer:
    """What goes on the wire; `stream` takes over after the head when it is set."""

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: tuple[bytes, ...]
    stream: OnOpen | None = None
    ctx: TenantContext | None = None
    hold: Hold | None = None
    """How the connection is not to be read for a while, when the caller asked for more than its share."""

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)


@dataclass(slots=True)
class _Known:
    """What has been established so far, for the problem document if a later step refuses."""

    operation: Operation | None = None
    ctx: TenantContext | None = None
    correlation_id: str = ""
    path: dict[str, str] = field(default_factory=lambda: {})
    share: Share | None = None
    unproven: bool = False


class Pipeline:
    """Answers requests from the table of operations.

    Args:
        table: what there is.
        authenticate: who is calling.
        denials: where refusals are noted.
        positions: what `Hub-Seq` says.
        protection: the hub's own limits.
        observe: told (operation id, status, seconds) of every answer.
        cross_origin: which pages of other sites may read.
    """

    def __init__(
        self,
        table: Table,
        authenticate: Authenticate,
        denials: Denials,
        positions: Positions,
        protection: Protection,
        observe: Observe = lambda operation, status, seconds: None,
        cross_origin: CrossOrigin | None = None,
    ) -> None:
        self.table = table
        self._authenticate = authenticate
        self._denials = denials
        self._positions = positions
        self._protection = protection
        self._observe = observe
        self._cross_origin = cross_origin or CrossOrigin()

    async def answer(self, request: Request) -> Answer:
        """Answer a request; every failure becomes a problem document."""
        known = _Known()
        answer = await self._told(self._answer(request, known), known, request.origin, request.headers)
        answer.headers.extend(self._cross_origin.lines(known.operation, request.headers))
        return answer

    async def _told(self, answering: Awaitable[Answer], known: _Known, origin: str, headers: Headers) -> Answer:
        """Wait for an answer, make a problem document of whatever went wrong, and have it counted."""
        began = perf_counter()
        try:
            answer = await answering
        except HubError as error:
            answer = self._refuse(error, origin, known)
            if isinstance(error, HubBusy):
                answer.hold = hold_of(error, headers.raw, known.ctx, self._protection.ledger, unproven=known.unproven)
        except ClientGone:
            raise
        except Exception:  # a bug in a handler must reach its caller as 500, and leave the hub running
            _log.exception("edge.request_failed", operation=known.operation.id if known.operation else "")
            answer = self._refuse(internal_error(), origin, known)
        self._observe(known.operation.id if known.operation else "", answer.status, perf_counter() - began)
        return answer

    async def _answer(self, request: Request, known: _Known) -> Answer:
        try:
            claims = guard.check(request.headers.raw, request.target)
            known.correlation_id = claims.correlation_id or ""
            if request.method == "OPTIONS":
                preflight = self._cross_origin.preflight(self.table, request.path, request.headers)
                if preflight is not None:
                    return Answer(204, list(preflight), ())
            operation, known.path = self._find(request)
            known.operation = operation
            ctx, query = self._proven(operation, request, claims, known)
        except HubError as error:
            known.unproven = error.kind is Kind.UNAUTHENTICATED
            self._protection.charge(error.caller if isinstance(error, CallerRefused) else known.ctx, request.origin)
            raise
        if operation.signal:
            return await self._admitted(operation, ctx, query, claims, request, known)
        known.share = self._protection.admit(ctx, writes=operation.spends_writes)
        try:
            return await self._admitted(operation, ctx, query, claims, request, known)
        finally:
            known.share.leave()

    def _proven(
        self, operation: Operation, request: Request, claims: guard.Claims, known: _Known
    ) -> tuple[TenantContext, Any]:  # Any: operation.query's struct
        """Establish who asks, for which tenant, and that it may; returns that and the query."""
        ctx = self._authenticate.authenticate(request.headers, claims, origin=request.origin, method=request.method)
        known.ctx = ctx
        self._admit_kind(operation, ctx)
        query = decode_query(request.query, operation.query)
        ctx = known.ctx = self._claimed(ctx, claims.tenant_id, getattr(query, "tenant_id", None))
        ctx = known.ctx = self._own_path(operation, ctx, known.path, claims.tenant_id)
        if not operation.public:
            ctx.perform(operation.act)
        if operation.scope is not None:
            ctx.require(operation.scope)
        return ctx, query

    async def _admitted(
        self,
        operation: Operation,
        ctx: TenantContext,
        query: Any,  # Any: operation.query's struct
        claims: guard.Claims,
        request: Request,
        known: _Known,
    ) -> Answer:
        body = await self._body(operation, request)
        ctx = known.ctx = self._claimed(ctx, claims.tenant_id, tenant_in(body))
        if not operation.public:
            ctx.perform(operation.act)
        if operation.needs_tenant and ctx.tenant_id is None:
            raise _tenant_required()
        return await self._handled(operation, ctx, known.path, query, body, request.headers, known.share)

    async def command(
        self, operation: Operation, ctx: TenantContext, body: object, headers: Headers, share: Share
    ) -> Answer:
        """Run an operation whose caller and body have gone through all of the steps before; what is left is the same.

        Args:
            operation: one without query or parameters in its path.
            ctx: who asks, proven and admitted.
            body: decoded.
            headers: the request's.
            share: what it was admitted to; it is left when the answer is there.
        """
        known = _Known(operation, ctx, ctx.correlation_id, share=share)
        try:
            handled = self._handled(operation, ctx, {}, None, body, headers, share)
            return await self._told(handled, known, ctx.origin, headers)
        finally:
            share.leave()

    async def _handled(
        self,
        operation: Operation,
        ctx: TenantContext,
        path: dict[str, str],
        query: object,
        body: object,
        headers: Headers,
        share: Share | None,
    ) -> Answer:
        await caught_up(self._positions, ctx, headers)
        call = Call(operation, ctx, path, query, body, headers, _idempotency_key(headers))
        if share is not None and _waits(query):
            with share.waiting():
                reply = await operation.handler(call)
        else:
            reply = await operation.handler(call)
        if reply.stream is not None and share is not None:
            share.check_watch()
            reply.stream = _counted(reply.stream, share)
        return self._encode(operation, ctx, reply)

    def _find(self, request: Request) -> tuple[Operation, dict[str, str]]:
        found = request.found or self.table.find(request.method, request.path)
        if found is not None:
            return found
        methods = self.table.methods(request.path)
        if methods:
            raise HubError(
                "method_not_allowed",
                Kind.METHOD,
                f"This path does not take {request.method}.",
                next_step=f"Use one of {', '.join(methods)}.",
                fields={"allow": ", ".join(methods)},
            )
        other = request.path[:-1] if request.path.endswith("/") else request.path + "/"
        raise HubError(
            "no_such_path",
            Kind.NOT_FOUND,
            "The hub has no such path.",
            next_step=f"Mind the slash at the end: {other}" if self.table.methods(other) else _ALL_PATHS,
        )

    def _admit_kind(self, operation: Operation, ctx: TenantContext) -> None:
        kind = ctx.principal.kind
        if operation.public or kind not in (PrincipalKind.ANONYMOUS, PrincipalKind.LEGACY):
            return
        if kind is PrincipalKind.LEGACY and operation.legacy:
            return
        raise HubError(
            "credential_required",
            Kind.UNAUTHENTICATED,
            "This operation needs a credential.",
            next_step="Send 'Authorization: Bearer chk_…' with a key that holds the needed scope.",
        )

    def _claimed(self, ctx: TenantContext, header_tenant: str | None, claimed: str | None) -> TenantContext:
        """Hold a tenant named in query or body against the caller's own."""
        if claimed is None or claimed == ctx.tenant_id:
            return ctx
        if header_tenant is not None and header_tenant != claimed:
            raise guard.tenant_disagrees()
        return self._authenticate.assume(ctx, claimed)

    def _own_path(
        self, operation: Operation, ctx: TenantContext, path: dict[str, str], header_tenant: str | None
    ) -> TenantContext:
        """Hold a tenant in the path against the caller's: another's is as good as missing."""
        if operation.tenant_param is None:
            return ctx
        named = path[operation.tenant_param]
        if named == ctx.tenant_id:
            return ctx
        if header_tenant is not None and header_tenant != named:
            raise guard.tenant_disagrees()
        if self._authenticate.may_assert(ctx, named):
            return self._authenticate.assume(ctx, named)
        raise tenant_not_found()

    async def _body(self, operation: Operation, request: Request) -> Any:  # Any: operation.body's struct
        if operation.body is None:
            return None
        length = request.headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > operation.body_bytes_max:
            raise _too_large(operation)
        try:
            if request.whole:
                raw = await request.read_body(operation.body_bytes_max)
            else:
                async with asyncio.timeout(BODY_READ_TIMEOUT_S):
                    raw = await request.read_body(operation.body_bytes_max)
        except BodyTooLarge:
            raise _too_large(operation) from None
        except TimeoutError:
            raise HubError(
                "request_timeout",
                Kind.TIMEOUT,
                f"The body did not arrive within {BODY_READ_TIMEOUT_S:.0f} seconds.",
                next_step="Send it again over a connection that keeps up.",
            ) from None
        if not raw and operation.body_optional:
            return None
        if operation.read is not None:
            return operation.read(raw, request.headers.raw)
        media = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise HubError(
                "unsupported_media_type",
                Kind.UNSUPPORTED,
                "This operation takes JSON.",
                next_step="Send 'content-type: application/json'.",
            )
        check_depth(raw)
        return decode_body(raw, operation.body)

    def _encode(self, operation: Operation, ctx: TenantContext, reply: Reply) -> Answer:
        status = reply.status or operation.status
        pieces = _pieces_of(reply.body)
        length = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        position = self._positions.position_of(ctx)
        headers = answer_headers(
            media_type=reply.media_type if length or reply.stream else "",
            length=None if reply.stream or status in (204, 304) else length,
            extra=reply.headers + _sunset(ctx) if ctx.legacy else reply.headers,
            hub_seq=position.format(),
            stale_ms=position.stale_ms,
            tier=ctx.tier,
            correlation_id=ctx.correlation_id,
        )
        return Answer(status, headers, pieces, reply.stream, ctx)

    def _refuse(self, error: HubError, origin: str, known: _Known) -> Answer:
        decision_id = ""
        if error.kind in DENIED_KINDS:
            operation = known.operation.id if known.operation else ""
            caller = error.caller if isinstance(error, CallerRefused) else known.ctx
            decision_id = self._denials.denied(caller, error, operation=operation, origin=origin)
        if error.internal:
            _log.warning("edge.request_refused", code=error.code, internal=error.internal)
        if known.operation is not None and known.operation.refused is not None:
            error = known.operation.refused(error, known.path)
        status, body, further = problem_of(error, decision_id)
        headers = answer_headers(
            media_type=MEDIA_TYPE,
            length=len(body),
            extra=further,
            hub_seq="",
            tier=known.ctx.tier if known.ctx else "",
            correlation_id=known.correlation_id,
        )
        return Answer(status, headers, (body,), None, known.ctx)


def _waits(query: object) -> bool:
    """Say whether a query asks for an answer only once something has changed."""
    return bool(getattr(query, "wait_s", 0)) and getattr(query, "wait_seq", 0) is not None


def _counted(on_open: OnOpen, share: Share) -> OnOpen:
    """Count a stream as one of its tenant's watches while it is open."""

    def opened(sink: Any) -> Callable[[], None]:  # Any: as in OnOpen
        on_close = on_open(sink)
        share.watches += 1

        def closed() -> None:
            share.watches -= 1
            on_close()

        return closed

    return opened


def _pieces_of(body: Any) -> tuple[bytes, ...]:  # Any: what a handler answered
    if isinstance(body, bytes):
        return (body,)
    if body is None:
        return ()
    if isinstance(body, tuple):
        return cast(tuple[bytes, ...], body)
    return (msgspec.json.encode(body),)


def answer_headers(
    *,
    media_type: str,
    length: int | None,
    extra: tuple[tuple[str, str], ...],
    hub_seq: str,
    tier: str,
    correlation_id: str,
    stale_ms: int = 0,
) -> list[tuple[bytes, bytes]]:
    """Build an answer's header lines, in the one order both the lane and the framework send them."""
    headers: list[tuple[bytes, bytes]] = []
    if media_type:
        headers.append((b"content-type", media_type.encode("latin-1")))
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    headers.extend((name.encode("latin-1"), value.encode("latin-1")) for name, value in extra)
    if hub_seq:
        headers.append((b"hub-seq", hub_seq.encode("ascii")))
    if stale_ms:
        headers.append((b"hub-stale-ms", b"%d" % stale_ms))
    if tier:
        headers.append((b"hub-tier", tier.encode("ascii")))
    if correlation_id:
        headers.append((b"x-correlation-id", correlation_id.encode("ascii")))
    return headers


def _sunset(ctx: TenantContext) -> tuple[tuple[str, str], ...]:
    """Tell a legacy caller that its way in ends, and when (RFC 9745, RFC 8594)."""
    ends_s = ctx.principal.expires_at_ms / 1_000
    return (("deprecation", "@0"), ("sunset", formatdate(ends_s, usegmt=True)))


def tenant_not_found() -> HubError:
    """Return the one refusal for a tenant that is missing or not the caller's: they look the same."""
    return HubError(
        "tenant_not_found",
        Kind.NOT_FOUND,
        "There is no such tenant.",
        next_step="Check the tenant id; a key sees its own tenant only.",
    )


def _tenant_required() -> HubError:
    return HubError(
        "tenant_required",
        Kind.INVALID,
        "This operation acts for a tenant and none is named.",
        next_step="Send x-tenant-id, or use a tenant's key.",
    )


def _too_large(operation: Operation) -> HubError:
    return HubError(
        "body_too_large",
        Kind.TOO_LARGE,
        f"The body is larger than {operation.body_bytes_max} bytes.",
        next_step="Send less in one request.",
    )


def tenant_in(body: object) -> str | None:
    """Return the tenant that a decoded body names, None when it names none."""
    named = getattr(body, "tenant_id", None)
    if isinstance(named, str):
        return named
    context: object = getattr(body, "tenant_context", None)
    if isinstance(context, dict):
        named = cast(dict[str, object], context).get("tenant_id")
    elif context is not None:
        named = getattr(context, "tenant_id", None)
    return named if isinstance(named, str) else None


def _idempotency_key(headers: Headers) -> str | None:
    given = headers.all("idempotency-key")
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 0 < len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        raise HubError(
            "invalid_idempotency_key",
            Kind.INVALID,
            f"An Idempotency-Key is given once and has 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters.",
            next_step="Send a UUID.",
        )
    return key
