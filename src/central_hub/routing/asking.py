"""What callers ask, what they tell, and how nobody being there is said; plain data that needs no arrays. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.routing.constraints import Prefer, Strategy, Wanted
from central_hub.routing.model import RECORDS_PER_DOMAIN_MAX, SIMULATED_AMONG_MAX
from central_hub.routing.sizes import Size


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    wanted: Wanted
    services: tuple[str, ...] = ()
    """Only these; empty for every service the caller sees."""
    strategy: Strategy = Strategy.PERFORMANCE
    prefer: Prefer = Prefer()
    size: Size | None = None
    key: str = ""
    avoid: frozenset[str] = frozenset()
    work: str = ""
    """What kind of work it is: sizes that turned out are remembered by it."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How a request went, as its caller says."""

    decision_id: str = ""
    instance_id: str = ""
    ok: bool
    latency_s: float
    size: Size = (0.0, 0.0)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement that is relaxed: what was asked, and what is there instead (None: leave it out)."""

    field: str
    asked: list[str] | float | None
    to: list[str] | float | None = None


class Relaxation(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that together leave so many candidates."""

    changes: list[Change]
    candidates: int


def no_candidate(relaxed: Sequence[Relaxation], reasons: dict[str, int], considered: int) -> HubError:
    """Return the refusal when nobody meets what is asked, with what would have to be asked less."""
    first = relaxed[0] if relaxed else None
    step = "Nothing that the caller sees comes near; see the offerings with GET /routing/offerings."
    if first is not None:
        words = ", ".join(f"{one.field}: {_said(one.asked)} to {_said(one.to)}" for one in first.changes)
        step = f"Change {words}: that leaves {first.candidates}."
    return HubError(
        "no_candidate", Kind.CONFLICT, f"None of {considered:,} offerings meets what is asked.", next_step=step,
        fields={
            "considered": considered,
            "excluded": reasons,
            "relaxations": [msgspec.to_builtins(one) for one in relaxed],
        },
    )  # fmt: skip


def _said(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "anything" if value is None else str(value)


def too_many_candidates(count: int) -> HubError:
    """Return the refusal of a simulation between more than it can be between."""
    return HubError(
        "too_many_candidates", Kind.MALFORMED,
        f"{count:,} offerings meet what is asked; a simulation is between {SIMULATED_AMONG_MAX:,} at most.",
        next_step="Ask for more: a service, a model, a region.",
    )  # fmt: skip


def decision_missing() -> HubError:
    """Return the refusal for a decision that is not there, or is another tenant's."""
    return HubError(
        "routing_decision_not_found", Kind.NOT_FOUND, "There is no such decision (any more).",
        next_step=f"The last {RECORDS_PER_DOMAIN_MAX} decisions of a tenant can be explained, where they were made.",
    )  # fmt: skip
