"""What doctor says of two clocks: how long the hub took to answer is not held against it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from central_hub.cli.connection import Answer
from central_hub.cli.doctor import judged_clock

NOW = datetime(2030, 1, 1, 12, 0, 5, 300_000, UTC)


def answered(off_s: float) -> Answer:
    at = (NOW + timedelta(seconds=off_s)).replace(microsecond=0)
    return Answer(200, {"date": format_datetime(at, usegmt=True)}, None)


@pytest.mark.parametrize(
    ("off_s", "took_s", "result", "detail"),
    [
        (0, 0.01, "ok", "0 s from the hub's"),
        (-3, 4.0, "ok", "0 s from the hub's"),
        (-30, 0.01, "warn", "29 s from the hub's"),
        (-30, 4.0, "warn", "25 s from the hub's"),
        (30, 0.01, "warn", "30 s from the hub's"),
    ],
)
def test_only_what_the_answer_cannot_explain_counts(off_s: float, took_s: float, result: str, detail: str) -> None:
    found = judged_clock(answered(off_s), NOW - timedelta(seconds=took_s), NOW)
    assert (found.result, found.detail) == (result, detail)


def test_without_a_hub_only_the_year_is_looked_at() -> None:
    assert judged_clock(None, NOW, NOW).result == "ok"
    assert judged_clock(None, NOW, NOW.replace(year=1970)).result == "fail"
