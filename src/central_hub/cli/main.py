"""The command line's one entry, and how a failure reaches the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from central_hub.cli.failures import NEXT_OF_EXIT, ExitCode, Failure


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    hold_standard_streams()
    try:
        _run(argv)
    except Failure as failure:
        if failure.next_command == NEXT_OF_EXIT[ExitCode.USAGE] and argv:
            failure.next_command = f"central-hub {argv[0]} --help"
        failure.tell(sys.stderr, as_json=_wants_json(argv))
        sys.exit(failure.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; there is nobody left to tell
        sys.exit(ExitCode.OK)


def hold_standard_streams() -> None:
    """Give a standard stream that is closed the null device, or the next socket or file would be taken for it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")  # pyright: ignore[reportUnnecessaryComparison]  # None when it was closed
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")  # pyright: ignore[reportUnnecessaryComparison]  # as above


def _run(argv: Sequence[str]) -> None:
    try:
        from central_hub.cli.commands import build  # needs typer, which the bare SDK does not bring
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("central_hub"):
            raise
        raise Failure(
            ExitCode.ERROR,
            f"The command line needs the package '{missing.name}', which is not installed.",
            next_command="pip install 'central-hub[server]'",
            code="extra_missing",
        ) from None
    build()(argv, prog_name="central-hub")


def _wants_json(argv: Sequence[str]) -> bool:
    return any(
        word in ("-ojson", "--output=json") or (word in ("-o", "--output") and argv[at + 1 : at + 2] == ["json"])
        for at, word in enumerate(argv)
    )
