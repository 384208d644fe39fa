"""Breakers: what one costs a call and a key, beside four libraries that do less.

    python benchmarks/breakers.py            # the full form: a million keys
    python benchmarks/breakers.py --short    # as the tests run it

A call is looking its breaker up by tenant, service and route class, allowing it, and recording its success, in steady
state. Beside the libraries an empty function is guarded by one breaker each; ours reads the clock twice for that, and
is shown with looking up as well. Best of many rounds, the rounds of all in turn: other work on the machine only adds.

Memory is what the process grew by, divided by the keys, names included; each in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from central_hub.breakers.model import Transition
from central_hub.breakers.rules import Breaker
from central_hub.breakers.table import Breakers
from central_hub.breakers.tiers import DEFAULT

FULL: Final = (1_000_000, 200, 5_000)
SHORT: Final = (50_000, 30, 2_000)
KINDS: Final = ("idle", "active", "open")
LIBRARIES: Final = ("pybreaker", "circuitbreaker", "purgatory", "interlock-cb")
Work = Callable[[int], None]


def a_table() -> tuple[Breakers, list[Transition]]:
    """Return an empty table, and what it tells."""
    told: list[Transition] = []
    return Breakers(lambda *_: DEFAULT, told.append), told


def nothing() -> None:
    """Be called."""


def ours() -> dict[str, Work]:
    """Return what is measured of ours: a call with time given, the same without looking up, and a guarded function."""
    table, _ = a_table()
    of, clock = table.of, time.monotonic
    one = of("acme", "risk-management")

    def keyed(times: int) -> None:
        for _ in range(times):
            breaker = of("acme", "risk-management")
            breaker.succeeded(breaker.allow(5.0), 5.0)

    def held(times: int) -> None:
        for _ in range(times):
            one.succeeded(one.allow(5.0), 5.0)

    def failing_now_and_then(times: int) -> None:
        for number in range(times):
            permit = one.allow(5.0)
            if number % 20:
                one.succeeded(permit, 5.0)
            else:
                one.failed(permit, 5.0)

    def guarded(times: int) -> None:
        for _ in range(times):
            permit = one.allow(clock())
            if permit:
                nothing()
                one.succeeded(permit, clock())

    def guarded_keyed(times: int) -> None:
        for _ in range(times):
            breaker = of("acme", "risk-management")
            permit = breaker.allow(clock())
            if permit:
                nothing()
                breaker.succeeded(permit, clock())

    return {
        "call": keyed,
        "without_lookup": held,
        "one_in_twenty_failing": failing_now_and_then,
        "guarded": guarded,
        "guarded_with_lookup": guarded_keyed,
    }


def libraries() -> dict[str, Work]:
    """Return the same empty function, guarded by each library that is installed."""
    found: dict[str, Work] = {}
    try:
        import pybreaker

        guard = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30).call
        found["pybreaker"] = _calling(lambda: guard(nothing))
    except ImportError:
        pass  # named in the report, as for the others
    try:
        from circuitbreaker import circuit

        found["circuitbreaker"] = _calling(circuit(failure_threshold=5, recovery_timeout=30)(nothing))
    except ImportError:
        pass
    try:
        from purgatory import SyncCircuitBreakerFactory

        found["purgatory"] = _calling(SyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)("risk")(nothing))
    except ImportError:
        pass
    try:
        from interlock import CircuitBreaker

        call = CircuitBreaker(name="risk").call
        found["interlock-cb"] = _calling(lambda: call(nothing))
    except ImportError:
        pass
    return found


def _calling(guarded: Callable[[], object]) -> Work:
    def work(times: int) -> None:
        for _ in range(times):
            guarded()

    return work


def plain(times: int) -> None:
    """Call the function unguarded."""
    for _ in range(times):
        nothing()


def best_ns(works: dict[str, Work], rounds: int, times: int) -> dict[str, float]:
    """Return the best time of one call of each, in nanoseconds; their rounds alternate."""
    best = dict.fromkeys(works, float("inf"))
    gc.disable()
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work(times)
            best[name] = min(best[name], (time.perf_counter() - began) / times * 1e9)
    gc.enable()
    return {name: round(each, 1) for name, each in best.items()}


def spread_ns(keys: int, rounds: int, times: int) -> float:
    """Return the time of a call at one of many keys at random: most of it is memory that no cache holds."""
    table, _ = a_table()
    names = [f"tenant-{number:07d}" for number in range(keys)]
    for name in names:
        table.of(name, "risk-management")
    chance, of, best = random.Random(1), table.of, float("inf")
    for _ in range(rounds):
        chosen = chance.choices(names, k=times)
        now_s = time.monotonic()
        began = time.perf_counter()
        for name in chosen:
            breaker = of(name, "risk-management")
            breaker.succeeded(breaker.allow(now_s), now_s)
        best = min(best, (time.perf_counter() - began) / times * 1e9)
    return round(best, 1)


def rss() -> int:
    """Return the memory of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grow(kind: str, keys: int) -> None:
    """Make keys of a kind and print what each costs: idle ones, with full windows, or open."""
    table, told = a_table()
    gc.collect()
    before = rss()
    for number in range(keys):
        breaker = table.of(f"tenant-{number:07d}", "risk-management")
        if kind == "active":
            _fill(breaker, number)
        elif kind == "open":
            for _ in range(6):
                breaker.failed(breaker.allow(1.0), float(number))
            told.clear()
    gc.collect()
    print(json.dumps({"bytes": (rss() - before) / keys, "count": table.count}))


def _fill(breaker: Breaker, number: int) -> None:
    # Each with a time of its own, and failures in different places, so that nothing is shared by chance.
    now_s = 1.0 + number / 7
    for at in range(DEFAULT.window_size + 1):
        permit = breaker.allow(now_s)
        if (at + number) % 9:
            breaker.succeeded(permit, now_s)
        else:
            breaker.failed(permit, now_s)


def bytes_per_key(keys: int) -> dict[str, float]:
    """Measure each kind of key in a process of its own."""
    found: dict[str, float] = {}
    for kind in KINDS:
        command = [sys.executable, __file__, "--grow", kind, "--keys", str(keys)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        report = json.loads(done.stdout)
        assert report["count"] == keys
        found[kind] = round(report["bytes"], 1)
    return found


def main() -> None:
    """Print the figures as JSON, and on stderr which library is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--grow", choices=KINDS)
    parser.add_argument("--keys", type=int, default=0)
    given = parser.parse_args()
    if given.grow:
        grow(given.grow, given.keys)
        return
    keys, rounds, times = SHORT if given.short else FULL
    mine, theirs = ours(), libraries()
    missing = [name for name in LIBRARIES if name not in theirs]
    if missing:
        print(
            f"NOT MEASURED: {', '.join(missing)}. pip install --require-hashes -r requirements/benchmarks.txt",
            file=sys.stderr,
        )
    figures = best_ns({**mine, **theirs, "unguarded": plain}, rounds, times)
    fastest = min((figures[name] for name in theirs), default=0.0)
    report: dict[str, Any] = {
        "call_ns": {name: figures[name] for name in (*mine, "unguarded")},
        "libraries_ns": {name: figures[name] for name in theirs},
        "missing": missing,
        "fastest_library_ns": fastest,
        # Nothing is claimed against libraries of which one is missing.
        "times_faster": 0.0 if missing else round(fastest / figures["guarded"], 2),
        "keys": keys,
        "spread_call_ns": {str(many): spread_ns(many, rounds, times) for many in (10_000, keys)},
        "bytes_per_key": bytes_per_key(keys),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
