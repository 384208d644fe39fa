"""The facts of secrets survive the log, and none of them shows more than it should."""

from __future__ import annotations

from central_hub.kernel.facts import FactTypes, encode_fact
from central_hub.secrets import model
from central_hub.secrets.model import Rotating, Source
from central_hub.tenants.model import DEFAULT_SCOPES


def test_every_fact_survives_the_log() -> None:
    facts = [
        model.SecretPut(path="a/b", version=3, key_id="k", sealed=b"\x00\xff", note="n", shared=True),
        model.SecretDeleted(path="a/b", last_version=3),
        model.SecretRead(path="a/b", version=3, source=Source.PLATFORM),
        model.EncryptionRotationBegun(what=Rotating.DATA_KEYS, began_at_ms=7, from_key="local:1", domains=("acme",)),
        model.EncryptionRotationEnded(what=Rotating.KEY_ENCRYPTION_KEY, data_keys=2, to_key="local:2"),
    ]
    types = FactTypes(model.FACTS)
    assert {type(fact) for fact in facts} == set(model.FACTS)
    assert [types.decode(type(fact).__name__, encode_fact(fact)) for fact in facts] == facts


def test_no_key_reads_secrets_unless_it_was_said() -> None:
    assert not {model.SCOPE_LIST, model.SCOPE_READ, model.SCOPE_WRITE, model.SCOPE_ADMIN} & set(DEFAULT_SCOPES)
