"""What is derived from the code is checked in as it would be written now, and the hub serves the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from central_hub.app import describe
from tests.isolation.world import running
from tools import contracts

ROOT = Path(__file__).resolve().parents[2]
DERIVED = contracts.rendered()
PAGES = {"http-api", "settings", "problems", "limits", "metrics", "cli", "events"}


@pytest.mark.parametrize("path", sorted(DERIVED))
def test_a_derived_file_is_what_the_code_says_byte_for_byte(path: str) -> None:
    assert (ROOT / path).read_bytes() == DERIVED[path].encode(), "run: make contracts"


def test_every_reference_page_is_derived() -> None:
    checked_in = {page.stem for page in (ROOT / "docs" / "reference").glob("*.md")}
    assert checked_in == PAGES
    schemas = {path for path in DERIVED if path.startswith("contracts/events/")}
    assert {Path(path).stem for path in DERIVED if path not in schemas} == PAGES | {"openapi", "asyncapi"}
    assert schemas == {f"contracts/events/{page.name}" for page in (ROOT / "contracts" / "events").glob("*")}


def test_a_file_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "ROOT", tmp_path)
    assert contracts.differing(DERIVED) == sorted(DERIVED)
    assert contracts.main(["--check"]) == 1
    assert contracts.main([]) == 0
    assert contracts.differing(DERIVED) == []
    (tmp_path / "docs/reference/limits.md").write_text("changed")
    assert contracts.differing(DERIVED) == ["docs/reference/limits.md"]


def test_every_operation_is_in_the_contract_once() -> None:
    table, document = describe()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert sorted(ids) == sorted(operation.id for operation in table.operations)


async def test_a_hub_serves_the_contract_byte_for_byte_to_anyone() -> None:
    async with running() as world:
        answer = await world.ask("GET", "/openapi.json")
        again = await world.ask("GET", "/openapi.json")
    assert (answer.status, dict(answer.headers)[b"content-type"]) == (200, b"application/json")
    assert answer.body == again.body == (ROOT / "contracts" / "openapi.json").read_bytes()
    assert json.loads(answer.body)["openapi"] == "3.1.0"
