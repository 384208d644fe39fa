"""The lock files hold what the project asks for, with hashes and without a host."""

from __future__ import annotations

import re
import tomllib
from typing import Final

import pytest

from tests.architecture.source_tree import ROOT

PINNED: Final = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")
EXTRAS: Final = ("server", "postgres", "nats", "redis", "kafka")
LOCKS: Final = {"server.lock": EXTRAS, "dev.lock": (*EXTRAS, "dev")}


def _lock(name: str) -> str:
    return (ROOT / "requirements" / name).read_text("utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], "hatchling"]
    for extra in LOCKS[name]:
        asked += project["optional-dependencies"][extra]
    names = {found[0].lower().replace("_", "-") for line in asked if (found := NAME.match(line))} - {project["name"]}
    assert names <= {pinned for pinned, _ in PINNED.findall(_lock(name))}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_a_hash_for_each_package_and_no_host(name: str) -> None:
    text = _lock(name)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert not re.search(r"^--", text, re.MULTILINE)


def test_both_locks_agree_on_versions() -> None:
    dev = dict(PINNED.findall(_lock("dev.lock")))
    assert {name: dev.get(name) for name, _ in PINNED.findall(_lock("server.lock"))} == dict(
        PINNED.findall(_lock("server.lock"))
    )
