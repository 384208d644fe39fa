"""All instances that can be decided between, as this hub foresees them: columns of numbers, and what moves them. Pure.

A decision reads columns (`foresee`); what is decided, told and reported changes one instance at a time, and time alone
changes only those whose `due` has come. So a decision costs a few vector operations, however long the queues are.

    cost = mean over particles of max(0, free - now) + seconds x factor + what a failure lately adds

`factor` is an instance's own speed against its kind's: outcomes move it slowly, or at once where they contradict it by
more than `SLOW_ABOVE`; what is overdue by as much moves it before any outcome is there. After `DOUBT` mean requests
without evidence a slow instance is given the benefit of the doubt.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central_hub.routing.calibration import LEVELS, Calibration
from central_hub.routing.callers import CALLERS_MAX, Callers
from central_hub.routing.foreseen import Foreseen, Indexes, Numbers, Placed
from central_hub.routing.queues import PARTICLES, Entry, Queue
from central_hub.routing.sizes import Size, SizeBook
from central_hub.routing.speed import SHARE_MIN, SpeedModel

GUESS_S: Final = 1.0
"""Seconds that a request is thought to take where nothing is declared or known."""
SLOW_ABOVE: Final = 2.0
FACTOR_MAX: Final = 16.0
FACTOR_WEIGHT: Final = 0.1
UNCLEAR_MAX: Final = 1.5
UNCLEAR_UP: Final = 0.3
FRESH: Final = 1.5
"""In mean requests: how long a report of more in flight than was foreseen is taken as it is."""
LEVEL_WEIGHT: Final = 0.2
"""Weight of the newest report in how many requests of others an instance usually holds."""
DOUBT: Final = 24.0
GIVEN_UP: Final = 6.0
"""What is overdue by so many times its expected time will not be told."""
DOUBTED: Final = 1.5
"""The same for a caller that never told anything."""
TRIED_MAX: Final = 12
"""Decisions after which a kind is not given the benefit of the doubt any more, told of or not."""
SHUN_S: Final = 1.0
SHUN_MEANS: Final = 3.0
SHUN_MAX_S: Final = 30.0
STRIKES_MAX: Final = 16.0
STRIKES_LEFT: Final = 0.7
"""Of the failures counted against an instance, after each success."""
SHUNNED: Final = 1_000.0
"""In mean requests: what an instance costs on top that failed just now."""
DECISIONS_MAX: Final = 100_000
"""Decisions whose outcome can still be told."""
DECISION_KEPT_S: Final = 900.0
ROWS_FIRST: Final = 16
SERVER_COLUMNS: Final = (
    "factor", "in_flight", "slots", "excess", "level", "free", "shun_until", "reported_s", "outcomes",
)  # fmt: skip
KIND_COLUMNS: Final = ("weights", "floor", "ratios", "known")


class Fleet:
    """Instances by number. Times are seconds on a clock that never goes back.

    Args:
        pooled: whether several tenants use these instances. Then what one of them says against an instance holds for
            that tenant alone until another says so too: nobody can talk an instance out of the others' favour.
    """

    def __init__(self, *, pooled: bool = False) -> None:
        self._pooled = pooled
        self._blamed: dict[int, tuple[Hashable, float]] = {}
        self._contradicted: dict[int, Hashable] = {}
        self._own_shun: dict[Hashable, dict[int, float]] = {}
        self.queues: list[Queue] = []
        self.models: list[SpeedModel] = []
        self.calibrations: list[Calibration] = []
        self.free: Numbers = np.full((ROWS_FIRST, PARTICLES), -inf)
        self.factor: Numbers = np.ones(ROWS_FIRST)
        self.shun_until: Numbers = np.full(ROWS_FIRST, -inf)
        self.weights: Numbers = np.zeros((ROWS_FIRST, 3))
        self.floor: Numbers = np.zeros(ROWS_FIRST)
        self.ratios: Numbers = np.ones((ROWS_FIRST, len(LEVELS)))
        """Of each kind, by what a foreseen latency is multiplied for each quantile."""
        self.known: NDArray[np.bool_] = np.zeros(ROWS_FIRST, dtype=np.bool_)
        """Whether a kind's speed was declared or learned."""
        self.in_flight: Numbers = np.zeros(ROWS_FIRST)
        self.slots: Numbers = np.ones(ROWS_FIRST)
        self.excess: Numbers = np.zeros(ROWS_FIRST)
        self.level: Numbers = np.zeros(ROWS_FIRST)
        self.reported_s: Numbers = np.full(ROWS_FIRST, -inf)
        self._reports = False
        self.outcomes: Numbers = np.zeros(ROWS_FIRST)
        """Outcomes told of each instance."""
        self._factor_s: list[float] = []
        self._strikes: list[float] = []
        self._kinds: dict[Hashable, int] = {}
        self._tried: list[int] = []
        self._unexplored: set[int] = set()
        """Kinds of which nothing was declared, and too little learned."""
        self._unused: list[int] = []
        self._due: list[tuple[float, int]] = []
        self._next_due: list[float] = []
        self._placed: OrderedDict[Hashable, Placed] = OrderedDict()
        self._ages: deque[tuple[float, Hashable]] = deque()
        self._callers = Callers()
        self.told_after_s = 0.0
        self.mean_s = GUESS_S
        self._samples = 0

    # -- what there is ----------------------------------------------------------------------

    def add(self, slots: int) -> int:
        """Take in an instance that works on so many requests at a time; returns its number."""
        if self._unused:
            server = self._unused.pop()
            self.queues[server] = Queue(slots)
            self._factor_s[server] = self._strikes[server] = 0.0
        else:
            server = len(self.queues)
            self.queues.append(Queue(slots))
            self._factor_s.append(0.0)
            self._strikes.append(0.0)
            self._next_due.append(inf)
            if server >= len(self.factor):
                self._grow_servers()
        self.free[server] = -inf
        self.factor[server] = 1.0
        self.shun_until[server] = -inf
        self.in_flight[server] = self.excess[server] = self.level[server] = self.outcomes[server] = 0.0
        self.slots[server] = slots
        self.reported_s[server] = -inf
        self._next_due[server] = inf
        return server

    def branch(self, servers: Indexes, kinds: Indexes) -> tuple[Fleet, Indexes, Indexes]:
        """Return a fleet of its own that stands where these instances do now, and their numbers in it.

        What becomes of it changes nothing here; it learns nothing, and nobody in it tells.
        """
        other = Fleet(pooled=self._pooled)
        other.mean_s, other.told_after_s, other._reports = self.mean_s, self.told_after_s, self._reports
        of_server: dict[int, int] = {}
        for server in dict.fromkeys(int(one) for one in servers):
            place = of_server[server] = other.add(self.queues[server].slots)
            other.queues[place] = self.queues[server].copied()
            for name in SERVER_COLUMNS:
                getattr(other, name)[place] = getattr(self, name)[server]
            other._factor_s[place] = self._factor_s[server]
        of_kind: dict[int, int] = {}
        for kind in dict.fromkeys(int(one) for one in kinds):
            model = self.models[kind]
            place = of_kind[kind] = other.kind(kind, model.mean_s)
            other.models[place], other.calibrations[place] = model, self.calibrations[kind]
            for name in KIND_COLUMNS:
                getattr(other, name)[place] = getattr(self, name)[kind]
        return (
            other,
            np.array([of_server[int(one)] for one in servers], dtype=np.intp),
            np.array([of_kind[int(one)] for one in kinds], dtype=np.intp),
        )

    def resize(self, server: int, slots: int) -> None:
        """Take note that an instance works on so many requests at a time."""
        self.queues[server].slots = slots
        self.slots[server] = slots

    def remove(self, server: int) -> None:
        """Let an instance go; its number will be another's."""
        self._blamed.pop(server, None)
        self._contradicted.pop(server, None)
        for shunned in self._own_shun.values():
            shunned.pop(server, None)
        self.queues[server] = Queue(1)
        self._next_due[server] = inf
        self._unused.append(server)

    def kind(self, key: Hashable, guess_s: float | None = None) -> int:
        """Return the number of a kind of speed; a new one begins with the guess, or what others of the fleet take."""
        found = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = len(self.models)
            self.models.append(SpeedModel(self.mean_s if guess_s is None else guess_s))
            self.calibrations.append(Calibration())
            self._tried.append(0)
            if found >= len(self.floor):
                self.weights = np.vstack((self.weights, np.zeros_like(self.weights)))
                for name in KIND_COLUMNS[1:]:
                    setattr(self, name, np.concatenate((getattr(self, name), np.zeros_like(getattr(self, name)))))
            self.known[found] = guess_s is not None
            if guess_s is None:
                self._unexplored.add(found)
            self._show_kind(found)
        return found

    # -- deciding ---------------------------------------------------------------------------

    def foresee(
        self, servers: Indexes, kinds: Indexes, sizes: tuple[Size, ...], now_s: float, by: Hashable = None
    ) -> Foreseen:
        """Say what each candidate would give `by`: `servers[i]` under the speed of `kinds[i]`."""
        self.settle(now_s)
        count = len(sizes)
        mean = np.array((1.0, sum(one[0] for one in sizes) / count, sum(one[1] for one in sizes) / count))
        service = np.maximum(self.weights[kinds] @ mean, self.floor[kinds]) * self.factor[servers]
        wait = np.maximum(self.free[servers] - now_s, 0.0).mean(axis=1)
        if self._reports:
            wait += self._foreign_s(servers, kinds, now_s)
        shunned = self.shun_until[servers] > now_s
        if by in self._own_shun:
            shunned |= np.isin(servers, self._shunned_by(by, now_s))
        return Foreseen(
            wait, service, wait + service + shunned * (SHUNNED * self.mean_s), shunned, self.known[kinds],
            self.ratios[kinds], self.in_flight[servers], self.slots[servers], self.factor[servers],
            self.outcomes[servers], self.reported_s[servers],
        )  # fmt: skip

    def _foreign_s(self, servers: Indexes, kinds: Indexes, now_s: float) -> Numbers:
        """Return the seconds that requests of others seem to take ahead of one that arrives now."""
        mean = self.floor[kinds] * (self.factor[servers] / SHARE_MIN)
        fresh = now_s - self.reported_s[servers] < FRESH * mean
        others = np.where(fresh, self.excess[servers], self.level[servers])
        slots = self.slots[servers]
        ahead = np.clip(others + self.in_flight[servers] - slots + 1.0, 0.0, others)
        return ahead * mean / slots

    def _shunned_by(self, by: Hashable, now_s: float) -> list[int]:
        left = {server: until_s for server, until_s in self._own_shun[by].items() if until_s > now_s}
        if left:
            self._own_shun[by] = left
        else:
            del self._own_shun[by]
        return list(left)

    def settle(self, now_s: float) -> None:
        """Look again at the queues whose time has come."""
        due = self._due
        while due and due[0][0] <= now_s:
            at_s, server = heappop(due)
            if self._next_due[server] == at_s:
                self._next_due[server] = inf
                self._look(server, now_s)

    # -- what becomes of it -----------------------------------------------------------------

    def place(
        self,
        decision: Hashable,
        server: int,
        kind: int,
        sizes: tuple[Size, ...],
        now_s: float,
        *,
        book: SizeBook | None = None,
        caller: Hashable = None,
        declared: Size | None = None,
        foreseen_s: float = 0.0,
        until_s: float = inf,
        silent: bool | None = None,
    ) -> None:
        """Take a decision up: from now on it is in its instance's queue."""
        constant, per_input, per_output = self.weights[kind].tolist()
        floor_s = float(self.floor[kind])
        seconds = tuple(max(floor_s, constant + per_input * one[0] + per_output * one[1]) for one in sizes)
        entry = Entry(
            decision, now_s, seconds, silent=not self._callers.will_tell(caller) if silent is None else silent
        )
        entry.until_s = until_s
        self.queues[server].open(entry)
        self._tried[kind] += 1
        if self._tried[kind] == TRIED_MAX:
            self._show_kind(kind)
        self._placed[decision] = Placed(server, kind, book, caller, declared, foreseen_s, entry)
        self._ages.append((now_s, decision))
        self._forget(now_s)
        self._look(server, now_s)

    def told(
        self, decision: Hashable, now_s: float, *, ok: bool, latency_s: float, true: Size = (0.0, 0.0),
        by: Hashable = None,
    ) -> bool:  # fmt: skip
        """Take in how a decision went; False when it is unknown, or was told before."""
        placed = self._placed.pop(decision, None)
        if placed is None:
            return False
        self._callers.showed(placed.caller, tells=True)
        entry, server = placed.entry, placed.server
        end_s = min(now_s, entry.at_s + latency_s)
        self.told_after_s += 0.1 * (now_s - end_s - self.told_after_s)
        self.queues[server].close(entry.decision, end_s)
        if ok:
            self._strikes[server] *= STRIKES_LEFT
            self._learn(placed, end_s, latency_s, true, by)
        else:
            self._failed(server, now_s, by)
        self._look(server, now_s)
        return True

    def given_up(self, decision: Hashable, now_s: float, *, failed: bool, by: Hashable = None) -> bool:
        """Close a decision without an outcome: it was not used, or its caller asks again because it failed."""
        placed = self._placed.pop(decision, None)
        if placed is None:
            return False
        self.queues[placed.server].close(placed.entry.decision, now_s)
        if failed:
            self._failed(placed.server, now_s, by)
        self._look(placed.server, now_s)
        return True

    def seen(self, server: int, now_s: float, *, ok: bool, by: Hashable = None) -> None:
        """Take in whether an instance answered a request that was not decided here."""
        if ok:
            self._strikes[server] *= STRIKES_LEFT
        else:
            self._failed(server, now_s, by)

    def reported(self, server: int, at_s: float, in_flight: int, now_s: float) -> None:
        """Take in how many requests an instance says that it held at a time, whoever sent them.

        Fewer than was foreseen: silent ones have ended. More: others send there too.
        """
        queue = self.queues[server]
        queue.expire(now_s)
        before = [one for one in queue.entries if one.at_s <= at_s]
        excess = in_flight - len(before)
        if excess < 0:
            queue.fewer(-excess, at_s)
        self.excess[server] = max(0, excess)
        self.level[server] += LEVEL_WEIGHT * (max(0, excess) - self.level[server])
        self.reported_s[server] = at_s
        self._reports = True
        self._look(server, now_s)

    def placed(self, decision: Hashable) -> Placed | None:
        """Return a decision that was taken up and not told yet."""
        return self._placed.get(decision)

    # -- inside -----------------------------------------------------------------------------

    def _learn(self, placed: Placed, end_s: float, latency_s: float, true: Size, by: Hashable) -> None:
        entry, server, kind = placed.entry, placed.server, placed.kind
        queue, model = self.queues[server], self.models[kind]
        if placed.book is not None:
            placed.book.learn(placed.declared, true)
        if placed.foreseen_s:
            self.calibrations[kind].learn(placed.foreseen_s, latency_s)
            self._show_kind(kind)
        self.outcomes[server] += 1
        began_s = entry.at_s if entry.started_s is None else min(entry.started_s, end_s)
        seconds = max(end_s - began_s, 1e-6)
        ratio = seconds / model.expected_s(true)
        trusted, clear = model.trusted, entry.clear
        if not trusted or 1 / SLOW_ABOVE < ratio / queue.factor < SLOW_ABOVE:
            model.learn(true, seconds / (queue.factor if trusted else 1.0), clear=clear)
            self._show_kind(kind)
            if model.samples == 1 or model.samples % 16 == 0:
                for other in tuple(self._unexplored):
                    self._show_kind(other)
        if trusted:
            believed = clear and (not self._pooled or self._is_corroborated(server, ratio / queue.factor, by))
            self._set_factor(server, _moved(queue.factor, ratio, clear=believed), end_s)
        if clear or not self._samples:
            self._samples += 1
            self.mean_s += (seconds - self.mean_s) / min(self._samples, 200)

    def _is_corroborated(self, server: int, against: float, by: Hashable) -> bool:
        """Say whether an outcome is as expected, or another tenant's contradicted what was expected just before."""
        if 1 / SLOW_ABOVE < against < SLOW_ABOVE:
            self._contradicted.pop(server, None)
            return True
        before = self._contradicted.get(server, by)
        self._contradicted[server] = by
        return before != by

    def _set_factor(self, server: int, factor: float, at_s: float) -> None:
        self.queues[server].factor = self.factor[server] = factor
        self._factor_s[server] = at_s

    def _failed(self, server: int, now_s: float, by: Hashable) -> None:
        self._strikes[server] += 1.0
        length_s = max(SHUN_S, SHUN_MEANS * self.mean_s) * 2.0 ** (min(self._strikes[server], STRIKES_MAX) - 1.0)
        until_s = now_s + min(SHUN_MAX_S, length_s)
        if self._pooled:
            blamed, at_s = self._blamed.get(server, (by, -inf))
            self._blamed[server] = (by, now_s)
            if blamed == by or now_s - at_s > SHUN_MAX_S:
                if by in self._own_shun or len(self._own_shun) < CALLERS_MAX:
                    self._own_shun.setdefault(by, {})[server] = until_s
                return
        self.shun_until[server] = until_s

    def _look(self, server: int, now_s: float) -> None:
        """Work out anew when an instance is free, and when to look again."""
        queue = self.queues[server]
        if queue.factor > SLOW_ABOVE and now_s - self._factor_s[server] > DOUBT * self.mean_s:
            self._set_factor(server, 1.0, now_s)
        self._look_at_overdue(server, now_s)
        queue.expire(now_s)
        self.free[server] = queue.free_s(now_s, self.told_after_s)
        self.in_flight[server] = queue.in_flight
        due_s = queue.due_s()
        if due_s <= now_s:
            due_s = now_s + max(0.05 * self.mean_s, 0.001)
        if queue.factor > SLOW_ABOVE:
            due_s = min(due_s, max(now_s + 0.001, self._factor_s[server] + DOUBT * self.mean_s + 0.001))
        if due_s != self._next_due[server]:
            self._next_due[server] = due_s
            if due_s < inf:
                heappush(self._due, (due_s, server))

    def _look_at_overdue(self, server: int, now_s: float) -> None:
        """Take what is late as evidence: of a slow instance where the caller is known to tell, else of the caller."""
        queue = self.queues[server]
        for entry in queue.entries[: queue.slots]:
            placed = self._placed.get(entry.decision)
            if entry.silent or entry.started_s is None or placed is None:
                continue
            late_s = now_s - entry.started_s - 2 * self.told_after_s
            known = self._callers.tells(placed.caller)
            if now_s > entry.until_s or late_s > (GIVEN_UP if known else DOUBTED) * entry.most_s * queue.factor:
                entry.silent = True
                self._callers.showed(placed.caller, tells=False)
            elif (
                known
                and not self._pooled
                and self.models[placed.kind].trusted
                and late_s > SLOW_ABOVE * entry.most_s * queue.factor
            ):
                self._set_factor(server, min(FACTOR_MAX, SLOW_ABOVE * late_s / entry.mean_s), now_s)

    def _show_kind(self, kind: int) -> None:
        model = self.models[kind]
        weights, share = model.weights, 1.0
        if kind in self._unexplored:
            tried = [one for at, one in enumerate(self.models) if at not in self._unexplored]
            if model.explored:
                self._unexplored.discard(kind)
            elif tried:
                # Sizes weigh on it as on one that is known. As fast as the fastest until it has been tried: who is
                # thought slow is never found out. Then, as nobody told, as slow as was guessed.
                alike = min(tried, key=lambda one: one.mean_s)
                hopeful = self._tried[kind] < TRIED_MAX
                share = min(1.0, alike.mean_s / model.mean_s) if hopeful else 1.0
                weights = tuple(weight * model.mean_s / alike.mean_s for weight in alike.weights)
        self.weights[kind] = [share * weight for weight in weights]
        self.floor[kind] = share * model.floor_s
        self.ratios[kind] = self.calibrations[kind].factors()
        self.known[kind] |= model.samples > 0

    def _forget(self, now_s: float) -> None:
        while self._ages and (self._ages[0][0] < now_s - DECISION_KEPT_S or len(self._placed) > DECISIONS_MAX):
            self._placed.pop(self._ages.popleft()[1], None)

    def _grow_servers(self) -> None:
        for name in SERVER_COLUMNS:
            column = getattr(self, name)
            setattr(self, name, np.concatenate((column, np.zeros_like(column))))


def _moved(factor: float, ratio: float, *, clear: bool) -> float:
    """Return an instance's factor after an outcome that took `ratio` times what its kind takes.

    What is not clear may have waited for others: it says at most how slow an instance is, so it moves up little.
    """
    if not clear:
        ratio = min(ratio, UNCLEAR_MAX * factor)
        weight = FACTOR_WEIGHT * (UNCLEAR_UP if ratio > factor else 1.0)
    elif 1 / SLOW_ABOVE < ratio / factor < SLOW_ABOVE:
        weight = FACTOR_WEIGHT
    else:
        weight = 1.0
    return min(FACTOR_MAX, max(1 / FACTOR_MAX, factor + weight * (ratio - factor)))
