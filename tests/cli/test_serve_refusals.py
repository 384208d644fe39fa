"""A hub that cannot start says why in one sentence, and what to type next; never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from central_hub.cli.demo.processes import free_ports
from central_hub.cli.failures import ExitCode
from central_hub.settings import Settings, misspelt
from tests.cli.conftest import clean_environment

START_S = 60


def serve(directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a hub that is not expected to live."""
    (port,) = free_ports(1)
    return subprocess.run(
        [sys.executable, "-m", "central_hub", "serve", *words],
        cwd=directory,
        env=clean_environment() | {"HUB_PORT": str(port)} | variables,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def a_file(directory: Path) -> tuple[str, ...]:
    (directory / "file").touch()
    return ("--data", "file")


def below_a_file(directory: Path) -> tuple[str, ...]:
    (directory / "file").touch()
    return ("--data", "file/data")


def no_store(directory: Path) -> tuple[str, ...]:
    (directory / "data").mkdir()
    (directory / "data" / "hub.db").write_text("this is no database, and long enough to be looked at " * 20)
    return ("--data", "data")


def no_key(directory: Path) -> tuple[str, ...]:
    (directory / "data" / "keys").mkdir(parents=True)
    (directory / "data" / "keys" / "master.key").touch(mode=0o600)
    return ("--data", "data")


def missing_tiers(directory: Path) -> tuple[str, ...]:
    return ("--tiers", "missing.yaml")


def broken_tiers(directory: Path) -> tuple[str, ...]:
    (directory / "tiers.yaml").write_text("plans: [")
    return ("--tiers", "tiers.yaml")


def binary_tiers(directory: Path) -> tuple[str, ...]:
    (directory / "tiers.yaml").write_bytes(b"\xff\xfe")
    return ("--tiers", "tiers.yaml")


def no_network(directory: Path) -> tuple[str, ...]:
    return ("--probe-networks", "10.0.0.0/99")


def a_pattern(directory: Path) -> tuple[str, ...]:
    return ("--cross-origins", "https://*.example.com")


def open_to_pages(directory: Path) -> tuple[str, ...]:
    return ("--open", "--cross-origins", "https://app.example.com")


def elsewhere(directory: Path) -> tuple[str, ...]:
    return ("--host", "192.0.2.1")


@pytest.mark.parametrize(
    ("prepare", "code", "said"),
    [
        (a_file, "data_unusable", "--data"),
        (below_a_file, "data_unusable", "--data"),
        (no_store, "data_unusable", "backup"),
        (no_key, "key_file_invalid", "original file"),
        (missing_tiers, "invalid_tiers", "missing.yaml"),
        (broken_tiers, "invalid_tiers", "Correct the file"),
        (binary_tiers, "invalid_tiers", "tiers.yaml"),
        (no_network, "invalid_grant", "10.0.0.0/8"),
        (a_pattern, "invalid_origins", "https://*.example.com"),
        (open_to_pages, "open_mode_cross_origin", "use keys"),
        (elsewhere, "address_unavailable", "--host"),
    ],
)
def test_a_hub_that_cannot_start_says_what_to_do(
    prepare: Callable[[Path], tuple[str, ...]], code: str, said: str, tmp_path: Path
) -> None:
    done = serve(tmp_path, *prepare(tmp_path))
    assert "Traceback" not in done.stderr
    assert done.returncode in (ExitCode.USAGE, ExitCode.CONFLICT)
    assert done.stdout == ""
    *_, last = lines = done.stderr.splitlines()
    assert last.startswith("try:   central-hub ")
    assert any(line.startswith("error: ") and line.endswith(f"[{code}]") for line in lines)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HUB_PORT", "tcp://10.0.0.1:7000"),
        ("HUB_PORT", "70000"),
        ("HUB_OPEN", "perhaps"),
        ("HUB_LANE", "fast"),
        ("HUB_LOG_LEVEL", "loud"),
        ("HUB_RETENTION_DAYS", "0"),
        ("HUB_READS_PER_TENANT_S", "nan"),
        ("HUB_WRITES_PER_TENANT_S", "-1"),
        ("HUB_SNAPSHOT_EVERY", "1"),
        ("HUB_BOOTSTRAP_TOKEN", "secret"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(name: str, value: str, tmp_path: Path) -> None:
    done = serve(tmp_path, **{name: value})
    assert done.returncode == ExitCode.USAGE
    assert name in done.stderr
    assert "serve -" in done.stderr  # serve --help, or serve -h
    assert "Traceback" not in done.stderr
    assert name != "HUB_BOOTSTRAP_TOKEN" or value not in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_setting_that_is_nearly_spelled_right_is_told_apart_from_other_variables() -> None:
    names = ["HUB_PROT", "HUB_RETENTION_DAY", "HUB_URL", "HUB_API_KEY", "HUB_TENANT_ID", "HUB_CACHE_DIR", "PATH"]
    assert misspelt(names) == [("HUB_PROT", "HUB_PORT"), ("HUB_RETENTION_DAY", "HUB_RETENTION_DAYS")]
    assert misspelt(f"HUB_{name.upper()}" for name in Settings.model_fields) == []


def test_a_misspelt_setting_is_named_at_the_start(tmp_path: Path) -> None:
    done = serve(tmp_path, "--host", "192.0.2.1", HUB_LOG_LEVLE="debug")
    assert "HUB_LOG_LEVLE is no setting and was ignored; did you mean HUB_LOG_LEVEL?" in done.stderr


def test_a_store_that_does_not_answer_is_said_in_words_of_a_start(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = f"postgresql://hub@127.0.0.1:{nobody.getsockname()[1]}/hub"
        done = serve(tmp_path, "--store", store)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "error: The store does not answer, so the hub did not start." in done.stderr
    assert "[store_unavailable]" in done.stderr
    assert done.stderr.splitlines()[-1] == "try:   central-hub store status"
