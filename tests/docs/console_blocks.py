"""A tiny runner for pages of commands: executes every ```console block as printed, in one shell.

A line that starts with `$ ` is typed; lines below it, up to the next one, must appear in its output
in that order, where `…` stands for anything. A line that ends in a backslash goes on in the next. A
block of another kind whose first line is `# name.ext` (or whose second is, below `#!`) is saved
under that name first.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 60.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"(?:#!.*\n)?# ([\w-]+\.\w+)\n")


@dataclass
class Command:
    """Something to type and what must come back."""

    text: str
    expected: list[str] = field(default_factory=list[str])


@dataclass
class File:
    """Something to save."""

    name: str
    text: str


def steps(page: str) -> list[Command | File]:
    """Return what a page asks its reader to do, in order."""
    found: list[Command | File] = []
    for kind, text in _BLOCK.findall(page):
        if kind != "console":
            name = _FILE_NAME.match(text)
            if name:
                found.append(File(name.group(1), text))
            continue
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            elif line.strip():
                command = found[-1]
                assert isinstance(command, Command), f"output before a command: {line}"
                command.expected.append(line)
    return found


def snippets(page: str) -> list[str]:
    """Return the python blocks of a page, in order."""
    return [text for kind, text in _BLOCK.findall(page) if kind == "python"]


def missing(output: str, expected: list[str]) -> str | None:
    """Return the first expected line that does not appear in order, or None."""
    lines = iter(output.splitlines())
    for wanted in expected:
        pattern = re.compile(".*".join(re.escape(" ".join(part.split())) for part in wanted.split("…")))
        if not any(pattern.fullmatch(" ".join(line.split())) for line in lines):
            return wanted
    return None


class Shell:
    """One bash with its own process group, so that background jobs end with it."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self._log = directory / ".output"
        self._log.touch()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", "--norc", "--noprofile"],
                cwd=directory,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )

    def run(self, step: Command | File) -> str:
        """Do a step; returns what a command printed.

        Raises:
            AssertionError: the command failed, hung, or did not print what the page says.
        """
        if isinstance(step, File):
            (self.directory / step.name).write_text(step.text)
            return ""
        assert self._process.stdin is not None
        before = self._log.stat().st_size
        mark = f"--- done {time.monotonic_ns()}"
        self._process.stdin.write(f'{step.text}\necho "{mark} $?"\n')
        self._process.stdin.flush()
        output, code = self._await(mark, before, step)
        assert code == 0, f"'{step.text}' exited with {code}:\n{output}"
        absent = missing(output, step.expected)
        assert absent is None, f"'{step.text}' did not print '{absent}', but:\n{output}"
        return output

    def _await(self, mark: str, before: int, step: Command) -> tuple[str, int]:
        output = ""
        until = time.monotonic() + COMMAND_TIMEOUT_S
        while time.monotonic() < until:
            output = self._log.read_bytes()[before:].decode(errors="replace")
            done = re.search(re.escape(mark) + r" (\d+)\n", output)
            if done:
                return output[: done.start()], int(done.group(1))
            assert self._process.poll() is None, f"the shell ended at '{step.text}':\n{output}"
            time.sleep(0.02)
        raise AssertionError(f"'{step.text}' did not end in {COMMAND_TIMEOUT_S} s:\n{output}")

    def close(self) -> None:
        """End the shell and everything it started."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, how)
            except ProcessLookupError:
                break
            time.sleep(0.3)
        self._process.wait(timeout=5)
        assert self._process.stdin is not None
        self._process.stdin.close()
