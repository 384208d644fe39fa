"""The decisions: numbered without gaps, all in the index, each with what a decision has to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "adr").glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives", "Held by"]
LINES_MAX = 60
REPOSITORY = Path(__file__).parents[2]
PROJECT = REPOSITORY / "pyproject.toml"


def test_decisions_are_numbered_without_gaps_and_stand_in_the_index_in_order() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]
    index = (DECISIONS[0].parent / "README.md").read_text("utf-8")
    assert re.findall(r"^\| \[\d{4}\]\((.+?)\)", index, re.MULTILINE) == [page.name for page in DECISIONS]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_one_page_with_one_sentence_to_quote(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.match(rf"# {page.name[:4]}\. .+\n\nStatus: (accepted|replaced by .+), \d{{4}}-\d{{2}}\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert len(re.findall(r"^> \*\*.+\*\*$", text, re.MULTILINE)) == 1
    assert len(text.splitlines()) <= LINES_MAX


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_what_a_decision_is_held_by_is_there(page: Path) -> None:
    held_by = page.read_text("utf-8").split("## Held by")[1]
    named = re.findall(r"`((?:tests|kernel|edge|adapters)/[\w./]+)`", held_by)
    contracts = set(re.findall(r"the `([a-z-]+)` import contract", held_by, re.IGNORECASE))
    assert named or contracts
    assert contracts <= set(re.findall(r'^id = "([a-z-]+)"$', PROJECT.read_text("utf-8"), re.MULTILINE))
    for path in named:
        assert (REPOSITORY / path).exists() or (REPOSITORY / "src" / "central_hub" / path).exists(), path
