"""What an endpoint may be, and what follows an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.kernel.messaging import Outcome, Result, Target
from central_hub.webhooks.model import (
    BACKOFF_MIN_S,
    BACKOFF_S,
    EVENTS_PER_ENDPOINT_MAX,
    FAILING_FOR_MS,
    FAILURES_MAX,
    RETRY_AFTER_S_MAX,
    URL_LENGTH_MAX,
    DisabledBecause,
)
from central_hub.webhooks.rules import LATER, Failing, after, check_events, drawn_wait_s, is_final, target_of

OUTCOMES = st.builds(
    Outcome,
    result=st.sampled_from(list(Result)),
    status=st.sampled_from([0, 200, 301, 400, 404, 408, 409, 410, 425, 429, 500, 503]),
    retry_after_s=st.integers(0, 10**6),
)
FAILINGS = st.builds(
    Failing, failures=st.integers(0, 20), since_ms=st.integers(0, 10**9), attempts=st.integers(0, len(BACKOFF_S))
)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example", Target(host="a.example", port=443, tls=True, path="/")),
        ("https://A.Example:8443/x/y?z=1", Target(host="a.example", port=8443, tls=True, path="/x/y?z=1")),
        ("https://a.example?q", Target(host="a.example", port=443, tls=True, path="/?q")),
        ("https://[2001:DB8::1]:1/", Target(host="2001:db8::1", port=1, tls=True, path="/")),
        ("https://10.0.0.1/h%20k", Target(host="10.0.0.1", port=443, tls=True, path="/h%20k")),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert target_of(url, plain=False) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "//a.example", "ftp://a.example/", "HTTPS://a.example/", "https://", "https:///x",
        "https://u:p@a.example/", "https://a.example/#f", "https://a.example:0/", "https://a.example:65536/",
        "https://a.example:99999/", "https://a b/", "https://a.example/ x", "https://a.example/\r\nx: y",
        "https://a.example/\n", "https://ex\u00e4mple/", "https://a.example\\@b/", "https://[::1", "https://-a/",
        "https://a.example/\x00", "https://a.example:80:80/", "https://a.example/" + "x" * URL_LENGTH_MAX,
        "http://a.example/",
    ],
)  # fmt: skip
def test_what_is_no_url_for_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(HubError) as refused:
        target_of(url, plain=False)
    assert refused.value.code == "invalid_webhook_url"


def test_plain_http_where_it_is_allowed() -> None:
    assert target_of("http://a.example/", plain=True) == Target(host="a.example", port=80, tls=False, path="/")


@given(st.text(max_size=60))
def test_whatever_is_read_cannot_break_a_request_line(text: str) -> None:
    try:
        target = target_of("https://a.example/" + text, plain=False)
    except HubError:
        return
    assert target.path.isascii()
    assert target.path.isprintable()
    assert " " not in target.path


def test_types_of_events_are_known_or_published_each_once_and_in_order() -> None:
    assert check_events(["b", "a", "b"], {"io.centralhub.x.v1"}) == ("a", "b")
    assert check_events([], {"a"}) == ()
    assert check_events(["io.centralhub.*", "*.placed"], set()) == ("*.placed", "io.centralhub.*")
    with pytest.raises(HubError, match=r"Is 'io\.centralhub\.config\.changed' meant") as refused:
        check_events(["io.centralhub.config.change"], {"io.centralhub.config.changed"})
    assert refused.value.code == "unknown_event_type"
    for bad, code in ((["a"] * (EVENTS_PER_ENDPOINT_MAX + 1), "unknown_event_type"), (["a b"], "invalid_filter")):
        with pytest.raises(HubError) as refused:
            check_events(bad, {"a"})
        assert refused.value.code == code


@given(OUTCOMES, FAILINGS, st.integers(0, 10**10), st.integers(0, 3))
def test_exactly_one_thing_follows_an_attempt(outcome: Outcome, before: Failing, now_ms: int, letters: int) -> None:
    following = after(outcome, before, now_ms, dead_letters=letters, dead_letters_max=3)
    said = [following.delivered, following.parked, following.disable is not None, following.wait_s > 0]
    assert said.count(True) == 1
    assert following.delivered == (outcome.result is Result.DELIVERED)
    assert not (following.parked and letters == 3)
    if following.delivered:
        assert following.failing == Failing()
    else:
        assert following.failing.failures == before.failures + 1
        assert following.failing.since_ms == (before.since_ms or now_ms)
    if following.wait_s:
        assert BACKOFF_MIN_S <= following.least_s <= following.wait_s <= max(*BACKOFF_S, RETRY_AFTER_S_MAX)


@given(OUTCOMES, FAILINGS, st.floats(0, 1))
def test_a_wait_is_between_the_least_and_the_longest(outcome: Outcome, before: Failing, fraction: float) -> None:
    following = after(outcome, before, 0, dead_letters=0, dead_letters_max=3)
    if following.wait_s:
        assert following.least_s <= drawn_wait_s(following, fraction) <= following.wait_s


@pytest.mark.parametrize("status", range(300, 600))
def test_which_answers_are_final(status: int) -> None:
    final = is_final(Outcome(result=Result.REFUSED, status=status))
    assert final == (400 <= status < 500 and status not in LATER)


def test_a_day_of_failures_disables_and_neither_half_alone() -> None:
    failed = Outcome(result=Result.TIMED_OUT)
    enough = Failing(failures=FAILURES_MAX - 1, since_ms=1, attempts=1)
    few = Failing(failures=FAILURES_MAX - 2, since_ms=1, attempts=1)
    late = FAILING_FOR_MS + 1
    assert after(failed, enough, late, dead_letters=0, dead_letters_max=3).disable is DisabledBecause.FAILING
    assert after(failed, enough, late - 1, dead_letters=0, dead_letters_max=3).disable is None
    assert after(failed, few, late, dead_letters=0, dead_letters_max=3).disable is None


def test_410_disables_whatever_else_holds() -> None:
    gone = Outcome(result=Result.REFUSED, status=410)
    assert after(gone, Failing(), 0, dead_letters=3, dead_letters_max=3).disable is DisabledBecause.GONE
