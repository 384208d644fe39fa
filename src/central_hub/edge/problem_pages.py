"""The page behind each problem `type`: what it means, why it happens, what to do.

The catalogue is data beside this file (`problem_pages.toml`), one table a code; a test compares
it with the codes that the source raises, both ways.
"""

from __future__ import annotations

import html
import tomllib
from importlib import resources
from typing import Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.problems import TYPE_PREFIX
from central_hub.kernel.errors import HubError, Kind

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{code} - Central Hub</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}
code{{background:#8882;padding:.1em .3em;border-radius:.2em}}</style>
<p><a href="{prefix}">All problems</a></p><h1><code>{code}</code></h1>
<h2>Why</h2><p>{cause}</p><h2>What to do</h2><p>{fix}</p></html>
"""


class ProblemPage(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a code."""

    code: str
    cause: str
    fix: str


class ProblemList(msgspec.Struct, frozen=True, kw_only=True):
    """Every code there is, sorted."""

    problems: list[ProblemPage]


def load_catalogue() -> dict[str, ProblemPage]:
    """Read the catalogue that ships with the package, keyed by code."""
    text = resources.files("central_hub.edge").joinpath("problem_pages.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    return {code: ProblemPage(code=code, cause=page["cause"], fix=page["fix"]) for code, page in tables.items()}


def operations() -> tuple[Operation, ...]:
    """Return the rows that serve the catalogue; public, since a refused caller needs them."""
    catalogue = load_catalogue()

    async def list_problems(call: Call) -> Reply:
        return Reply(body=ProblemList(problems=[catalogue[code] for code in sorted(catalogue)]))

    async def get_problem(call: Call) -> Reply:
        page = catalogue.get(call.path["code"])
        if page is None:
            raise HubError(
                "problem_not_found",
                Kind.NOT_FOUND,
                "There is no such problem code.",
                next_step="GET /problems lists all codes.",
            )
        if "text/html" in (call.headers.get("accept") or ""):
            text = _PAGE.format(
                code=page.code, cause=html.escape(page.cause), fix=html.escape(page.fix), prefix=TYPE_PREFIX[:-1]
            )
            return Reply(body=text.encode(), media_type="text/html; charset=utf-8")
        return Reply(body=page)

    return (
        Operation(
            id="list_problems", method="GET", path="/problems", handler=list_problems, answer=ProblemList,
            summary="List every problem code with its cause and its fix.", tag="problems", public=True,
        ),
        Operation(
            id="get_problem", method="GET", path="/problems/{code}", handler=get_problem, answer=ProblemPage,
            summary="Explain one problem code (HTML for browsers).", tag="problems", public=True,
        ),
    )  # fmt: skip
