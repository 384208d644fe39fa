"""Keys: their form, what tells a typo from a wrong key, and what is kept of a secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from central_hub.tenants import secrets

KEY = secrets.format_key("0" * 12, "1" * 43)


def test_a_key_is_its_id_its_secret_and_a_checksum_of_both() -> None:
    assert secrets.parse_key(KEY) == ("0" * 12, "1" * 43)
    assert len(KEY) == len("chk_") + 12 + 1 + 43 + 6


@pytest.mark.parametrize("position", [4, 15, 17, 59, 60, 65])
def test_one_wrong_character_anywhere_is_a_typo(position: int) -> None:
    wrong = "2" if KEY[position] != "2" else "3"
    assert secrets.parse_key(KEY[:position] + wrong + KEY[position + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", KEY[:-1], KEY + "0", " " + KEY, KEY + "\n", KEY.upper(), KEY.replace("_", "-"), "chk_é" + KEY[5:]]
)
def test_what_is_not_exactly_of_the_form_is_no_key(text: str) -> None:
    assert secrets.parse_key(text) is None


def test_what_is_kept_is_an_hmac_under_the_pepper() -> None:
    kept = secrets.digest_of(b"pepper", "secret")
    assert kept == hmac.new(b"pepper", b"secret", hashlib.sha256).digest()
    assert kept != secrets.digest_of(b"other", "secret")
    assert secrets.same(kept, bytes(kept))
    assert not secrets.same(kept, kept[:-1] + b"\x00")


def test_random_bytes_are_written_whole_and_at_a_fixed_length() -> None:
    assert secrets.base62(b"", 3) == "000"
    assert secrets.base62(bytes([61]), 2) == "0z"
    assert secrets.base62(bytes([62]), 2) == "10"
    assert secrets.mint_secret(b"\xff" * 32) != secrets.mint_secret(b"\xff" * 31 + b"\xfe")
    assert {len(secrets.mint_secret(bytes([one] * 32))) for one in range(256)} == {43}
    assert {len(secrets.mint_key_id(bytes([one] * 9))) for one in range(256)} == {12}
    assert secrets.mint_bootstrap(bytes(32)).startswith("chb_")
