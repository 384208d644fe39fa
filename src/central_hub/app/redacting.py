"""Everything the process writes to stderr, without secrets: log lines, tracebacks, what a library says of itself."""

from __future__ import annotations

import resource
import sys
from typing import Any, TextIO, cast

from pydantic import SecretStr

from central_hub.kernel.redaction import Redaction
from central_hub.settings import Settings


class RedactedStream:
    """A text stream that takes credentials out of what it is given; otherwise the stream it stands before.

    Args:
        stream: takes what is left.
        redaction: takes out.
    """

    def __init__(self, stream: TextIO, redaction: Redaction) -> None:
        self._stream = stream
        self._redaction = redaction

    def write(self, text: str) -> int:
        """Write what is left; returns how much was given."""
        self._stream.write(self._redaction.of(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:  # Any: whatever the stream has
        return getattr(self._stream, name)


def redact_stderr(settings: Settings) -> None:
    """Let nothing secret through to stderr from now on, and leave no memory image behind on a crash."""
    known = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    known += [part.strip() for value in known for part in value.split(",")]
    sys.stderr = cast(TextIO, RedactedStream(sys.stderr, Redaction(known)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
