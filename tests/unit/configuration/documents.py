"""Hypothesis strategies: documents, and layers of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from central_hub.configuration.folding import Compiled, Placed, compiled
from central_hub.configuration.merging import encoded
from central_hub.configuration.model import GUARDS, OWN_PLACES

KEYS = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
PLACES = st.sampled_from(["/a", "/b", "/a/b", "/a/c", "/b/a", "/d~1e", "/c/a/b"])
# One type for each key, so that documents do not disagree about types unless a test wants them to.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a": st.integers(-20, 20),
    "b": st.booleans(),
    "c": st.sampled_from(["x", "y", {"$secret": "s/x"}, {"$secret": "s/y"}]),
    "d/e": st.lists(st.integers(0, 3), max_size=2),
    "f~g": st.floats(-4, 4, allow_nan=False, width=16),
}
LEVELS = 13


def documents(*, deletes: bool = True, depth: int = 2, mixed: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of which every leaf has one type for its path: values at the lowest level, objects above it."""

    def value(key: str, left: int) -> st.SearchStrategy[Any]:
        inner = VALUES[key] if left == 0 or key in ("d/e", "f~g") else level(left - 1)
        if mixed:
            inner = inner | VALUES["a"] | VALUES["c"]
        return st.none() | inner if deletes else inner

    def level(left: int) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({}, optional={key: value(key, left) for key in VALUES})

    return level(depth)


BOUNDS = st.dictionaries(PLACES, st.integers(-10, 10), max_size=2)


@st.composite
def guarded(draw: st.DrawFn, *, mixed: bool = False) -> dict[str, Any]:
    """A document that may bind the layers after it."""
    document = draw(documents(mixed=mixed))
    if draw(st.booleans()):
        document[GUARDS] = {
            "lock": draw(st.lists(PLACES, max_size=2)), "ceiling": draw(BOUNDS), "floor": draw(BOUNDS),
        }  # fmt: skip
    return document


def layer_lists(*, mixed: bool = True) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One document for every place in the order; the first is the plan's and takes nothing away."""
    plan = documents(deletes=False, mixed=mixed)
    rest = st.lists(st.just({}) | guarded(mixed=mixed), min_size=LEVELS - 1, max_size=LEVELS - 1)
    return st.tuples(plan, rest).map(lambda pair: [pair[0], *pair[1]])


def folded(document: dict[str, Any]) -> Compiled | None:
    """Compile a document."""
    return compiled(encoded(document))


def placed(given: list[dict[str, Any]]) -> tuple[Placed, ...]:
    """Put documents at their places; a tenant's own are those at `OWN_PLACES`."""
    own = {place + 1 for place in OWN_PLACES}
    return tuple(Placed(folded(document), own=at in own) for at, document in enumerate(given))
