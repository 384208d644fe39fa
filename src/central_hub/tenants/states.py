"""The life of a tenant: what each state lets its callers do, and how one state becomes another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from central_hub.kernel.context import ALL_ACTS, Act
from central_hub.kernel.errors import HubError, Kind
from central_hub.tenants.model import State

NO_ACTS: Final[frozenset[Act]] = frozenset()
_LOOKING: Final = frozenset({Act.READ, Act.GOVERN})

CALLERS: Final[Mapping[State, frozenset[Act]]] = {
    State.TRIAL: ALL_ACTS,
    State.ACTIVE: ALL_ACTS,
    State.PAST_DUE: ALL_ACTS,
    State.SUSPENDED: _LOOKING,
    State.DELETED: NO_ACTS,
}
"""What the tenant's own callers, and gateways for it, may do."""

OPERATORS: Final[Mapping[State, frozenset[Act]]] = {
    State.TRIAL: ALL_ACTS,
    State.ACTIVE: ALL_ACTS,
    State.PAST_DUE: ALL_ACTS,
    State.SUSPENDED: ALL_ACTS,
    State.DELETED: _LOOKING,
}
"""What whoever administers tenants may do for one."""


class Move(StrEnum):
    """What can be done to a tenant's state."""

    ACTIVATE = "activate"
    PAST_DUE = "past_due"
    SUSPEND = "suspend"
    RESUME = "resume"
    DELETE = "delete"
    RESTORE = "restore"
    SHRED = "shred"


MOVES: Final[Mapping[Move, tuple[frozenset[State], State | None]]] = {
    Move.ACTIVATE: (frozenset({State.TRIAL, State.PAST_DUE}), State.ACTIVE),
    Move.PAST_DUE: (frozenset({State.TRIAL, State.ACTIVE}), State.PAST_DUE),
    Move.SUSPEND: (frozenset({State.TRIAL, State.ACTIVE, State.PAST_DUE}), State.SUSPENDED),
    Move.RESUME: (frozenset({State.SUSPENDED}), State.ACTIVE),
    Move.DELETE: (frozenset({State.TRIAL, State.ACTIVE, State.PAST_DUE, State.SUSPENDED}), State.DELETED),
    Move.RESTORE: (frozenset({State.DELETED}), State.SUSPENDED),
    Move.SHRED: (frozenset({State.DELETED}), None),
}
"""From which states to which; None is the end of everything."""


TRIAL_ENDED: Final = Move.PAST_DUE
"""What the hub does by itself when a trial comes to its end: everything works on, and somebody has to decide."""


def acts_in(state: State, *, operator: bool) -> frozenset[Act]:
    """Return what a caller may do for a tenant in a state."""
    return (OPERATORS if operator else CALLERS)[state]


def check_on_trial(state: State) -> None:
    """Refuse unless the tenant is on trial.

    Raises:
        HubError: `wrong_state` (409).
    """
    if state is not State.TRIAL:
        raise HubError(
            "wrong_state",
            Kind.CONFLICT,
            f"A tenant that is {state.value} has no trial that could end at another time.",
            next_step="Leave trial_ends_at_ms out.",
            fields={"state": state.value},
        )


def moved(state: State, move: Move) -> State | None:
    """Return the state that a move leads to; the same one when it is there already, None when all ends.

    Raises:
        HubError: `wrong_state` (409).
    """
    sources, target = MOVES[move]
    if state is target:
        return target
    if state not in sources:
        possible = [name.value for name, (from_states, _) in MOVES.items() if state in from_states]
        raise HubError(
            "wrong_state",
            Kind.CONFLICT,
            f"A tenant that is {state.value} cannot be moved by '{move.value}'.",
            next_step=f"Possible now: {', '.join(possible)}.",
            fields={"state": state.value, "possible": possible},
        )
    return target
