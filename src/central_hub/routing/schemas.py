"""What HTTP adds to the model of routing: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from central_hub.kernel.ids import INSTANCE_ID_PATTERN, NAME_PATTERN
from central_hub.routing.asking import Asked, Told
from central_hub.routing.constraints import Prefer, Require, SizeHint, Strategy, wanted_of
from central_hub.routing.model import (
    LEASE_TTL_S,
    LEASE_TTL_S_MAX,
    LEASE_TTL_S_MIN,
    LEASED_MAX,
    MS_MAX,
    OFFERINGS_PER_INSTANCE_MAX,
    RESERVED_MAX_S,
    RESERVED_MIN_S,
    SIMULATED_EVERY_MS_MAX,
    SIMULATED_MAX,
    UNITS_MAX,
    WORD_LENGTH_MAX,
    Offering,
)
from central_hub.routing.view import Declared

SERVICES_MAX: Final = 32
AVOID_MAX: Final = 32
RANKED_MAX: Final = 32
RANKED: Final = 5
OUTCOMES_MAX: Final = 1_000
PAGE_MAX: Final = 500
OUTCOMES_BYTES_MAX: Final = 262_144
OFFERINGS_BYTES_MAX: Final = 131_072

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Id = Annotated[str, Meta(pattern=INSTANCE_ID_PATTERN)]
DecisionId = Annotated[str, Meta(min_length=1, max_length=64)]
Key = Annotated[str, Meta(min_length=1, max_length=WORD_LENGTH_MAX)]
Units = Annotated[float, Meta(ge=0.0, le=UNITS_MAX)]


class DeclareOfferings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an instance offers."""

    offerings: Annotated[list[Offering], Meta(min_length=1, max_length=OFFERINGS_PER_INSTANCE_MAX)]


class DeclaredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance offers since a position in its domain."""

    service_name: str
    instance_id: str
    offerings: list[Offering]
    seq: int


class Decide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request asks of whoever serves it. `work` names what sizes are remembered by, the task by default."""

    service: Name | None = None
    services: Annotated[list[Name], Meta(max_length=SERVICES_MAX)] = []
    require: Require = Require()
    prefer: Prefer = Prefer()
    strategy: Strategy = Strategy.PERFORMANCE
    size_hint: SizeHint | Units | None = None
    key: Key | None = None
    work: Key | None = None
    avoid: Annotated[list[Id], Meta(max_length=AVOID_MAX)] = []
    retry_of: DecisionId | None = None
    limit: Annotated[int, Meta(ge=1, le=RANKED_MAX)] = RANKED

    def asked(self) -> Asked:
        """Return it ready to be decided.

        Raises:
            HubError: `invalid_constraint` (422).
        """
        hint = self.size_hint
        if hint is not None and not isinstance(hint, SizeHint):
            hint = SizeHint(input=float(hint))
        services = {*self.services, self.service} if self.service else set(self.services)
        return Asked(
            wanted=wanted_of(self.require),
            services=tuple(sorted(services)),
            strategy=self.strategy,
            prefer=self.prefer,
            size=None if hint is None else (hint.input, hint.output),
            key=self.key or "",
            avoid=frozenset(self.avoid),
            work=self.work or f"{self.require.task or ''}/{self.require.data_size or ''}",
        )


class Reserve(Decide, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, and the chosen instance is to expect the request; `ttl_s` is how long its outcome is waited for."""

    ttl_s: Annotated[float, Meta(ge=RESERVED_MIN_S, le=RESERVED_MAX_S)] | None = None
    idempotency_key: Key | None = None


class LeaseRoutes(Decide, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, for many requests: the best instances with their shares, to choose among for `ttl_s`."""

    count: Annotated[int, Meta(ge=1, le=LEASED_MAX)] = 8
    ttl_s: Annotated[float, Meta(ge=LEASE_TTL_S_MIN, le=LEASE_TTL_S_MAX)] = LEASE_TTL_S


class Simulate(Decide, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same many times, `every_ms` apart: what would become of it, by each of `strategies`."""

    count: Annotated[int, Meta(ge=1, le=SIMULATED_MAX)] = 100
    every_ms: Annotated[float, Meta(ge=0.0, le=SIMULATED_EVERY_MS_MAX)] = 10.0
    strategies: Annotated[list[Strategy], Meta(max_length=len(Strategy))] = []


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds that half, nine in ten and 99 in a hundred such requests stay below."""

    p50: float
    p90: float
    p99: float


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, the chosen one first; `score` is 1 for the best and falls with the difference."""

    service_name: str
    instance_id: str
    endpoint: str
    offering: str
    model: str
    score: float
    predicted_ms: Predicted


class DecisionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send a request. `basis` says what the prediction stands on: learned, declared, or load alone."""

    decision_id: str
    service_name: str
    instance_id: str
    endpoint: str
    offering: str
    model: str
    strategy: Strategy
    confidence: float
    basis: str
    ranked: list[Ranked]
    candidates: int
    reserved: bool
    expires_at: str
    seq: int


class Leased(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of a lease; `weight` is its share of the requests, and all of them are 1 together."""

    service_name: str
    instance_id: str
    endpoint: str
    offering: str
    model: str
    weight: float


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Instances to choose among until `expires_at`, the best first; past it they still are the best that is known."""

    lease_id: str
    strategy: Strategy
    endpoints: list[Leased]
    ttl_s: float
    expires_at: str
    seq: int


class SimulatedShare(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the requests an instance would be sent, and how long they would wait there."""

    service_name: str
    instance_id: str
    offering: str
    share: float
    wait_ms: float


class SimulatedStrategy(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of the requests by one strategy; `nobody` is for how many nobody would be left."""

    strategy: Strategy
    predicted_ms: Predicted | None
    nobody: int
    instances: list[SimulatedShare]


class SimulateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of requests by each strategy, if all goes as it is foreseen now."""

    count: int
    every_ms: float
    candidates: int
    strategies: list[SimulatedStrategy]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate's score is made of. `in_flight` is what this hub foresees there, everybody's together."""

    wait_ms: float
    work_ms: float
    failed_lately: bool
    in_flight: float
    slower_than_its_kind: float
    outcomes: int
    report_age_ms: float | None
    price: float | None
    quality: float | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate as it stood when it was decided."""

    service_name: str
    instance_id: str
    endpoint: str
    offering: str
    score: float
    predicted_ms: Predicted
    parts: Part


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """An offering that the caller sees and that did not meet a requirement, or stood aside."""

    service_name: str
    instance_id: str
    offering: str
    reason: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The decision made once more from the same numbers; for the platform."""

    matches: bool
    draw: int
    sizes: list[tuple[float, float]]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why it was decided so: lower scores are better, and the gap is to the next best."""

    decision_id: str
    at: str
    strategy: Strategy
    reserved: bool
    chosen: str
    gap: float | None
    considered: int
    candidates: list[Explained]
    excluded: dict[str, int]
    left_out: list[LeftOut]
    replay: Replay | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a request went. `tokens` is what it turned out to be: output alone, or input and output."""

    decision_id: DecisionId | None = None
    instance_id: Id | None = None
    ok: bool
    latency_ms: Annotated[float, Meta(ge=0.0, le=MS_MAX)]
    error: Annotated[str, Meta(max_length=WORD_LENGTH_MAX)] = ""
    tokens: SizeHint | Units | None = None

    def told(self) -> Told:
        """Return it as routing takes it."""
        size = self.tokens
        if size is not None and not isinstance(size, SizeHint):
            size = SizeHint(output=float(size))
        return Told(
            decision_id=self.decision_id or "",
            instance_id=self.instance_id or "",
            ok=self.ok,
            latency_s=self.latency_ms / 1_000,
            size=(0.0, 0.0) if size is None else (size.input, size.output),
        )


class Outcomes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outcomes, in any order."""

    outcomes: Annotated[list[Outcome], Meta(max_length=OUTCOMES_MAX)]


class OutcomesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many were taken in, and how many are of nothing that is known (any more), told before among them."""

    recorded: int
    unknown: int


class OfferingsPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the offerings is wanted."""

    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Annotated[str, Meta(max_length=512)] | None = None
    service: Name | None = None
    task: Annotated[str, Meta(max_length=WORD_LENGTH_MAX)] | None = None
    model: Annotated[str, Meta(max_length=WORD_LENGTH_MAX)] | None = None


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """An offering as a caller sees it, with what outcomes taught of its kind; for whom else it is, is not said."""

    service_name: str
    instance_id: str
    endpoint: str
    takes_work: bool
    offering: dict[str, Any]  # Any: an offering in JSON, without its entitlement
    outcomes: int
    typical_ms: float | None


class OfferingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of offerings, by service, instance and id."""

    offerings: list[Offered]
    next_cursor: str | None = None


def declared_answer(service: str, instance_id: str, declared: Declared | None) -> DeclaredAnswer:
    """Show what an instance offers to whoever may change it."""
    return DeclaredAnswer(
        service_name=service,
        instance_id=instance_id,
        offerings=[] if declared is None else list(declared.offerings),
        seq=0 if declared is None else declared.revision,
    )
