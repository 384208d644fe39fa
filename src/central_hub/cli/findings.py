"""What a check of `central-hub doctor` found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and the command that mends it."""

    check: str
    result: str
    detail: str
    next: str = ""
