"""Every tutorial is typed as printed, from top to bottom, in one shell against a real hub.

Only the surroundings differ from a reader's: a directory of its own, a free port, and `make run`
stands for the command that the Makefile runs (the machine has everything installed already).
"""

from pathlib import Path

import pytest

from tests.docs.console_blocks import Command, File, Shell, missing, steps

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorial"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_works_as_printed(page: Path, shell: Shell) -> None:
    todo = steps(page.read_text())
    assert any(isinstance(step, Command) for step in todo)
    for step in todo:
        shell.run(step)


def test_the_runner_reads_commands_outputs_and_files() -> None:
    page = "```console\n$ echo a\na\n$ false\n```\ntext\n```python\n# f.py\nx = 1\n```\n```python\nnot_saved = 1\n```\n"
    assert steps(page) == [Command("echo a", ["a"]), Command("false"), File("f.py", "# f.py\nx = 1\n")]


def test_the_runner_joins_continued_lines_and_saves_scripts() -> None:
    page = "```console\n$ echo a \\\n    b\na b\n```\n```sh\n#!/bin/sh\n# f.sh\ntrue\n```\n"
    assert steps(page) == [Command("echo a b", ["a b"]), File("f.sh", "#!/bin/sh\n# f.sh\ntrue\n")]


@pytest.mark.parametrize(
    ("output", "expected", "absent"),
    [
        ("one\ntwo\nthree\n", ["one", "three"], None),
        ("one\ntwo\n", ["two", "one"], "one"),
        ("took 12 ms\n", ["took … ms"], None),
        ("took 12 s\n", ["took … ms"], "took … ms"),
        ("a   b\n", ["a b"], None),
    ],
)
def test_output_is_compared_in_order_with_gaps(output: str, expected: list[str], absent: str | None) -> None:
    assert missing(output, expected) == absent


def test_a_page_that_lies_is_found(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="did not print 'two'"):
        shell.run(Command("echo one", ["two"]))
    with pytest.raises(AssertionError, match="exited with 3"):
        shell.run(Command("(exit 3)"))
