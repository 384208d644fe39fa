"""The picture in the README is one of the demo's screen as it is now, and can be drawn again."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from central_hub.cli.demo.cast import ROLES, TENANTS
from central_hub.cli.demo.figures import Figures, TenantFigures
from central_hub.cli.demo.screen import Scene, render
from tools.pictures import HEIGHT, PICTURE, play, svg_of

BYTES_MAX = 64 * 1024
README = Path(__file__).parents[2] / "README.md"


def words_of(svg: str) -> set[str]:
    """Return every word that is drawn."""
    drawn = "".join(ElementTree.fromstring(svg).itertext())
    return set(html.unescape(drawn).replace("\xa0", " ").split())


def empty_screen() -> str:
    figures = Figures({tenant.id: TenantFigures(tenant.tier) for tenant in TENANTS})
    return svg_of(render(Scene("http://127.0.0.1:7000"), figures, height=HEIGHT))


def test_a_screen_is_drawn_alike_twice_and_refers_to_nothing_outside() -> None:
    drawn = empty_screen()
    assert drawn == empty_screen()
    assert re.findall(r"url\((?!#)", drawn) == []
    assert "href" not in drawn


def test_the_picture_shows_todays_screen_and_is_small() -> None:
    kept = PICTURE.read_text("utf-8")
    words = words_of(kept)
    headings = {
        "service",
        "instance",
        "endpoint",
        "status",
        "calls",
        "tenant",
        "tier",
        "failed",
        "p50",
        "p99",
        "happens",
    }
    assert headings <= words_of(empty_screen()), "the screen changed: draw a new picture with python -m tools.pictures"
    expected = headings | {role.service for role in ROLES} | {tenant.id for tenant in TENANTS}
    assert expected - words == set()
    assert len(kept.encode()) < BYTES_MAX
    assert PICTURE.name in README.read_text("utf-8")


@pytest.mark.timeout(90)
async def test_a_new_picture_can_be_taken() -> None:
    words = words_of(await play(seconds=1.0))
    assert {role.service for role in ROLES} | {tenant.id for tenant in TENANTS} <= words
