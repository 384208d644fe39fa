"""Signatures, held against the specification's own library."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from central_hub.kernel.signatures import (
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    SIGNATURES_MAX,
    TOLERANCE_S,
    SignatureError,
    secret_bytes,
    secret_text,
    sign,
    verify,
)

NOW_S = 1_700_000_000
SECRETS = st.binary(min_size=SECRET_BYTES_MIN, max_size=SECRET_BYTES_MAX)
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


def headers(signature: str, *, message_id: str = "m1", stamp: int = NOW_S) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(stamp), "webhook-signature": signature}


@given(SECRETS, IDS, st.text(max_size=300))
def test_the_official_library_makes_the_same_signature(secret: bytes, message_id: str, body: str) -> None:
    official = Webhook(secret_text(secret))
    expected = official.sign(message_id, datetime.fromtimestamp(NOW_S, UTC), body)
    assert sign([secret], message_id, NOW_S, body.encode()) == expected
    assert verify(headers(expected, message_id=message_id), body.encode(), [secret], now_s=NOW_S) == message_id


def test_the_official_library_takes_what_two_secrets_signed() -> None:
    old, new, body = b"o" * 32, b"n" * 32, b'{"a":1}'
    stamp = int(datetime.now(UTC).timestamp())
    given_headers = headers(sign([new, old], "m1", stamp, body), stamp=stamp)
    for secret in (old, new):
        assert Webhook(secret_text(secret)).verify(body, given_headers) == {"a": 1}


def test_the_vector_of_the_specification() -> None:
    secret = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body) == expected


@given(SECRETS)
def test_a_secret_reads_as_it_was_written(secret: bytes) -> None:
    assert secret_bytes(secret_text(secret)) == secret


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!!!", secret_text(b"x" * 23), secret_text(b"x" * 65)])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        secret_bytes(text)


@given(st.integers(0, 200), st.integers(0, 7))
def test_one_altered_bit_is_found(at: int, bit: int) -> None:
    body = bytearray(b"x" * 201)
    signature = sign([b"s" * 32], "m1", NOW_S, bytes(body))
    body[at] ^= 1 << bit
    with pytest.raises(SignatureError):
        verify(headers(signature), bytes(body), [b"s" * 32], now_s=NOW_S)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-id": "m2"}, "no signature"),
        ({"webhook-timestamp": str(NOW_S + 1)}, "no signature"),
        ({"webhook-timestamp": "soon"}, "none"),
        ({"webhook-timestamp": "-1"}, "none"),
        ({"webhook-timestamp": str(NOW_S - TOLERANCE_S - 1)}, "too far"),
        ({"webhook-timestamp": str(NOW_S + TOLERANCE_S + 1)}, "too far"),
        ({"webhook-signature": ""}, "no signature"),
        ({"webhook-signature": "v1,é"}, "no signature"),
    ],
)
def test_an_altered_header_is_found(change: dict[str, str], reason: str) -> None:
    signature = sign([b"s" * 32], "m1", NOW_S, b"{}")
    with pytest.raises(SignatureError, match=reason):
        verify({**headers(signature), **change}, b"{}", [b"s" * 32], now_s=NOW_S)


def test_a_missing_header_is_said() -> None:
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        given_headers = headers(sign([b"s" * 32], "m1", NOW_S, b"{}"))
        del given_headers[name]
        with pytest.raises(SignatureError, match=name):
            verify(given_headers, b"{}", [b"s" * 32], now_s=NOW_S)


def test_names_of_headers_are_read_in_any_case() -> None:
    upper = {name.upper(): value for name, value in headers(sign([b"s" * 32], "m1", NOW_S, b"{}")).items()}
    assert verify(upper, b"{}", [b"s" * 32], now_s=NOW_S) == "m1"


def test_signatures_past_the_limit_are_not_looked_at() -> None:
    good = sign([b"s" * 32], "m1", NOW_S, b"{}")
    within = " ".join(["v1,AAAA"] * (SIGNATURES_MAX - 1) + [good])
    beyond = " ".join(["v1,AAAA"] * SIGNATURES_MAX + [good])
    assert verify(headers(within), b"{}", [b"s" * 32], now_s=NOW_S) == "m1"
    with pytest.raises(SignatureError):
        verify(headers(beyond), b"{}", [b"s" * 32], now_s=NOW_S)
