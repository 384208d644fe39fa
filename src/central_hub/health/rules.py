"""How signs become a verdict, and when the hub must doubt itself. Pure.

Hysteresis by counts in a row; flap damping by a decaying penalty; self-preservation by comparing
an instance with its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from zlib import crc32

import msgspec

from central_hub.health.model import (
    BLAME_SERVICES_MIN,
    BLAME_TARGETS_MIN,
    FALL,
    FALL_REFUSED,
    LATE_GAPS,
    LATE_SLACK_MS,
    LATE_TTL_SHARE,
    LATE_TTL_SHARE_MIN,
    LATENCY_RELAXED_MS,
    LATENCY_STRAINED_MS,
    LOAD_RELAXED,
    LOAD_STRAINED,
    PENALTY_HALF_LIFE_MS,
    PENALTY_MAX,
    PENALTY_PER_CHANGE,
    PENALTY_PER_FALL,
    PENALTY_REUSE,
    PENALTY_SUPPRESS,
    PROBE_INTERVAL_MAX_MS,
    PROBE_INTERVAL_MIN_MS,
    PROBES_PER_S,
    PROBES_PER_S_EASY,
    PROTECTION_MAX_MS,
    PROTECTION_MIN_MS,
    PROTECTION_TTLS,
    REASON_FAILED,
    REASON_FLAPPING,
    REASON_NONE,
    REASON_REFUSED,
    REASON_STRAINED,
    REASON_WARNED,
    RISE,
    SILENCE_MIN,
    SILENCE_SHARE,
    STRAIN,
    Sign,
    Standing,
)
from central_hub.registry.model import Status

_SEVERITY = {Status.HEALTHY: 0, Status.DEGRADED: 1, Status.UNHEALTHY: 2}


def observed(standing: Standing, sign: Sign, *, now_ms: int, at_ms: float, latency_ms: float | None = None) -> Standing:
    """Fold one sign into a standing.

    Args:
        sign: what the heartbeat or probe said.
        now_ms: wall clock, for what is shown.
        at_ms: monotonic clock, for the decay of penalties.
        latency_ms: of this probe, if it was measured.
    """
    bad = sign in (Sign.FAIL, Sign.REFUSED)
    counted = msgspec.structs.replace(
        standing,
        passes=0 if bad else min(standing.passes + 1, RISE),
        fails=min(standing.fails + 1, FALL) if bad else 0,
        refusals=min(standing.refusals + 1, FALL_REFUSED) if sign is Sign.REFUSED else 0,
        warned=sign is Sign.WARN,
        latency_ms=standing.latency_ms if latency_ms is None else latency_ms,
        last_check_ms=now_ms,
        protected=False,
    )
    return _settled(counted, _called_for(counted), now_ms=now_ms, at_ms=at_ms)


def reported(
    standing: Standing, *, load: float | None, latency_ms_p95: float | None, now_ms: int, at_ms: float
) -> Standing:
    """Fold a report of load and latency into a standing: several in a row make it degraded, or relieve it.

    Args:
        load: utilisation, 1.0 is all there is.
        latency_ms_p95: milliseconds.
        now_ms, at_ms: wall and monotonic clock.
    """
    if load is None and latency_ms_p95 is None:
        return standing
    bounds = (LOAD_RELAXED, LATENCY_RELAXED_MS) if standing.strained else (LOAD_STRAINED, LATENCY_STRAINED_MS)
    over = (load or 0.0) >= bounds[0] or (latency_ms_p95 or 0.0) >= bounds[1]
    strain = standing.strain + 1 if over != standing.strained else 0
    if strain == standing.strain == 0:
        return standing
    turned = strain >= STRAIN
    counted = msgspec.structs.replace(
        standing, strain=0 if turned else strain, strained=standing.strained is not turned
    )
    return _settled(counted, _called_for(counted), now_ms=now_ms, at_ms=at_ms) if turned else counted


def protected(standing: Standing, reason: str, *, now_ms: int) -> Standing:
    """Say that nothing is known, and that nobody is expired for it."""
    if standing.protected and standing.reason == reason:
        return standing
    return msgspec.structs.replace(
        standing, status=Status.UNKNOWN, reason=reason, since_ms=now_ms, protected=True, passes=0
    )


def decayed(penalty: float, elapsed_ms: float) -> float:
    """Let a penalty fade by half every half-life.

    Source: RFC 2439 section 4.2 (figure of merit).
    """
    return penalty * 0.5 ** (max(elapsed_ms, 0.0) / PENALTY_HALF_LIFE_MS) if penalty else 0.0


def _called_for(standing: Standing) -> tuple[Status, str]:
    """Return the status the evidence calls for, before damping; the present one while it is not enough."""
    if standing.refusals >= FALL_REFUSED:
        return Status.UNHEALTHY, REASON_REFUSED
    if standing.fails >= FALL:
        return Status.UNHEALTHY, REASON_FAILED
    if standing.fails or not standing.passes:
        return standing.status, standing.reason
    if standing.status is Status.UNHEALTHY and standing.passes < RISE:
        return standing.status, standing.reason
    if standing.warned:
        return Status.DEGRADED, REASON_WARNED
    if standing.strained:
        return Status.DEGRADED, REASON_STRAINED
    return Status.HEALTHY, REASON_NONE


def _settled(standing: Standing, called: tuple[Status, str], *, now_ms: int, at_ms: float) -> Standing:
    """Apply what is called for, unless the instance flaps: then it may get worse but not better."""
    status, reason = called
    penalty = decayed(standing.penalty, at_ms - standing.penalty_at_ms)
    suppressed = standing.suppressed and penalty > PENALTY_REUSE
    if status is standing.status and suppressed == standing.suppressed:
        if reason == standing.reason or suppressed:
            return standing
        return msgspec.structs.replace(standing, reason=reason)
    before, after = _SEVERITY.get(standing.status), _SEVERITY.get(status)
    if before is not None and after is not None and after > before:
        penalty = min(PENALTY_MAX, penalty + (PENALTY_PER_FALL if status is Status.UNHEALTHY else PENALTY_PER_CHANGE))
        suppressed = suppressed or penalty >= PENALTY_SUPPRESS
    elif suppressed:
        return msgspec.structs.replace(standing, reason=REASON_FLAPPING)
    return msgspec.structs.replace(
        standing,
        status=status,
        reason=reason,
        since_ms=now_ms if status is not standing.status else standing.since_ms,
        penalty=penalty,
        penalty_at_ms=at_ms,
        suppressed=suppressed,
    )


def is_late(silent_ms: float, usual_gap_ms: float, ttl_ms: float) -> bool:
    """Say whether an instance is later with its heartbeat than it usually is.

    Args:
        silent_ms: since its last heartbeat.
        usual_gap_ms: between the two heartbeats before that, 0 before it had two.
        ttl_ms: of its lease.
    """
    if usual_gap_ms <= 0:
        return silent_ms >= ttl_ms * LATE_TTL_SHARE
    return silent_ms >= min(max(usual_gap_ms * LATE_GAPS + LATE_SLACK_MS, ttl_ms * LATE_TTL_SHARE_MIN), ttl_ms)


def is_mass_silence(late: int, total: int) -> bool:
    """Say whether so many of a group are late that the cause is likely not theirs.

    Source: Eureka's self-preservation, per group instead of for everything.
    """
    return late >= SILENCE_MIN and late >= total * SILENCE_SHARE


def protection_ms(ttl_ms: float) -> float:
    """Return how long a silent instance is kept at most while its group is silent."""
    return min(max(ttl_ms * PROTECTION_TTLS, PROTECTION_MIN_MS), PROTECTION_MAX_MS)


def is_own_fault(answered: int, silent: int, silent_services: int) -> bool:
    """Say whether a domain's latest probes all went without an answer although they have little in common.

    A refused connection is an answer: the network between the hub and its target works.

    Args:
        answered: targets whose latest probe was answered in any way.
        silent: targets whose latest probe was not.
        silent_services: how many services those belong to.

    Source: A. Dadgar et al., Lifeguard: Local Health Awareness for More Accurate Failure Detection (2018).
    """
    return answered == 0 and silent >= BLAME_TARGETS_MIN and silent_services >= BLAME_SERVICES_MIN


def probe_interval_ms(targets: int) -> float:
    """Return how often each of `targets` is probed: often while they are few, never above `PROBES_PER_S` in all."""
    easy = min(max(targets * 1_000.0 / PROBES_PER_S_EASY, PROBE_INTERVAL_MIN_MS), PROBE_INTERVAL_MAX_MS)
    return max(easy, targets * 1_000.0 / PROBES_PER_S)


def phase_of(domain: str, service: str, instance_id: str) -> float:
    """Return where within the interval an instance is probed, 0 to 1, spread evenly and always the same."""
    return crc32(f"{domain}\n{service}\n{instance_id}".encode()) / 0x1_0000_0000


def next_probe_ms(after_ms: float, interval_ms: float, phase: float) -> float:
    """Return the first moment after `after_ms` that is an instance's turn.

    Turns hang on the clock and the phase alone, not on when something registered or was probed
    last: so they stay spread evenly when the interval changes with the number of targets.

    Args:
        after_ms, interval_ms: monotonic time and how often, milliseconds.
        phase: where within the interval, 0 to 1.
    """
    turns = floor(after_ms / interval_ms - phase) + 1
    return (turns + phase) * interval_ms


def status_of_group(counts: Sequence[int]) -> Status:
    """Return a group's status from how many members are healthy, degraded, unhealthy and unknown."""
    healthy, degraded, unhealthy, unknown = counts
    if unhealthy == 0 and degraded == 0:
        return Status.HEALTHY if healthy else Status.UNKNOWN
    if healthy == 0 and degraded == 0 and unknown == 0:
        return Status.UNHEALTHY
    return Status.DEGRADED
