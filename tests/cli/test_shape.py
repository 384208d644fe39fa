"""The command line as such: fast to start, light, complete, and telling the next command in every error."""

import inspect
import json
import resource
import subprocess
import sys

import pytest

from central_hub.cli.connection import Connection
from central_hub.cli.failures import EXIT_OF_STATUS, ExitCode, Failure, failure_of_problem
from central_hub.cli.output import Format, Output
from central_hub.cli.serving import serve
from central_hub.edge.problems import STATUS
from central_hub.settings import Settings

NOT_FLAGS = {
    "bootstrap_token", "master_key", "master_key_previous", "transit_token",  # everyone on the machine reads those
    "transit_url", "transit_key", "transit_mount", "transit_namespace", "transit_token_file", "transit_ca_file",
}  # fmt: skip  # what belongs to one key provider is said in one place, beside its token
HELP_CPU_S_MAX = 0.5
RENAMED = {"open": "open_mode"}
SERVER_PACKAGES = (
    "fastapi",
    "uvicorn",
    "pydantic_settings",
    "apsw",
    "structlog",
    "central_hub.edge",
    "central_hub.app",
    "aiohttp",
)


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "central_hub", *words],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", **(environment or {})},
        check=False,
    )


@pytest.mark.timing
def test_help_costs_less_than_half_a_second() -> None:
    took: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(took) < HELP_CPU_S_MAX


def test_no_short_help_is_cut() -> None:
    commands = run("--help").stdout.partition("Commands:")[2]
    assert "serve" in commands
    assert "..." not in commands


def test_a_client_command_does_not_load_the_server() -> None:
    script = (
        "import sys; from central_hub.cli import main\n"
        "try: main.main(['services', 'list', '--hub', 'http://127.0.0.1:1'])\n"
        "except SystemExit as end: assert end.code == 7, end.code\n"
        f"print([name for name in {SERVER_PACKAGES!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_every_setting_is_a_flag_of_serve() -> None:
    flags = set(inspect.signature(serve).parameters)
    wanted = {RENAMED.get(name, name) for name in Settings.model_fields} - NOT_FLAGS
    assert flags == wanted


@pytest.mark.parametrize(
    "words",
    [
        ("services", "get", "risk"),
        ("tenant", "list"),
        ("watch",),
        ("discover", "risk", "--explain"),
        ("audit", "tail", "acme"),
    ],
)
def test_a_hub_that_is_away_is_7_with_the_next_command(words: tuple[str, ...]) -> None:
    done = run(*words, environment={"HUB_URL": "http://127.0.0.1:1"})
    assert done.returncode == ExitCode.UNAVAILABLE
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("try:   central-hub doctor")


def test_an_error_is_one_json_object_when_json_was_asked_for() -> None:
    done = run("services", "list", "-o", "json", environment={"HUB_URL": "http://127.0.0.1:1"})
    error = json.loads(done.stderr)["error"]
    assert (error["exit_code"], error["code"]) == (7, "hub_unreachable")
    assert error["next"]


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("register", "risk"), "--port"),
        (("services", "list", "--hub", "ftp://x"), "HUB_URL"),
        (("register", "risk", "--port", "1", "--meta", "novalue"), "NAME=VALUE"),
        (("serve", "--port", "70000"), "HUB_PORT"),
        (("serve", "--open", "--host", "0.0.0.0"), "--host 127.0.0.1"),
        (("no-such-command",), "--help"),
        (("demo", "--for", "0"), "--for"),
    ],
)
def test_a_wrong_command_is_2_and_says_what_is_right(words: tuple[str, ...], word: str) -> None:
    done = run(*words)
    assert done.returncode == ExitCode.USAGE
    assert word in done.stderr or "-h" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_status_the_hub_refuses_with_has_an_exit_code() -> None:
    without = {status for status in STATUS.values() if status not in EXIT_OF_STATUS}
    assert without == {405, 500}  # our own mistakes: plain errors


@pytest.mark.parametrize("status", sorted(STATUS.values()))
def test_every_failure_ends_with_a_command_to_try(status: int) -> None:
    failure = failure_of_problem(status, {})
    assert failure.next_command
    assert failure.exit_code is not ExitCode.OK


def test_a_problem_becomes_a_failure_with_its_code_hint_and_decision() -> None:
    problem = {"code": "tier_too_low", "detail": "It needs pro.", "next": "Upgrade.", "decision_id": "d1"}
    failure = failure_of_problem(403, problem)
    assert (failure.exit_code, failure.code, failure.hint, failure.decision_id) == (4, "tier_too_low", "Upgrade.", "d1")


@pytest.mark.parametrize("url", ["http://", "ftp://hub", "http://hub:notaport", "http://hub:99999"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(Failure) as refused:
        Connection(url)
    assert refused.value.exit_code is ExitCode.USAGE


def test_a_table_never_lets_what_it_shows_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE).table(("name",), [("\x1b[2Jgone\nsecond",)], empty="")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.splitlines()[1] == "?[2Jgone second"


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE).table(("name",), [], empty="Nothing here.")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Nothing here.\n")


def test_version_is_data() -> None:
    assert json.loads(run("version", "-o", "json").stdout)["version"]
    assert run("--version").stdout.startswith("central-hub ")


def test_without_the_server_extra_the_command_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['typer'] = None; from central_hub.cli.main import main; main(['services', 'list'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == ExitCode.ERROR
    assert "pip install 'central-hub[server]'" in done.stderr


def test_the_shell_can_complete_commands() -> None:
    asked = {"_CENTRAL_HUB_COMPLETE": "complete_bash", "COMP_WORDS": "central-hub ten", "COMP_CWORD": "1"}
    assert run(environment=asked).stdout.split() == ["tenant"]
