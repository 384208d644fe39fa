"""The table of operations: what the hub's HTTP surface is, declared once.

Routing, scopes, decoding, OpenAPI, the isolation matrix and the reserved names all derive from
it. A handler takes a `Call` and returns a `Reply`; everything before and after is the pipeline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from central_hub.edge.decoding import decode_body
from central_hub.kernel.context import Act, TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import RESERVED_WORDS

BODY_BYTES_MAX: Final = 65_536
"""Largest request body unless an operation allows more."""

_DISCOVERING: Final = "registry:read"
_READING: Final = ":read"
_LOOKING: Final = frozenset({Act.READ, Act.DISCOVER})

RawHeaders = Sequence[tuple[bytes, bytes]]


class Headers:
    """Look-ups over raw header pairs; names are lower case."""

    __slots__ = ("raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = raw

    def get(self, name: str) -> str | None:
        """Return the first value of a header, latin-1 decoded, or None."""
        wanted = name.encode("ascii")
        for key, value in self.raw:
            if key == wanted:
                return value.decode("latin-1")
        return None

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]


@dataclass(slots=True)
class Call:
    """What a handler gets: proven context, decoded input.

    `query` and `body` are instances of the operation's own structs; the `Any` ends at the
    handler's first line, where it names the type it declared.
    """

    operation: Operation
    ctx: TenantContext
    path: dict[str, str]
    query: Any  # Any: an instance of operation.query
    body: Any  # Any: an instance of operation.body
    headers: Headers
    idempotency_key: str | None = None


@dataclass(slots=True)
class Reply:
    """What a handler answers: a struct or ready bytes, or a stream that outlives the handler.

    A long answer is a tuple of ready bytes: it is sent piece by piece, and never joined.

    `stream` is called with an open sink once the head is sent and returns what to call when
    the client has gone.
    """

    body: Any = None  # Any: whatever msgspec encodes, or JSON already in bytes
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"
    stream: Callable[[Any], Callable[[], None]] | None = None  # Any: edge.streams.Sink


Handler = Callable[[Call], Awaitable[Reply]]
ReadAs = Callable[[bytes, RawHeaders], Any]  # Any: what the operation's handler takes for a body
Refused = Callable[[HubError, dict[str, str]], HubError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row of the table.

    Args:
        id: handler's name, OpenAPI's operationId.
        scope: what the principal must hold; None only when `public`.
        query, body: msgspec structs the input is decoded into; unknown fields are refused.
        read: reads the body where it is more than JSON of one struct; `body` then says what the contract shows.
        answer: struct of the success body, for OpenAPI.
        problems: codes it may answer with beyond those every operation has.
        hot: served before the framework.
        tenant_param: path parameter that is a tenant id.
        signal: soft state that never counts against the hub's own limits (heartbeats).
        platform: acts on the platform domain; a tenant's own credential is never enough.
        cross_origin: a page of an origin that the operator named may read it (edge.cross_origin).
        refused: makes a refusal read as the protocol that the operation speaks has it, given the path's parameters.
    """

    id: str
    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    scope: str | None = None
    description: str = ""
    query: type[msgspec.Struct] | None = None
    body: Any = None  # Any: a type, or a union of types
    body_optional: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    read: ReadAs | None = None
    answer: Any = None  # Any: a type, as msgspec takes it
    status: int = 200
    statuses: tuple[int, ...] = ()
    media_type: str = "application/json"
    problems: tuple[str, ...] = ()
    hot: bool = False
    public: bool = False
    platform: bool = False
    tenant_param: str | None = None
    signal: bool = False
    needs_tenant: bool = False
    legacy: bool = False
    cross_origin: bool = False
    refused: Refused | None = None

    def __post_init__(self) -> None:
        if (self.scope is None) != self.public:
            raise ValueError(f"operation {self.id}: either a scope or public=True, never both or neither")

    @property
    def writes(self) -> bool:
        """Whether it changes something (decides on idempotency and audit)."""
        return self.method not in ("GET", "HEAD")

    @property
    def spends_writes(self) -> bool:
        """Whether it counts as a write among the hub's own limits: a read that is sent as POST does not."""
        return self.writes and self.act not in _LOOKING

    @property
    def act(self) -> Act:
        """What it does to the tenant it is for; decides whether that is possible in the tenant's state."""
        if self.platform:
            return Act.GOVERN
        if self.signal:
            return Act.RENEW
        if self.scope == _DISCOVERING:
            return Act.DISCOVER
        reads = not self.writes or (self.scope or "").endswith(_READING)
        return Act.READ if reads else Act.WRITE

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments after the leading slash; a trailing slash is an empty last one."""
        return tuple(self.path.split("/")[1:])


def read_body(operation: Operation, raw: bytes, headers: RawHeaders) -> Any:  # Any: what its handler takes
    """Read a body as an operation has it.

    Raises:
        HubError: `invalid_body` (422), or what the operation's own way of reading refuses.
    """
    return decode_body(raw, operation.body) if operation.read is None else operation.read(raw, headers)


Found = tuple[Operation, dict[str, str]]
"""An operation and the values of its path's parameters."""


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=lambda: {})
    parameter: _Node | None = None
    operations: dict[str, tuple[Operation, tuple[str, ...]]] = field(default_factory=lambda: {})


class Table:
    """All operations, with a segment tree to find one; a literal segment wins over a parameter."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        self._root = _Node()
        # Paths without parameters need no walk: a literal wins over a parameter at every segment.
        self._fixed = {(each.method, each.path): each for each in self.operations if "{" not in each.path}
        seen: set[str] = set()
        for operation in self.operations:
            if operation.id in seen:
                raise ValueError(f"two operations are called {operation.id}")
            seen.add(operation.id)
            self._insert(operation)

    def find(self, method: str, path: str) -> Found | None:
        """Return the operation for a decoded path and its path parameters; HEAD finds GET."""
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, {}
        found = self._walk(path)
        if found is None:
            return None
        node, values = found
        entry = node.operations.get("GET" if method == "HEAD" else method)
        if entry is None:
            return None
        operation, names = entry
        return operation, dict(zip(names, values, strict=True))

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods a path knows, sorted; empty when there is no such path."""
        found = self._walk(path)
        if found is None:
            return ()
        methods = set(found[0].operations)
        return tuple(sorted(methods | {"HEAD"} if "GET" in methods else methods))

    def reserved_words(self) -> frozenset[str]:
        """Return every literal segment that shares a position with a path parameter, and the domains' words."""
        words: set[str] = set(RESERVED_WORDS)
        stack = [self._root]
        while stack:
            node = stack.pop()
            if node.parameter is not None:
                words.update(word for word in node.literals if word)
                stack.append(node.parameter)
            stack.extend(node.literals.values())
        return frozenset(words)

    def _insert(self, operation: Operation) -> None:
        node = self._root
        names: list[str] = []
        for segment in operation.segments:
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        if operation.method in node.operations:
            raise ValueError(f"two operations answer {operation.method} {operation.path}")
        node.operations[operation.method] = (operation, tuple(names))

    def _walk(self, path: str) -> tuple[_Node, list[str]] | None:
        # Depth first with a literal before a parameter; paths are short, so is the recursion.
        return _descend(self._root, path.split("/")[1:], 0, [])


def _descend(node: _Node, segments: list[str], at: int, values: list[str]) -> tuple[_Node, list[str]] | None:
    if at == len(segments):
        return (node, values) if node.operations else None
    literal = node.literals.get(segments[at])
    if literal is not None:
        found = _descend(literal, segments, at + 1, values)
        if found is not None:
            return found
    if node.parameter is not None and segments[at]:
        return _descend(node.parameter, segments, at + 1, [*values, segments[at]])
    return None
