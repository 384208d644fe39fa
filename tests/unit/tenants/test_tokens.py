"""Context tokens: a corpus of forgeries, every one refused, beside the one honest token that is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants import tokens
from central_hub.tenants.model import GatewayAdded, GatewayRemoved
from central_hub.tenants.tokens import TokenVerifier
from central_hub.tenants.view import TenantsView
from tests.unit.tenants.support import gateway, told

NOW_S = 1_700_000_000
ED, OTHER_ED = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC = ec.generate_private_key(ec.SECP256R1())
HONEST: dict[str, Any] = {
    "iss": "https://edge", "aud": "hub", "sub": "user-7", "tid": "acme", "jti": "1", "iat": NOW_S, "exp": NOW_S + 60,
}  # fmt: skip


def public(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def verifier() -> TokenVerifier:
    return TokenVerifier(view())


def view() -> TenantsView:
    return told(
        TenantsView(),
        (PLATFORM, GatewayAdded(gateway=gateway(public_key=public(ED)))),
        (
            PLATFORM,
            GatewayAdded(
                gateway=gateway(id="rsa", issuer="https://rsa", algorithm="RS256", public_key=public(RSA), tenants=None)
            ),
        ),
        (
            PLATFORM,
            GatewayAdded(gateway=gateway(id="ec", issuer="https://ec", algorithm="ES256", public_key=public(EC))),
        ),
    )


def honest(key: Any = ED, algorithm: str = "EdDSA", *, header: Any = None, **claims: Any) -> str:
    """Sign claims; those given as None are left out."""
    said = {name: value for name, value in {**HONEST, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers=header)


def raw(header: str, claims: str, *, key: ed25519.Ed25519PrivateKey | None = ED, mac: bytes | None = None) -> str:
    """Sign exactly these bytes, so that what a library would not write is written."""
    body = _b64(header.encode()) + "." + _b64(claims.encode())
    if mac is not None:
        return body + "." + _b64(hmac.new(mac, body.encode(), hashlib.sha256).digest())
    return body + "." + ("" if key is None else _b64(key.sign(body.encode())))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _said(**claims: Any) -> str:
    return json.dumps({**HONEST, **claims})


ALG = '{"alg":"EdDSA","typ":"JWT"}'
ATTACKERS_JWK = json.dumps(
    {"kty": "OKP", "crv": "Ed25519", "x": _b64(OTHER_ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}
)


def forged_signatures() -> Iterator[tuple[str, str]]:
    """Yield tokens that no gateway signed."""
    good = honest()
    head, body, signature = good.split(".")
    yield "alg none", raw('{"alg":"none"}', _said(), key=None)
    yield "alg None", raw('{"alg":"None"}', _said(), key=None)
    yield "alg none with the signature of another", raw('{"alg":"none"}', _said(), key=None) + signature
    yield "no alg", raw("{}", _said())
    yield "alg null", raw('{"alg":null}', _said())
    yield "alg a list", raw('{"alg":["EdDSA","none"]}', _said())
    yield "HS256 with the public key's PEM", raw('{"alg":"HS256"}', _said(), mac=public(ED).encode())
    yield (
        "HS256 with an RSA public key's PEM",
        raw('{"alg":"HS256"}', _said(iss="https://rsa"), mac=public(RSA).encode()),
    )
    yield "HS256 with nothing", raw('{"alg":"HS256","kid":"../../../../dev/null"}', _said(), mac=b"")
    yield "kid of SQL", raw('{"alg":"HS256","kid":"\' UNION SELECT \'k"}', _said(), mac=b"k")
    yield "another key", honest(OTHER_ED)
    yield "another key, named in jwk", honest(OTHER_ED, header={"jwk": json.loads(ATTACKERS_JWK)})
    yield "another key, named in jku", honest(OTHER_ED, header={"jku": "https://evil/keys", "kid": "1"})
    yield "another key, named in x5u", honest(OTHER_ED, header={"x5u": "file:///etc/passwd"})
    yield "another gateway's key", honest(RSA, "RS256")
    yield "another gateway's issuer", honest(ED, iss="https://rsa")
    yield "the right key under another algorithm", honest(RSA, "PS256", iss="https://rsa")
    yield "ES256 with r and s of zero", raw('{"alg":"ES256"}', _said(iss="https://ec"), key=None) + _b64(bytes(64))
    yield "no signature", head + "." + body + "."
    yield "no signature part", head + "." + body
    yield "the signature of other claims", head + "." + honest(tid="globex").split(".")[1] + "." + signature
    yield "a signature bit", good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:]
    yield "a part more", good + "." + signature


def foreign_claims() -> Iterator[tuple[str, str]]:
    """Yield tokens that a gateway signed, for something else or at another time."""
    yield "another audience", honest(aud="another-hub")
    yield "no audience", honest(aud=None)
    yield "an audience like ours", honest(aud="hub ")
    yield "audiences without ours", honest(aud=["a", "b"])
    yield "an issuer nobody knows", honest(iss="https://evil")
    yield "no issuer", honest(iss=None)
    yield "an issuer like ours", honest(iss="https://edge/")
    yield "expired", honest(iat=NOW_S - 120, exp=NOW_S - 60)
    yield "expired since the skew", honest(iat=NOW_S - 90, exp=NOW_S - tokens.SKEW_S)
    yield "issued later", honest(iat=NOW_S + 31, exp=NOW_S + 60)
    yield "not valid yet", honest(nbf=NOW_S + 31)
    yield "lives too long", honest(exp=NOW_S + 61)
    yield "lives for ever", honest(exp=1 << 39)
    yield "ends before it begins", honest(iat=NOW_S + 10, exp=NOW_S + 5)
    yield "ends as it begins", honest(iat=NOW_S, exp=NOW_S)
    for name in ("exp", "iat", "sub", "jti", "tid"):
        yield f"no {name}", honest(**{name: None})


def strange_claims() -> Iterator[tuple[str, str]]:
    """Yield tokens that a gateway signed and nobody should have."""
    for name in ("exp", "iat", "nbf"):
        for value in ('"1700000030"', "true", "null", "[1]", "NaN", "Infinity", "-1", "1e300"):
            claims = json.dumps({key: one for key, one in HONEST.items() if key != name})
            yield f"{name} {value}", raw(ALG, claims[:-1] + f', "{name}": {value}}}')
    yield "a tenant that is no name", honest(tid="ACME")
    yield "a tenant beside another", honest(tid="acme,globex")
    yield "tenants", honest(tid=["acme", "globex"])
    yield "a tenant of nothing", honest(tid="")
    yield "a path for a tenant", honest(tid="../globex")
    yield "a subject of nothing", honest(sub="")
    yield "a subject that is a number", raw(ALG, _said(sub=7))
    yield "a subject too long", honest(sub="s" * 129)
    yield "an id of nothing", honest(jti="")
    yield "an id too long", honest(jti="j" * 129)
    yield "an id that is a number", raw(ALG, _said(jti=7))
    yield "the tenant twice", raw(ALG, _said()[:-1] + ', "tid": "globex"}')
    yield "the expiry twice", raw(ALG, _said()[:-1] + f', "exp": {NOW_S + 50}}}')
    yield "the algorithm twice", raw('{"alg":"none","alg":"EdDSA"}', _said())
    yield "an extension that must be understood", raw('{"alg":"EdDSA","crit":["b64"],"b64":false}', _said())
    yield "an extension nobody knows", raw('{"alg":"EdDSA","crit":["exp2"],"exp2":1}', _said())
    yield "longer than a token may be", honest(more="x" * tokens.TOKEN_LENGTH_MAX)


def garbage() -> Iterator[tuple[str, str]]:
    """Yield what is no token."""
    good = honest()
    head, body, signature = good.split(".")
    yield "nothing", ""
    yield "dots", ".."
    yield "one part", head
    yield "no base64", "*.*.*"
    yield "base64 of other letters", good.replace(".", ".+/", 1)
    yield "claims that are no JSON", raw(ALG, "tid=acme")
    yield "claims that are no object", raw(ALG, "[]")
    yield "a header that is no object", raw('"EdDSA"', _said())
    yield "claims that are no text", f"{head}.{_b64(bytes([0xFF, 0xFE]))}.{signature}"
    yield "a token in a token", raw(ALG, json.dumps(good))
    yield "a token for claims", f"{head}.{_b64(good.encode())}.{signature}"
    yield "a nested token, as its type says", raw('{"alg":"EdDSA","cty":"JWT"}', json.dumps(good))
    yield "deep", raw(ALG, "[" * 2_500)
    yield "a lone surrogate", "\ud800." + body + "." + signature
    yield "letters beyond ASCII", "é." + body + "." + signature
    yield "an encrypted token's five parts", ".".join([head, body, signature, head, body])
    yield "a key", "chk_000000000000_" + "1" * 49


CORPUS = [*forged_signatures(), *foreign_claims(), *strange_claims(), *garbage()]


@pytest.mark.parametrize(("what", "token"), CORPUS, ids=[what for what, _ in CORPUS])
def test_every_forgery_is_refused(what: str, token: str) -> None:
    with pytest.raises(HubError) as caught:
        verifier().verify(token, now_ms=NOW_S * 1_000, command=False)
    assert caught.value.code == "invalid_credential"
    assert caught.value.kind.value == "unauthenticated"


@pytest.mark.parametrize(
    "token",
    [
        honest(),
        honest(RSA, "RS256", iss="https://rsa"),
        honest(EC, "ES256", iss="https://ec"),
        honest(aud=["hub", "another"]),
        honest(nbf=NOW_S + tokens.SKEW_S),
        honest(iat=NOW_S + tokens.SKEW_S, exp=NOW_S + tokens.SKEW_S + 60),
        honest(iat=NOW_S - 60, exp=NOW_S - tokens.SKEW_S + 1),
        honest(sub="user-7", header={"kid": "../../../../dev/null", "jku": "https://evil/keys"}),
        honest(tier=7),
    ],
)
def test_an_honest_token_is_taken_at_every_border(token: str) -> None:
    said = verifier().verify(token, now_ms=NOW_S * 1_000, command=True)
    assert (said.tenant_id, said.subject, said.jti, said.tier) == ("acme", "user-7", "1", "")


def test_the_longest_names_and_the_tier_are_kept() -> None:
    said = verifier().verify(honest(sub="s" * 128, jti="j" * 128, tier="pro"), now_ms=NOW_S * 1_000, command=False)
    assert (len(said.subject), len(said.jti), said.tier) == (128, 128, "pro")


def test_a_token_serves_one_command_and_any_number_of_reads() -> None:
    checking, token = verifier(), honest()
    for command in (False, True, False):
        checking.verify(token, now_ms=NOW_S * 1_000, command=command)
    for again in (token, honest(sub="another")):
        with pytest.raises(HubError) as caught:
            checking.verify(again, now_ms=(NOW_S + 89) * 1_000, command=True)
        assert caught.value.code == "token_replayed"
    other_gateway = honest(RSA, "RS256", iss="https://rsa")
    assert checking.verify(other_gateway, now_ms=NOW_S * 1_000, command=True).jti == "1"


def test_a_remembered_token_still_ends() -> None:
    checking, token = verifier(), honest()
    checking.verify(token, now_ms=NOW_S * 1_000, command=False)
    checking.verify(token, now_ms=(NOW_S + 60 + tokens.SKEW_S) * 1_000 - 1, command=False)
    with pytest.raises(HubError):
        checking.verify(token, now_ms=(NOW_S + 60 + tokens.SKEW_S) * 1_000, command=False)


@pytest.mark.parametrize("replacement", [None, gateway(public_key=public(OTHER_ED)), gateway(audience="elsewhere")])
def test_a_remembered_token_ends_with_its_gateway(replacement: Any) -> None:
    known = view()
    checking, token = TokenVerifier(known), honest()
    checking.verify(token, now_ms=NOW_S * 1_000, command=False)
    told(known, (PLATFORM, GatewayRemoved(gateway_id="edge")))
    if replacement is not None:
        told(known, (PLATFORM, GatewayAdded(gateway=replacement)))
    with pytest.raises(HubError):
        checking.verify(token, now_ms=NOW_S * 1_000, command=False)


def test_what_is_remembered_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "VERIFIED_MAX", 2)
    monkeypatch.setattr(tokens, "SPENT_MAX", 2)
    checking = verifier()
    for one in range(2):
        checking.verify(honest(jti=str(one)), now_ms=NOW_S * 1_000, command=True)
    with pytest.raises(HubError) as caught:
        checking.verify(honest(jti="2"), now_ms=NOW_S * 1_000, command=True)
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 60)
    for one in range(4):
        checking.verify(honest(jti=f"read-{one}"), now_ms=NOW_S * 1_000, command=False)
        assert len(checking._verified) <= 2
    later = NOW_S + 90
    fresh = honest(jti="3", iat=later, exp=later + 60)
    assert checking.verify(fresh, now_ms=later * 1_000, command=True).jti == "3"


def test_a_private_key_never_stands_in_an_entry() -> None:
    private = ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    known = told(TenantsView(), (PLATFORM, GatewayAdded(gateway=gateway(public_key=private, algorithm="RS256"))))
    with pytest.raises(HubError):
        TokenVerifier(known).verify(honest(), now_ms=NOW_S * 1_000, command=False)
