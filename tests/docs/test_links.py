"""Every relative link and anchor in a page resolves, and every file of docs/ can be reached from the README."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in REPOSITORY.rglob("*.md")
    if not any(part.startswith(".") or part == "node_modules" for part in page.relative_to(REPOSITORY).parts)
)
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links within the repository, code left out."""
    text = _CODE.sub("", _FENCE.sub("", page.read_text("utf-8")))
    return [target for target in _LINK.findall(text) if not _ELSEWHERE.match(target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found


def resolved(page: Path, target: str) -> tuple[Path, str]:
    """Return the file a link leads to, and its anchor."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return (file / "README.md" if file.is_dir() and (file / "README.md").is_file() else file), anchor


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found: list[str] = []
    for target in links(page):
        file, anchor = resolved(page, target)
        exists = file.exists() and file.is_relative_to(REPOSITORY.resolve())
        if not exists or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_every_file_of_the_documentation_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [(REPOSITORY / "README.md").resolve()]
    while waiting:
        file = waiting.pop()
        if file in reached or not file.is_file():
            continue
        reached.add(file)
        if file.suffix == ".md":
            waiting.extend(resolved(file, target)[0] for target in links(file))
    every = {file.resolve() for file in (REPOSITORY / "docs").rglob("*") if file.is_file()}
    assert len(every) > 20
    assert sorted(str(file.relative_to(REPOSITORY.resolve())) for file in every - reached) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# One `two`, three!\n\n## Again\n\n## Again\n")
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#one-two-three) [c](#here) [d](https://example.org/gone)\n"
        "[e](other.md#again-1)\n"
        "[f](gone.md) [g](other.md#gone) [h](#gone) ![i](gone.svg) [j](../outside.md)\n"
        "`[k](code.md)`\n```\n[l](block.md)\n```\n"
    )
    assert broken(page) == ["gone.md", "other.md#gone", "#gone", "gone.svg", "../outside.md"]
