"""What is taken out of texts for a credential, and what is left alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.redaction import KNOWN_LENGTH_MIN, REDACTED, Redaction, redacted, redacted_json
from central_hub.tenants.secrets import format_key, mint_bootstrap, mint_key_id, mint_secret

RANDOM = random.Random(7)
KEY = format_key(mint_key_id(RANDOM.randbytes(9)), mint_secret(RANDOM.randbytes(32)))
CREDENTIALS = [
    KEY,
    KEY[:40],
    mint_bootstrap(RANDOM.randbytes(32)),
    "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "hvs." + "CAESIJlWh0xJ0c9f",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "x" * 36,
    "github_pat_" + "1" * 30,
    "sk_" + "live_51H8abcdefgh",
    "sk-" + "proj-abcdefghijklmnop",
    "xoxb-" + "2222-3333-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off",
    "0f" * 32,
]


@pytest.mark.parametrize("credential", CREDENTIALS, ids=range(len(CREDENTIALS)))
@pytest.mark.parametrize("around", ["{}", "There is no tier '{}'.", '{{"token":"{}"}}', "a={},b", "x\n{}\ny"])
def test_a_credential_is_taken_out_wherever_it_stands(credential: str, around: str) -> None:
    left = redacted(around.format(credential))
    assert credential not in left
    assert credential[8:24] not in left
    assert REDACTED in left


def test_what_follows_a_scheme_or_stands_in_an_address_is_taken_out() -> None:
    assert redacted("authorization: Bearer abc.def-ghi") == f"authorization: Bearer {REDACTED}"
    assert redacted("basic dXNlcjpwYXNz") == f"basic {REDACTED}"
    assert redacted("postgresql://hub:pass@db/x") == f"postgresql://{REDACTED}@db/x"


@pytest.mark.parametrize(
    "text",
    [
        "Send 'Authorization: Bearer chk_…' with a key that holds the needed scope.",
        "export HUB_API_KEY=chk_…",
        "The tenant is suspended.",
        "018bcfe5-6800-7cd0-a72c-d8be6f9f6209",
        'If-Match: "r7.1a2b3c4d"',
        "http://127.0.0.1:7000/services/discover/risk-management",
        "postgresql://hub@db/x",
        "local:0123456789abcdef",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redacted(text) == text


@given(st.text(max_size=200))
def test_to_redact_twice_is_to_redact_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def test_json_is_redacted_all_the_way_down() -> None:
    value = {"a": [KEY, {KEY: KEY, "n": 7}], "b": None, "c": True}
    left = redacted_json(value)
    assert KEY not in str(left)
    assert left["a"][1]["n"] == 7
    assert (left["b"], left["c"]) == (None, True)


def test_known_secrets_are_taken_out_whatever_they_look_like() -> None:
    redaction = Redaction(["correct horse", "correct horse battery", "short", ""])
    assert redaction.of("the correct horse battery staple") == f"the {REDACTED} staple"
    assert redaction.of("a correct horse") == f"a {REDACTED}"
    assert redaction.of("short") == "short"
    assert len("short") < KNOWN_LENGTH_MIN
    assert Redaction().of("nothing known") == "nothing known"
