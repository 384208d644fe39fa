"""Decisions as answers: where to send a request, and why there."""

from __future__ import annotations

from math import exp, inf
from typing import Final

from central_hub.kernel.clock import rfc3339
from central_hub.routing.advising import Answer
from central_hub.routing.candidates import sureness
from central_hub.routing.constraints import Strategy
from central_hub.routing.deciding import Decided
from central_hub.routing.schemas import (
    DecisionAnswer,
    Explained,
    Explanation,
    LeaseAnswer,
    Leased,
    LeftOut,
    Part,
    Predicted,
    Ranked,
    Replay,
    SimulatedShare,
    SimulatedStrategy,
)
from central_hub.routing.simulating import Simulated
from central_hub.routing.table import Row

SHOWN_MAX: Final = 64

LEARNED: Final = "learned"
DECLARED: Final = "declared"
LOAD: Final = "load"


def confidence_of(decided: Decided, at: int) -> tuple[float, str]:
    """Return how sure a candidate's prediction is, 0 to 1, and what it stands on."""
    row, place = _row(decided, at), int(decided.kept[at])
    foreseen = decided.foreseen
    known = bool(foreseen.known[place])
    sure = sureness(known=known, outcomes=float(foreseen.outcomes[place]), shunned=bool(foreseen.shunned[place]))
    learned = decided.offered_of(at).fleet.models[row.kind].samples > 0
    return round(sure, 3), LEARNED if learned else DECLARED if known else LOAD


def decision_answer(answer: Answer, seq: int, limit: int) -> DecisionAnswer:
    """Show a decision to whoever asked for it."""
    decided, row = answer.decided, answer.decided.row
    best = float(decided.scores[decided.at])
    sure, basis = confidence_of(decided, decided.at)
    ranked: list[Ranked] = []
    for at in decided.order(limit):
        one = _row(decided, at)
        ranked.append(
            Ranked(
                service_name=one.service,
                instance_id=one.instance_id,
                endpoint=one.endpoint,
                offering=one.offering.id,
                model=one.offering.model,
                score=round(exp(min(0.0, best - float(decided.scores[at]))), 4),
                predicted_ms=predicted_of(decided, at),
            )
        )
    return DecisionAnswer(
        decision_id=answer.decision_id,
        service_name=row.service,
        instance_id=row.instance_id,
        endpoint=row.endpoint,
        offering=row.offering.id,
        model=row.offering.model,
        strategy=decided.asked.strategy,
        confidence=sure,
        basis=basis,
        ranked=ranked,
        candidates=len(decided.kept),
        reserved=answer.reserved,
        expires_at=rfc3339(answer.expires_ms),
        seq=seq,
    )


def lease_answer(answer: Answer, seq: int, count: int, ttl_s: float) -> LeaseAnswer:
    """Show the best candidates with their shares: by how many requests each works off in the time of one."""
    decided = answer.decided
    order = decided.order(count)
    best = float(decided.scores[decided.at])
    worth: list[float] = []
    for at in order:
        place = int(decided.kept[at])
        per_s = float(decided.foreseen.slots[place]) / max(float(decided.foreseen.cost_s[place]), 1e-6)
        # Time is in the rate already; what else a strategy minds shows in the score.
        minded = 0.0 if decided.asked.strategy is Strategy.PERFORMANCE else best - float(decided.scores[at])
        worth.append(per_s * exp(min(0.0, minded)))
    total = sum(worth)
    return LeaseAnswer(
        lease_id=answer.decision_id,
        strategy=decided.asked.strategy,
        endpoints=[
            Leased(
                service_name=row.service, instance_id=row.instance_id, endpoint=row.endpoint, offering=row.offering.id,
                model=row.offering.model, weight=round(each / total, 6),
            )
            for row, each in zip((_row(decided, at) for at in order), worth, strict=True)
        ],
        ttl_s=ttl_s,
        expires_at=rfc3339(answer.at_ms + int(ttl_s * 1_000)),
        seq=seq,
    )  # fmt: skip


def simulated_answer(strategy: Strategy, found: Simulated, count: int) -> SimulatedStrategy:
    """Show what came of a simulation."""
    ordered = sorted(found.latencies_s)
    p50, p90, p99 = (
        round(ordered[int(share * (len(ordered) - 1))] * 1_000, 3) if ordered else 0.0 for share in (0.5, 0.9, 0.99)
    )
    return SimulatedStrategy(
        strategy=strategy,
        predicted_ms=Predicted(p50=p50, p90=p90, p99=p99) if ordered else None,
        nobody=found.nobody,
        instances=[
            SimulatedShare(
                service_name=row.service, instance_id=row.instance_id, offering=row.offering.id,
                share=round(times / count, 4), wait_ms=round(found.waits_s[place] / times * 1_000, 3),
            )
            for place, times in found.taken.most_common(SHOWN_MAX)
            for row in (found.matched.rows[place],)
        ],
    )  # fmt: skip


def explanation_of(answer: Answer, *, platform: bool) -> Explanation:
    """Show why a decision was as it was.

    Args:
        answer: as it was given.
        platform: whether the asker is the platform's, who may see the draw.
    """
    decided = answer.decided
    order = decided.order(SHOWN_MAX)
    gap = None if len(order) < 2 else float(decided.scores[order[1]]) - float(decided.scores[order[0]])
    kept = {int(at) for at in decided.kept}
    left_out = [
        LeftOut(service_name=row.service, instance_id=row.instance_id, offering=row.offering.id, reason=reason)
        for row, reason in (
            *decided.matched.left_out,
            *((row, _reason(decided, at)) for at, row in enumerate(decided.matched.rows) if at not in kept),
        )
    ]
    excluded = dict(decided.matched.excluded)
    for one in left_out[len(decided.matched.left_out) :]:
        excluded[one.reason] = excluded.get(one.reason, 0) + 1
    replay = None
    if platform:
        replay = Replay(matches=decided.replayed(), draw=decided.chance, sizes=list(decided.sizes))
    return Explanation(
        decision_id=answer.decision_id,
        at=rfc3339(answer.at_ms),
        strategy=decided.asked.strategy,
        reserved=answer.reserved,
        chosen=decided.row.instance_id,
        gap=None if gap is None else round(gap, 6),
        considered=decided.matched.considered,
        candidates=[_explained(answer, at) for at in order],
        excluded=excluded,
        left_out=left_out[:SHOWN_MAX],
        replay=replay,
    )


def predicted_of(decided: Decided, at: int) -> Predicted:
    """Show what a candidate is predicted to take."""
    p50, p90, _, p99 = decided.predicted[int(decided.kept[at])].tolist()
    return Predicted(p50=round(p50, 3), p90=round(p90, 3), p99=round(p99, 3))


def _explained(answer: Answer, at: int) -> Explained:
    decided = answer.decided
    row, place = _row(decided, at), int(decided.kept[at])
    foreseen, columns = decided.foreseen, decided.columns
    age_s = answer.at_s - float(foreseen.reported_s[place])
    return Explained(
        service_name=row.service,
        instance_id=row.instance_id,
        endpoint=row.endpoint,
        offering=row.offering.id,
        score=round(float(decided.scores[at]), 6),
        predicted_ms=predicted_of(decided, at),
        parts=Part(
            wait_ms=round(float(foreseen.wait_s[place]) * 1_000, 3),
            work_ms=round(float(foreseen.service_s[place]) * 1_000, 3),
            failed_lately=bool(foreseen.shunned[place]),
            in_flight=float(foreseen.in_flight[place]),
            slower_than_its_kind=round(float(foreseen.factor[place]), 3),
            outcomes=int(foreseen.outcomes[place]),
            report_age_ms=None if age_s == inf else round(age_s * 1_000, 3),
            price=_known(float(columns.price[at])),
            quality=_known(float(columns.quality[at])),
        ),
    )


def _reason(decided: Decided, place: int) -> str:
    """Say what of the size and the moment left a candidate out."""
    asked, matched, row = decided.asked, decided.matched, decided.matched.rows[place]
    if row.instance_id in asked.avoid:
        return "avoided"
    for at, name in enumerate(("input_max", "output_max")):
        if asked.size is not None and matched.limits[at][place] < asked.size[at]:
            return name
    size = decided.size
    price = sum(float(one[place]) * units for one, units in zip(matched.prices, (1.0, *size), strict=True))
    if asked.wanted.cost_max >= 0.0 and not price <= asked.wanted.cost_max:
        return "cost_max"
    return "latency_ms"


def _row(decided: Decided, at: int) -> Row:
    return decided.matched.rows[int(decided.kept[at])]


def _known(value: float) -> float | None:
    return value if value == value else None  # what is not a number is unequal to itself
