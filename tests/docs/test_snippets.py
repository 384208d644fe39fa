"""The README is typed as printed, and its Python and that of the SDK's page run against a real hub."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.docs.console_blocks import Command, File, Shell, snippets, steps
from tests.docs.test_howtos import with_free_ports

REPOSITORY = Path(__file__).parents[2]
SDK_PAGE = REPOSITORY / "docs" / "howto" / "use-the-sdk.md"
AVAILABLE = "until central-hub discover risk-management >/dev/null 2>&1; do sleep 0.1; done"
ANSWER = "200 {'approved': True, 'tenant': 'company_abc'}"


def program(fragment: str, ending: str = "") -> str:
    """Make a program of a fragment that awaits at top level: what a reader's `async def main` would hold."""
    body = textwrap.indent(fragment + textwrap.indent(ending, "    "), "    ")
    return f"import asyncio\n\nasync def main():\n{body}\n\nasyncio.run(main())\n"


@pytest.fixture
def sdk_page() -> list[str]:
    return snippets(with_free_ports(SDK_PAGE.read_text("utf-8")))


@pytest.mark.timeout(120)
def test_the_readme_works_as_printed(shell: Shell, sdk_page: list[str]) -> None:
    port = shell.environment["HUB_PORT"]
    page = with_free_ports((REPOSITORY / "README.md").read_text("utf-8").replace(":7000", f":{port}"))
    shell.run(Command('mkdir -p .venv/bin && ln -s "$(command -v central-hub)" .venv/bin/central-hub'))
    for step in steps(page):
        shell.run(step)
    (caller,) = snippets(page)
    (registered,) = set(re.findall(r'"port": (\d+)', page))
    shell.run(File("service.py", re.sub(r"port=\d+", f"port={registered}", sdk_page[0])))
    shell.run(File("caller.py", program(caller.replace('{"order": 1}', '{"quantity": 1}'), "print(reply.status)\n")))
    shell.run(Command("python service.py &"))
    shell.run(Command(f"until curl -sf localhost:{registered}/health; do sleep 0.1; done"))
    shell.run(Command("python caller.py", ["200"]))


@pytest.mark.timeout(120)
def test_the_service_and_the_caller_of_the_sdk_page_work_together(shell: Shell, sdk_page: list[str]) -> None:
    service, caller, guarded, holder, blocking = sdk_page
    shell.run(Command("central-hub serve --open &"))
    shell.run(File("service.py", service))
    shell.run(Command("python service.py &"))
    shell.run(Command(AVAILABLE))
    shell.run(File("caller.py", program(caller)))
    shell.run(Command("python caller.py", [ANSWER]))
    shell.run(File("guarded.py", program(guarded)))
    seen = ["service healthy", "cache healthy", "risk-management reads operator None", "risk-management reads OPEN 0"]
    shell.run(Command("python guarded.py", seen))
    shell.run(File("holder.py", program(holder)))
    shell.run(Command("python holder.py", ["… False"]))
    shell.run(File("blocking.py", blocking))
    shell.run(Command("python blocking.py", ["… False", "…"]))
