"""Fair queuing of writes: nobody waits for long behind those who send more, and shares follow weights."""

from collections import Counter
from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.kernel.fairness import (
    COST_BYTES_MAX,
    COST_BYTES_MIN,
    FIRST_SHARE,
    QUANTUM_BYTES,
    WEIGHT_MAX,
    EqualShares,
    FairQueue,
    queue_full,
)
from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import GROUP_COMMIT_BYTES_MAX, GROUP_COMMIT_MAX

NAMES = [DomainId(name) for name in ("acme", "globex", "initech", "umbrella")]


@dataclass(frozen=True)
class Item:
    """Something that waits, its cost, and whose it is."""

    of: DomainId | None
    bytes: int
    number: int = 0


def queue_of(weights: dict[DomainId, int] | None = None) -> FairQueue[Item]:
    return FairQueue(lambda domain: (weights or {}).get(domain, 1))


def filled(queue: FairQueue[Item], domain: DomainId | None, count: int, size: int) -> None:
    for number in range(count):
        queue.put(domain, Item(domain, size, number))


COSTS = st.lists(
    st.tuples(st.sampled_from([*NAMES, None]), st.integers(min_value=0, max_value=3 * COST_BYTES_MAX)), max_size=200
)


@given(COSTS, st.integers(1, 40), st.integers(1, 200_000))
def test_everything_is_taken_once_and_in_the_order_of_its_domain(
    given_items: list[tuple[DomainId | None, int]], most: int, room: int
) -> None:
    queue = queue_of()
    for number, (domain, size) in enumerate(given_items):
        queue.put(domain, Item(domain, size, number))
    taken: list[Item] = []
    while queue:
        part = queue.take(most, room)
        assert 1 <= len(part) <= most
        taken += part
    assert len(taken) == len(given_items)
    assert len(queue) == 0
    assert queue.waiting_domains == 0
    for domain in (*NAMES, None):
        numbers = [item.number for item in taken if item.of == domain]
        assert numbers == sorted(numbers)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 2 * COST_BYTES_MAX), min_size=1, max_size=60),
    st.integers(0, 300),
    st.integers(1, WEIGHT_MAX),
    st.integers(1, 8),
)
def test_nobody_starves(sizes: list[int], flood: int, weight: int, others: int) -> None:
    """Whoever has something waiting is served before the others have had more than so many turns each."""
    crowd = [DomainId(f"other-{number}") for number in range(others)]
    queue = queue_of(dict.fromkeys(crowd, weight))
    for other in crowd:
        filled(queue, other, flood, 700)
    for number, size in enumerate(sizes):
        queue.put(NAMES[0], Item(NAMES[0], size, number))
    turns = ceil(min(COST_BYTES_MAX, max(COST_BYTES_MIN, sizes[0])) / QUANTUM_BYTES) + 1
    allowed = others * turns * (weight * QUANTUM_BYTES + COST_BYTES_MAX)
    before = 0
    while queue:
        for item in queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX):
            if item.of == NAMES[0]:
                assert before <= allowed
                return
            before += item.bytes
    raise AssertionError("never served")


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 4, 8), (1, 1, 16, 64)])
def test_shares_converge_to_the_weights_whatever_the_size_of_commands(weights: tuple[int, ...]) -> None:
    queue = queue_of(dict(zip(NAMES, weights, strict=True)))
    sizes = dict(zip(NAMES, (600, 900, 5_000, 12_000), strict=True))
    for name in NAMES:
        filled(queue, name, 40_000_000 // sizes[name], sizes[name])
    served: Counter[DomainId] = Counter()
    while sum(served.values()) < 30_000_000:
        for item in queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX):
            assert item.of is not None
            served[item.of] += item.bytes
    for name, weight in zip(NAMES, weights, strict=True):
        assert served[name] / sum(served.values()) == pytest.approx(weight / sum(weights), rel=0.05), name


def test_one_command_is_in_the_next_group_however_many_another_has_waiting() -> None:
    queue = queue_of()
    filled(queue, NAMES[0], 10_000, 600)
    queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX)
    queue.put(NAMES[1], Item(NAMES[1], 600))
    group = queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX)
    assert len(group) == GROUP_COMMIT_MAX
    assert NAMES[1] in {item.of for item in group[: QUANTUM_BYTES // 600 + 2]}


def test_the_hubs_own_work_goes_first_and_leaves_the_rest_of_the_group() -> None:
    queue = queue_of()
    filled(queue, NAMES[0], 500, 100)
    filled(queue, None, 500, 100)
    group = [item.of for item in queue.take(128, 1_000_000)]
    assert group == [None] * int(128 * FIRST_SHARE) + [NAMES[0]] * int(128 * (1 - FIRST_SHARE))
    while len(queue) > 500 - 64:
        queue.take(128, 1_000_000)
    alone = queue_of()
    filled(alone, None, 500, 100)
    assert len(alone.take(128, 1_000_000)) == 128


def test_a_group_ends_with_the_command_that_fills_it() -> None:
    queue = queue_of()
    filled(queue, NAMES[0], 10, 100_000)
    assert len(queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX)) == 3
    filled(queue, NAMES[1], 10, 100_000)
    assert len(queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX)) == 3


def test_who_has_nothing_waiting_saves_nothing_up() -> None:
    queue = queue_of()
    filled(queue, NAMES[1], 1_000, 600)
    for _ in range(50):
        queue.put(NAMES[0], Item(NAMES[0], 1))
        queue.take(8, GROUP_COMMIT_BYTES_MAX)
    filled(queue, NAMES[0], 1_000, 600)
    group = Counter(item.of for item in queue.take(60, GROUP_COMMIT_BYTES_MAX))
    assert abs(group[NAMES[0]] - group[NAMES[1]]) <= 2 * QUANTUM_BYTES // 600


def test_a_weight_is_kept_within_its_bounds() -> None:
    queue = queue_of({NAMES[0]: 0, NAMES[1]: 1_000_000})
    for name in NAMES[:2]:
        filled(queue, name, 20_000, 600)
    served = Counter(item.of for _ in range(100) for item in queue.take(GROUP_COMMIT_MAX, GROUP_COMMIT_BYTES_MAX))
    assert served[NAMES[1]] / served[NAMES[0]] == pytest.approx(WEIGHT_MAX, rel=0.1)


def test_everyone_counts_the_same_where_nobody_says_otherwise() -> None:
    shares = EqualShares(7)
    assert {shares.weight_of(name) for name in NAMES} == {1}
    assert {shares.queued_max(name) for name in NAMES} == {7}
    refusal = queue_full(7)
    assert (refusal.code, refusal.retry_after_s, refusal.fields["limit"]) == ("write_queue_full", 1, 7)
