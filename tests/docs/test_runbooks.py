"""Whatever a runbook names exists: metrics, log events, settings, commands with their options, problem codes.

What has the form of one of them is held against the code, so that a name that is misspelt, or goes away, fails. Names
of other programs that have such a form are listed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from central_hub.adapters.postgres.hold import ANSWER_S, RETRY_S
from central_hub.adapters.sqlite.log import LOG_BYTES_MAX, RESERVED_BYTES, RESERVED_FOR_FACTS_BYTES
from central_hub.cli.commands import build
from central_hub.edge.connection import CONNECTIONS_MAX
from central_hub.health.model import PAUSE_MIN_MS
from central_hub.kernel.brokers import Trouble
from central_hub.kernel.roster import SILENT_MS
from central_hub.kernel.sequencer import QUEUE_MAX
from central_hub.plans.document import default_catalogue
from central_hub.settings import Settings
from central_hub.webhooks.model import DEAD_LETTERS_MAX, FAILURES_MAX

ROOT: Final = Path(__file__).parents[2]
RUNBOOKS: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
INDEX: Final = ROOT / "docs" / "runbooks" / "README.md"
MIB: Final = 1024 * 1024

_BLOCK: Final = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_METRIC: Final = re.compile(r"((?:central_hub|process|http_server)_\w+)(?:\{\w+=[^}]*\})?")
_SETTING: Final = re.compile(r"(HUB_[A-Z_]+)(?:=\S+)?")
_EVENT: Final = re.compile(r"([a-z]+)\.[a-z_]+")
_CODE: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")

CLIENT_SETTINGS: Final = {"HUB_URL", "HUB_API_KEY"}
"""Of the command line and the SDK."""
OTHERS: Final = {
    "max_connections", "min_decryption_version", "synchronous_standby_names", "pg_basebackup", "pg_dump",
    "hub_unreachable", "central_hub.head.incarnation", "max_payload", "max_msg_size", "hub_events_days",
}  # fmt: skip
"""Names of other programs and of tables, and the code that the SDK gives to having no hub."""


def spans(page: Path) -> list[str]:
    """Return every span of code in a page's text, blocks left out."""
    return _SPAN.findall(_BLOCK.sub("", page.read_text("utf-8")))


def commands(page: Path) -> list[str]:
    """Return every command of the hub's in a page, in text and in blocks."""
    text = page.read_text("utf-8")
    typed = [line.partition(" #")[0].strip() for block in _BLOCK.findall(text) for line in block.splitlines()]
    return [each for each in (*spans(page), *typed) if each.startswith("central-hub ")]


def known_metrics() -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/metrics.md").read_text("utf-8"), re.MULTILINE))


def known_problems() -> set[str]:
    return set(tomllib.loads((ROOT / "src/central_hub/edge/problem_pages.toml").read_text("utf-8")))


def known_events() -> set[str]:
    """Return what the source logs, by name."""
    logged = re.compile(r"\.(?:debug|info|warning|error|exception)\(\s*\"([a-z_]+\.[a-z_]+)\"")
    sources = (ROOT / "src/central_hub").rglob("*.py")
    return {name for source in sources for name in logged.findall(source.read_text("utf-8"))}


def known_settings() -> set[str]:
    return {f"HUB_{name.upper()}" for name in Settings.model_fields} | CLIENT_SETTINGS


def known_options() -> set[str]:
    return set(
        re.findall(r"^\| `(?:-\w, )?(--[\w-]+)` \|", (ROOT / "docs/reference/cli.md").read_text("utf-8"), re.MULTILINE)
    )


TROUBLES: Final = {trouble.value for trouble in Trouble}
FEATURES: Final = {name for plan in default_catalogue().plans.values() for name in plan.entitlements}
OPTIONS: Final = known_options()
METRICS, PROBLEMS, EVENTS, SETTINGS = known_metrics(), known_problems(), known_events(), known_settings()


def wrong(span: str) -> bool:
    """Say whether a span names something that does not exist."""
    if span in OTHERS:
        return False
    if found := _METRIC.fullmatch(span):
        return found[1] not in METRICS
    if found := _SETTING.fullmatch(span):
        return found[1] not in SETTINGS
    if span.startswith("central-hub "):
        return bool(misused(span))
    if (found := _EVENT.fullmatch(span)) and found[1] in {event.partition(".")[0] for event in EVENTS}:
        return span not in EVENTS
    if span.startswith("--"):
        return span.split()[0] not in OPTIONS
    return bool(_CODE.fullmatch(span)) and span not in PROBLEMS | TROUBLES | FEATURES


def misused(typed: str) -> str:
    """Return what is wrong with a command of the hub's; empty when nothing is."""
    command: Any = typer.main.get_command(build())  # Any: click's commands, which typer vendors
    words = shlex.split(typed)[1:]
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no '{name}'"
        command = command.commands[name]
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts) if name[0] == "-"}
    arguments = 0
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            arguments += 1
            continue
        name, _, value = word.partition("=")
        if name not in options:
            return f"there is no {name}"
        if not options[name].is_flag and not value:
            if not words:
                return f"{name} has no value"
            words.pop(0)
    most = sum(each.param_type_name == "argument" for each in command.params)
    return f"{arguments} arguments, of {most}" if arguments > most else ""


def test_there_is_something_to_compare_with() -> None:
    assert min(map(len, (METRICS, PROBLEMS, EVENTS, SETTINGS, OPTIONS))) > 20


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_every_name_in_a_runbook_exists(page: Path) -> None:
    assert [span for span in spans(page) if wrong(span)] == []
    assert [(each, found) for each in commands(page) if (found := misused(each))] == []


@pytest.mark.parametrize("page", [page for page in RUNBOOKS if page != INDEX], ids=lambda page: page.stem)
def test_the_index_leads_to_every_runbook_and_each_says_when_it_is_over(page: Path) -> None:
    assert f"]({page.name}" in INDEX.read_text("utf-8")
    if page.name != "store-postgresql.md":  # there each part ends by itself when the server is back
        assert "It is over** when" in page.read_text("utf-8")


def test_the_table_of_what_is_down_has_a_runbook_for_each_row() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## What a hub does when something is down")[2]
    rows = re.findall(r"^\| (?!down|-)([^|]+) \|", table, re.MULTILINE)
    answered = {
        "the store": "store-postgresql.md", "the disk": "disk.md", "hub": "hub-gone.md", "broker": "relay-broker.md",
    }  # fmt: skip
    index = INDEX.read_text("utf-8")
    assert len(rows) >= 4
    for row in rows:
        pages = [page for words, page in answered.items() if words in row]
        assert pages, f"no runbook for '{row}'"
        assert all(page in index for page in pages)


def test_names_that_do_not_exist_are_found() -> None:
    for span in (
        "central_hub_no_such_total", "HUB_NO_SUCH", "no_such_problem", "store.no_such", "webhooks.no_such_event",
        "--nothing", "central-hub nothing", "central-hub webhook nothing", "central-hub doctor --nothing",
        "central-hub doctor --wait", "central-hub webhook list A B",
    ):  # fmt: skip
        assert wrong(span), span
    for span in (
        "central_hub_denied_total",
        "HUB_PORT=7001",
        "storage_full",
        "store.lost",
        "central-hub doctor --wait 2",
    ):
        assert not wrong(span), span


def _figures() -> Iterator[tuple[str, str]]:
    yield "hub-full.md", f"the hub holds {CONNECTIONS_MAX:,}"
    yield "hub-full.md", f"({QUEUE_MAX:,} writes wait)"
    yield "hub-gone.md", f"after {({3_000: 'three'})[int(SILENT_MS)]} seconds"
    yield "hubs-apart.md", f"heard nothing for {({3_000: 'three'})[int(SILENT_MS)]} seconds"
    yield "hubs-apart.md", f"slower than {ANSWER_S:g} s"
    yield "certificates.md", f"the hub tries {({4: 'four'})[round(1 / RETRY_S)]} times a second"
    yield "disk.md", f"less than {RESERVED_BYTES // MIB} MiB are free"
    yield "disk.md", f"less than {RESERVED_FOR_FACTS_BYTES // MIB} MiB and only events"
    yield "disk.md", f"above {LOG_BYTES_MAX // MIB // 1024} GiB"
    yield "clock.md", f"did not run for {({500: 'half a second'})[int(PAUSE_MIN_MS)]} or more"
    yield "webhooks.md", f"it has {DEAD_LETTERS_MAX:,} dead letters"
    yield "webhooks.md", f"last {({8: 'eight'})[FAILURES_MAX]} attempts failed over a day"


@pytest.mark.parametrize(("page", "quoted"), list(_figures()))
def test_a_figure_is_quoted_as_it_is(page: str, quoted: str) -> None:
    assert quoted in " ".join((INDEX.parent / page).read_text("utf-8").split())
