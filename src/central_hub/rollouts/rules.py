"""Decisions about rollouts: who is exposed, what may follow on what, what the gates make of what was seen. Pure.

Exposure only grows: a target's bucket is a hash of rollout and target, a stage raises thresholds and never lowers
them. A threshold is the bucket of the last target that the stage takes in, so that a stage reaches its share of those
who are there, neither more nor less. Each kind of target (a tier's instances of one service, a tier's tenants) has a
threshold of its own, and a kind that nobody was exposed of comes first: what harms one tier only is seen early.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.rollouts.model import (
    OPEN,
    STAGES_MAX,
    Evidence,
    Gates,
    Rates,
    Rollout,
    Stage,
    State,
    Unit,
)

EVERYONE: Final = 100.0
BUCKET_BYTES: Final = 6
NOBODY: Final = -1

ERRORS_MIN: Final = 5
"""Errors below this many say nothing, whatever their share is."""
COMPARED_MIN: Final = 30
"""Requests of others that make them what the exposed are compared with; with fewer it is whoever had more."""
CONFIDENCE_Z: Final = 3.0
"""Both bounds at three standard errors: they part by chance once in some hundred thousand looks."""
UNKNOWN_RATE: Final = 0.5
"""Error rate that is too much where there is nothing to compare with."""


GATES: Final = ("refusals", "health", "errors", "acknowledgements", "change")
"""What a rollout can fail at; `change` is that what was valid when it began is not any more."""


class Move(StrEnum):
    """What can be done to a rollout."""

    ENTER = "enter"
    COMPLETE = "complete"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


class Outcome(StrEnum):
    """What comes of a move that leads to no other state."""

    STAYS = "stays"
    """There is nothing to do, and nothing is written."""
    REFUSED = "refused"


_R, _P, _C, _B, _A = State.RUNNING, State.PAUSED, State.COMPLETED, State.ROLLED_BACK, State.ABORTED
_STAYS, _REFUSED = Outcome.STAYS, Outcome.REFUSED

MOVES: Final[Mapping[State, Mapping[Move, State | Outcome]]] = {
    State.RUNNING: {
        Move.ENTER: _R, Move.COMPLETE: _C, Move.ROLL_BACK: _B, Move.PAUSE: _P, Move.RESUME: _STAYS, Move.PROMOTE: _R,
        Move.ABORT: _A,
    },
    State.PAUSED: {
        Move.ENTER: _STAYS, Move.COMPLETE: _STAYS, Move.ROLL_BACK: _B, Move.PAUSE: _STAYS, Move.RESUME: _R,
        Move.PROMOTE: _R, Move.ABORT: _A,
    },
    State.COMPLETED: {
        Move.ENTER: _STAYS, Move.COMPLETE: _STAYS, Move.ROLL_BACK: _STAYS, Move.PAUSE: _REFUSED, Move.RESUME: _REFUSED,
        Move.PROMOTE: _REFUSED, Move.ABORT: _A,
    },
    State.ROLLED_BACK: {
        Move.ENTER: _STAYS, Move.COMPLETE: _STAYS, Move.ROLL_BACK: _STAYS, Move.PAUSE: _REFUSED, Move.RESUME: _REFUSED,
        Move.PROMOTE: _REFUSED, Move.ABORT: _STAYS,
    },
    State.ABORTED: {
        Move.ENTER: _STAYS, Move.COMPLETE: _STAYS, Move.ROLL_BACK: _STAYS, Move.PAUSE: _REFUSED, Move.RESUME: _REFUSED,
        Move.PROMOTE: _REFUSED, Move.ABORT: _STAYS,
    },
}  # fmt: skip
"""Every state and every move. What the hub does by itself finds nothing to do where a person was first; an abort goes
through wherever somebody may have the new values, a completed rollout included."""


def led_to(rollout: Rollout, move: Move) -> State | None:
    """Return the state that a move leads to, None when there is nothing to do.

    Raises:
        HubError: `rollout_ended` (409).
    """
    outcome = MOVES[rollout.state][move]
    if outcome is Outcome.STAYS:
        return None
    if outcome is Outcome.REFUSED:
        raise HubError(
            "rollout_ended",
            Kind.CONFLICT,
            f"The rollout is over: {rollout.state.value}.",
            next_step="Start another one.",
            fields={"state": rollout.state.value},
        )
    return State(outcome)


def bucket(rollout_id: str, target: str) -> int:
    """Return where a target stands in the order of a rollout: 0 to 2^48 - 1, the same for ever."""
    digest = hashlib.sha256(f"{rollout_id}\n{target}".encode()).digest()
    return int.from_bytes(digest[:BUCKET_BYTES])


def instance_target(domain: str, service: str, instance: str) -> str:
    """Name an instance as a target: once for each tenant whose configuration it follows."""
    return f"{domain}/{service}/{instance}"


def instance_stratum(tier: str, service: str) -> str:
    """Name the kind that an instance is of."""
    return f"{tier}/{service}"


def raised(rollout: Rollout, percent: float, targets: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the thresholds with which a share of the targets is exposed.

    Args:
        rollout: whose thresholds are raised.
        percent: share of all targets together; at least one is exposed where it is not 0.
        targets: buckets of those who are there, by stratum.

    Returns:
        Thresholds by stratum, none below what it was.
    """
    there = {stratum: sorted(buckets) for stratum, buckets in targets.items() if buckets}
    total = sum(map(len, there.values()))
    budget = min(total, max(1, math.floor(total * percent / EVERYONE))) if percent > 0 else 0
    taken = {
        stratum: sum(1 for each in buckets if each <= rollout.thresholds.get(stratum, NOBODY))
        for stratum, buckets in there.items()
    }
    budget -= sum(taken.values())
    # Kinds without anybody first, the largest before the others; then whoever lacks most of its share.
    queue = [
        (0 if not taken[stratum] else 1, taken[stratum] - len(buckets) * percent / EVERYONE, stratum)
        for stratum, buckets in there.items()
    ]
    heapq.heapify(queue)
    while budget > 0 and queue:
        _, lack, stratum = heapq.heappop(queue)
        taken[stratum] += 1
        budget -= 1
        if taken[stratum] < len(there[stratum]):
            heapq.heappush(queue, (1, lack + 1, stratum))
    thresholds = dict(rollout.thresholds)
    for stratum, count in taken.items():
        if count:
            thresholds[stratum] = max(thresholds.get(stratum, NOBODY), there[stratum][count - 1])
    return thresholds


def is_exposed(rollout: Rollout, domain: str, tier: str, service: str, instance: str) -> bool:
    """Say whether somebody who asks gets a rollout's values.

    Args:
        rollout: whose.
        domain: the tenant's.
        tier: at which it is.
        service, instance: who asks; empty when not said, and then not exposed by instance before everyone is.
    """
    if rollout.state not in OPEN or not rollout.stage:
        return False
    for stage in rollout.reached:
        if stage.percent >= EVERYONE or domain in stage.tenants or tier in stage.tiers:
            return True
        if instance and (instance in stage.instances or f"{service}/{instance}" in stage.instances):
            return True
    if rollout.unit is Unit.TENANT:
        return bucket(rollout.id, domain) <= rollout.thresholds.get(tier, NOBODY)
    if not instance:
        return False
    threshold = rollout.thresholds.get(instance_stratum(tier, service), NOBODY)
    return bucket(rollout.id, instance_target(domain, service, instance)) <= threshold


def concerns(rollout: Rollout, domain: str, tier: str, service: str) -> bool:
    """Say whether a rollout changes a layer that applies to somebody; otherwise nobody is to hear of it there."""
    return any(
        layer.tier in ("", tier) and layer.tenant in ("", domain) and layer.service in ("", service)
        for layer in [change.of for change in rollout.changes]
    )


def check_stages(stages: Sequence[Stage], tiers: Iterable[str], own_tenant: str) -> None:
    """Check what a rollout is to go through.

    Args:
        stages: in order.
        tiers: that there are.
        own_tenant: whose rollout it is, empty for the platform's.

    Raises:
        HubError: `invalid_rollout` (422).
    """
    reason = ""
    known = frozenset(tiers)
    before = 0.0
    if not 1 <= len(stages) <= STAGES_MAX:
        reason = f"it has 1 to {STAGES_MAX} stages"
    for stage in stages:
        if stage.percent < before:
            reason = "a stage reaches no less than the one before it"
        if not (stage.percent or stage.instances or stage.tenants or stage.tiers):
            reason = "a stage reaches somebody"
        if set(stage.tiers) - known:
            reason = f"tiers are among {', '.join(sorted(known))}"
        if own_tenant and (stage.tiers or set(stage.tenants) - {own_tenant}):
            reason = "a tenant's own rollout is about its instances"
        before = stage.percent
    if not reason and stages[-1].percent < EVERYONE:
        reason = "the last stage reaches everyone"
    if reason:
        raise invalid(reason)


def invalid(reason: str) -> HubError:
    """Return the refusal of what is no rollout."""
    return HubError(
        "invalid_rollout",
        Kind.MALFORMED,
        f"The rollout is refused: {reason}.",
        next_step="Correct its strategy; a how-to shows each kind.",
    )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates say: go on (ENTER, or COMPLETE after the last stage), take back, or None for waiting."""

    move: Move | None = None
    gate: str = ""
    reason: str = ""


WAIT: Final = Verdict()


def judge(rollout: Rollout, seen: Evidence, *, elapsed_s: float, settled_s: float) -> Verdict:
    """Hold what was seen against the gates.

    Args:
        rollout: as it stands.
        seen: so far.
        elapsed_s: since the stage began, or since this hub began to look at it.
        settled_s: since enough have acknowledged; 0 while they have not.
    """
    stage = rollout.current
    if stage is None:
        return Verdict(move=Move.ENTER)
    failed = _failed(rollout.gates, seen, elapsed_s)
    if failed is not None:
        return failed
    if not is_acknowledged(rollout.gates, seen) or settled_s < stage.bake_s or rollout.state is not State.RUNNING:
        return WAIT
    return Verdict(move=Move.COMPLETE if rollout.is_last else Move.ENTER)


def is_acknowledged(gates: Gates, seen: Evidence) -> bool:
    """Say whether enough of the exposed have acknowledged."""
    return seen.acknowledged * EVERYONE >= gates.acknowledged_percent * seen.exposed


def _failed(gates: Gates, seen: Evidence, elapsed_s: float) -> Verdict | None:
    if seen.refused > gates.refused_max:
        return _back("refusals", f"{seen.refused} of {seen.exposed} exposed instances refused it")
    more_than_others = not seen.others or seen.failing * seen.others > seen.others_failing * seen.exposed
    if seen.failing > gates.failing_max and more_than_others:
        return _back("health", f"{seen.failing} of {seen.exposed} exposed instances became unhealthy or vanished")
    for rates in (seen, *seen.kinds):
        if _have_risen(rates, gates.error_rise_percent / EVERYONE):
            return _back(
                "errors",
                f"{rates.errors} of {rates.requests} requests failed where it is in force, {rates.compared_errors} of "
                f"{rates.compared_requests} {'before' if rates.compared_with == 'before' else 'elsewhere'}"
                + (f" ({rates.kind})" if isinstance(rates, Rates) else ""),
            )
    if elapsed_s > gates.acknowledged_within_s and not is_acknowledged(gates, seen):
        return _back(
            "acknowledgements",
            f"{seen.acknowledged} of {seen.exposed} exposed instances acknowledged it in time",
        )
    return None


def _have_risen(rates: Evidence | Rates, rise: float) -> bool:
    """Say whether errors are certainly more than what they are compared with and `rise` on top."""
    if rates.errors < ERRORS_MIN:
        return False
    least, _ = bounds(rates.errors, rates.requests)
    _, most = bounds(rates.compared_errors, rates.compared_requests)
    return least > min(most, UNKNOWN_RATE) + rise


def _back(gate: str, reason: str) -> Verdict:
    return Verdict(move=Move.ROLL_BACK, gate=gate, reason=reason)


def bounds(errors: int, requests: int) -> tuple[float, float]:
    """Return between what an error rate is, at `CONFIDENCE_Z`: Wilson's score interval; 0 to 1 without requests."""
    if requests <= 0:
        return 0.0, 1.0
    z2 = CONFIDENCE_Z * CONFIDENCE_Z
    rate = min(1.0, errors / requests)
    middle = (rate + z2 / (2 * requests)) / (1 + z2 / requests)
    half = CONFIDENCE_Z / (1 + z2 / requests) * math.sqrt(rate * (1 - rate) / requests + z2 / (4 * requests * requests))
    return max(0.0, middle - half), min(1.0, middle + half)
