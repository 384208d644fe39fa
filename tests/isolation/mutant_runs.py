"""A pytest plugin that runs the collected tests against one mutant after the other.

Everything is imported and collected once. For each mutant the process forks; the child puts the mutated function in
the place of the real one and runs the tests that reach it, quickest first, until one is red. So a mutant costs
milliseconds, not a start of the interpreter, and nothing of it is left behind.

The mutants come from the file named in `HUB_MUTANTS`, one name a line; a line of JSON for each goes to the file
named in `HUB_MUTANT_VERDICTS`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import pytest
from _pytest.runner import runtestprotocol

from tests.isolation.checks import PACKAGE, Mutant, modules, mutants_of, mutated

MUTANT_SECONDS_MAX: Final = 40
"""A mutant whose tests do not end by then is noticed, by whoever waits for them."""
BASELINE_SECONDS_MAX: Final = 600
FAILED: Final = "the run failed"
"""What is said of a mutant that could not be tried; nothing is concluded then."""

Key = tuple[str, str]
Reach = dict[Key, list[tuple[float, int]]]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run the mutants instead of the tests."""
    wanted = set(Path(os.environ["HUB_MUTANTS"]).read_text("utf-8").splitlines())
    mutants = [mutant for module in modules() for mutant in mutants_of(module) if mutant.name in wanted]
    functions = _live_functions({mutant.site.module for mutant in mutants})
    reach = _reach(session, functions)
    gc.collect()
    gc.freeze()
    with open(os.environ["HUB_MUTANT_VERDICTS"], "w", encoding="utf-8") as out:
        for mutant in mutants:
            began = time.perf_counter()
            noticed = _in_child(lambda write, mutant=mutant: _attempt(session, mutant, functions, reach, write))
            verdict = {"mutant": mutant.name, "noticed_by": noticed, "seconds": time.perf_counter() - began}
            out.write(json.dumps(verdict) + "\n")
            out.flush()
    return True


def _live_functions(names: set[str]) -> dict[Key, list[FunctionType]]:
    """Return the functions of the modules by (file, qualified name)."""
    for name in names:
        importlib.import_module("central_hub." + name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    files = {str(PACKAGE / name): name for name in names}
    found: dict[Key, list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename in files:
            found.setdefault((files[one.__code__.co_filename], one.__code__.co_qualname), []).append(one)
    return found


def _reach(session: pytest.Session, functions: dict[Key, list[FunctionType]]) -> Reach:
    """Run every test once, unmutated; return which reach which function, and how long they take.

    Raises:
        RuntimeError: one is red already; nothing could be concluded then.
    """
    owners = {id(code): key for key, found in functions.items() for one in found for code in _with_nested(one.__code__)}
    said = _in_child(lambda write: _baseline(session, owners, write), BASELINE_SECONDS_MAX)
    told: dict[str, Any] = json.loads(said) if said.startswith("{") else {"red": said}
    if "red" in told:
        raise RuntimeError(f"the tests are red without any mutant: {told['red']}")
    reach: Reach = {}
    for index, (seconds, keys) in enumerate(told["tests"]):
        for module, name in keys:
            reach.setdefault((module, name), []).append((seconds, index))
    return reach


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _with_nested(one)


def _baseline(session: pytest.Session, owners: dict[int, Key], write: Callable[[str], None]) -> None:
    reached: set[Key] = set()

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and (key := owners.get(id(frame.f_code))) is not None:
            reached.add(key)

    told: list[tuple[float, list[Key]]] = []
    for item in session.items:
        reached.clear()
        began = time.perf_counter()
        threading.setprofile(note)
        sys.setprofile(note)
        red = _is_red(item)
        sys.setprofile(None)
        threading.setprofile(None)
        if red:
            write(json.dumps({"red": red}))
            return
        told.append((time.perf_counter() - began, sorted(reached)))
    write(json.dumps({"tests": told}))


def _attempt(
    session: pytest.Session,
    mutant: Mutant,
    functions: dict[Key, list[FunctionType]],
    reach: Reach,
    write: Callable[[str], None],
) -> None:
    key = (mutant.site.module, mutant.site.outer)
    module = compile(mutated(mutant), str(PACKAGE / mutant.site.module), "exec")
    placed = 0
    for code in _with_nested(module):
        for one in functions.get(key, ()):
            if code.co_qualname == mutant.site.outer and code.co_firstlineno == one.__code__.co_firstlineno:
                one.__code__ = code
                placed += 1
    assert placed, f"there is no function to mutate: {mutant.name}"
    for _, index in sorted(reach.get(key, ())):
        if red := _is_red(session.items[index]):
            write(red)
            return


def _is_red(item: pytest.Item) -> str:
    """Run a test; return its name when it fails."""
    reports = runtestprotocol(item, log=False, nextitem=None)
    return item.nodeid if any(report.failed for report in reports) else ""


def _in_child(run: Callable[[Callable[[str], None]], None], seconds: int = MUTANT_SECONDS_MAX) -> str:
    """Run in a forked process; return what it wrote, or how it ended when it did not end well."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            run(lambda text: _write_all(writing, text.encode()))
            status = 0
        except BaseException as error:
            _write_all(writing, f"{FAILED}: {error!r}".encode())
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said or ("" if status == 0 else f"the tests, which did not end in {seconds} s")


def _write_all(to: int, data: bytes) -> None:
    while data:
        data = data[os.write(to, data) :]
