"""The life of a tenant as a table: every move from every state, and what a state leaves possible."""

from __future__ import annotations

import pytest

from central_hub.kernel.context import Act
from central_hub.kernel.errors import HubError
from central_hub.tenants.model import State
from central_hub.tenants.states import Move, acts_in, moved

STAYS = "stays"
TABLE = {
    #              trial        active       past_due     suspended    deleted
    "activate": ("active", STAYS, "active", None, None),
    "past_due": ("past_due", "past_due", STAYS, None, None),
    "suspend": ("suspended", "suspended", "suspended", STAYS, None),
    "resume": (None, STAYS, None, "active", None),
    "delete": ("deleted", "deleted", "deleted", "deleted", STAYS),
    "restore": (None, None, None, STAYS, "suspended"),
    "shred": (None, None, None, None, "gone"),
}
CELLS = [(state, move) for move in Move for state in State]


@pytest.mark.parametrize(("state", "move"), CELLS, ids=lambda one: one.value)
def test_every_cell_of_the_moves(state: State, move: Move) -> None:
    expected = TABLE[move.value][list(State).index(state)]
    if expected is None:
        with pytest.raises(HubError) as refused:
            moved(state, move)
        possible = [name for name, cells in TABLE.items() if cells[list(State).index(state)] not in (None, STAYS)]
        assert (refused.value.code, refused.value.fields) == ("wrong_state", {"state": state, "possible": possible})
    elif expected == STAYS:
        assert moved(state, move) is state
    else:
        assert moved(state, move) == (None if expected == "gone" else expected)


def test_nobody_may_more_than_the_operator() -> None:
    for state in State:
        assert acts_in(state, operator=False) <= acts_in(state, operator=True)
    assert acts_in(State.DELETED, operator=False) == set()
    assert acts_in(State.SUSPENDED, operator=False) == {Act.READ, Act.GOVERN}
