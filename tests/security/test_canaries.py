"""Five hundred planted secrets, driven through a real hub: they are found nowhere but where they belong.

Every operation is asked with credentials that are none, with secrets in its query, path, headers and body, well formed
and not. What the hub keeps for its tenants is put, changed, read, rotated and exported. Then everything that the hub
gave off is looked through: its standard streams, the bytes of its data directory while it runs and after it ended, its
metrics, every answer, trail, stream and export, and what the command line said.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from central_hub.app import describe
from tests.security.canaries import STOP_S, Driven, Watch, environment, hub

CANARIES_MIN = 500
"""The bar."""
SCHEMA = {
    "type": "object",
    "properties": {
        "password": {"type": "string", "x-hub-secret": True},
        "note": {"type": "string"},
        "depth": {"type": "integer"},
    },
}
EVERYTHING = [
    "audit:read", "config:read", "config:write", "flags:read", "flags:write", "health:read", "keys:admin",
    "quota:read", "quota:write", "registry:read", "registry:write", "secret:list", "secret:read", "secret:write",
]  # fmt: skip
ANSWERS = ("answer", "cli")
"""Where what a tenant wrote openly may be seen: in answers to it, which streams, trails and exports are too."""
ECHOED = {"evaluate_flag": ANSWERS}
"""OFREP has a refusal name the flag's key, which is a part of the path."""


def misplaced(watch: Watch, hub: Driven) -> None:
    """Ask every operation with secrets where they do not belong; each request is refused."""
    for operation in describe()[0].operations:
        where = operation.id
        path = operation.path
        for parameter in [part for part in path.split("/") if part.startswith("{")]:
            path = path.replace(parameter, "acme" if parameter == "{tenant_id}" else "some-thing")
        token = watch.plant("token", f"Authorization of {where}")
        hub.ask(operation.method, path, {} if operation.body else None, authorization=f"Bearer {token}")
        key = watch.api_key(f"Authorization of {where}")
        hub.ask(operation.method, path, {} if operation.body else None, authorization=f"Bearer {key}")
        value = watch.plant("secret", f"the query of {where}")
        status, _ = hub.ask(operation.method, f"{path}?api_key={value}", {} if operation.body else None)
        assert status >= 400 or operation.public or operation.query is None, (where, status)
        if "{" in operation.path:
            value = watch.plant("secret", f"the path of {where}", *ECHOED.get(where, ()))
            spoilt = operation.path
            for parameter in [part for part in operation.path.split("/") if part.startswith("{")]:
                spoilt = spoilt.replace(parameter, value)
            hub.ask(operation.method, spoilt + "?nothing=1", {} if operation.body else None)
        if operation.body is not None:
            _spoilt_bodies(watch, hub, operation.method, path, where)


def _spoilt_bodies(watch: Watch, hub: Driven, method: str, path: str, where: str) -> None:
    def value() -> str:
        return watch.plant("secret", f"the body of {where}")

    assert hub.ask(method, path, raw=b'{"password": "%s"' % value().encode())[0] >= 400
    hub.ask(method, path, [value()])
    hub.ask(method, path, {"pasword-of-nobody": value()})
    hub.ask(method, path, value())
    hub.ask(method, path, raw=value().encode(), content_type="text/plain")


def headers(watch: Watch, hub: Driven) -> None:
    """Put secrets into headers that are no place for them."""
    for name in ("cookie", "x-api-key", "proxy-authorization", "if-match", "if-none-match", "x-resource-requirements"):
        for target in ("/services/", "/config/acme", "/tenants/acme/secrets", "/whoami"):
            hub.ask("GET", target, **{name: watch.plant("secret", f"the header {name}")})
    for scheme in ("Basic", "Digest", "Token", ""):
        value = watch.plant("token", f"the scheme '{scheme}'")
        hub.ask("GET", "/services/", authorization=f"{scheme} {value}".strip())
    value = watch.plant("secret", "the body of a path that there is not")
    hub.ask("POST", f"/nowhere/{value}", {"password": value})
    for name in ("x-tenant-id", "x-user-id", "x-subscription-tier", "x-company-id"):
        value = watch.plant("secret", f"the header {name}")
        hub.ask("GET", "/services/", **{name: value + "," + value})


def rightly_kept(watch: Watch, hub: Driven, count: int) -> None:
    """Keep secrets as one should: put, replaced, read, referred to, listed, deleted."""
    for owner, at in (
        ("acme", "/tenants/acme/secrets"),
        ("globex", "/tenants/globex/secrets"),
        ("platform", "/secrets"),
    ):
        for number in range(count):
            path = f"{at}/value?path=app/key-{number}"
            reading = f"reading {owner} {number} "
            first = watch.plant("secret", f"a secret of {owner}", reading)
            hub.must("PUT", path, {"value": first, "note": "of the application"})
            second = watch.plant("secret", f"a secret of {owner}", reading)
            hub.must("PUT", path, {"value": second}, if_match='"v1"')
            stale = watch.plant("secret", f"a secret of {owner} that was not taken")
            assert hub.ask("PUT", path, {"value": stale}, if_match='"v1"')[0] == 412
            assert hub.must("GET", path, name=reading + "now")["value"] == second
            assert hub.must("GET", path + "&version=1", name=reading + "before")["value"] == first
        for number in range(4, count, 5):
            hub.must("DELETE", f"{at}/value?path=app/key-{number}")
        hub.must("GET", at)
        hub.must("GET", f"{at}/versions?path=app/key-0")


def configured(watch: Watch, hub: Driven) -> None:
    """Refer to secrets in configuration; put literals where only references may stand, and elsewhere what is open."""
    hub.must("PUT", "/config/schemas/database", SCHEMA)
    layer = "/config/layers/tenant/acme"
    for number in range(10):
        reference = {"database": {"password": {"$secret": f"app/key-{number % 4}"}, "depth": number}}
        hub.must("PATCH", layer, reference, if_match="*")
        literal = watch.plant("secret", "configuration, where the schema says it is one")
        assert hub.ask("PATCH", layer, {"database": {"password": literal}}, if_match="*")[0] == 422
        wrong = watch.plant("secret", "configuration, where a number belongs")
        assert hub.ask("PATCH", layer, {"database": {"depth": wrong}}, if_match="*")[0] == 422
        unknown = watch.plant("secret", "configuration, under a key that there is not")
        assert hub.ask("PATCH", layer, {"database": {"pasword": unknown}}, if_match="*")[0] == 422
        openly = watch.plant("open text", "configuration", *ANSWERS)
        hub.must("PATCH", layer, {"database": {"note": openly}}, if_match="*")
    for target in ("/config/acme", "/config/acme/explain", layer, layer + "/history", layer + "/diff?from=1"):
        hub.must("GET", target)


def credentials(watch: Watch, hub: Driven) -> None:
    """Have keys made, used, rotated and revoked: each is shown once, to whom it was made for."""
    for number in range(12):
        made = hub.must(
            "POST", "/tenants/acme/keys", {"name": f"k{number}", "scopes": EVERYTHING}, name=f"made {number}"
        )
        watch.plant("API key", "the answer that made it", f"made {number}", text=made["api_key"])
        hub.must("GET", "/services/", authorization=f"Bearer {made['api_key']}")
        hub.must("GET", "/config/acme", authorization=f"Bearer {made['api_key']}")
        turned = hub.must("POST", f"/tenants/acme/keys/{made['key_id']}/rotate", name=f"rotated {number}")
        watch.plant("API key", "the answer that rotated it", f"rotated {number}", text=turned["api_key"])
        watch.plant("secret part", "the answer that rotated it", f"rotated {number}", text=turned["api_key"][17:60])
        if number % 3 == 0:
            hub.must("DELETE", f"/tenants/acme/keys/{made['key_id']}")
            hub.ask("GET", "/services/", authorization=f"Bearer {turned['api_key']}")
    hub.must("GET", "/tenants/acme/keys")


def open_texts(watch: Watch, hub: Driven) -> None:
    """Write what may be read by its tenant: it is in answers, and in no log, metric or file."""
    for number in range(20):
        text = watch.plant("open text", "a registration's metadata", *ANSWERS)
        body = {
            "name": f"svc-{number}", "host": "10.0.0.1", "port": 80, "instance_id": "i", "lease_ttl_s": 600,
            "tenant_id": "acme", "metadata": {"owner": text},
        }  # fmt: skip
        hub.must("POST", "/services/register", body)
        text = watch.plant("open text", "a flag's description", *ANSWERS)
        flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "description": text}
        hub.must("PUT", f"/flags/flag-{number}", flag)
        text = watch.plant("open text", "a secret's note", *ANSWERS)
        hub.must("PUT", f"/tenants/acme/secrets/value?path=note-{number}", {"value": "short", "note": text})


def follow(hub: Driven, name: str, target: str) -> threading.Thread:
    """Keep what a stream sends until it ends."""

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", target, headers={"authorization": f"Bearer {hub.key}", "x-tenant-id": "acme"})
            answer = connection.getresponse()
            assert answer.status == 200
            while data := answer.read1(65_536):
                hub.watch.see(name, data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def command_line(watch: Watch, hub: Driven) -> None:
    """Type commands with keys and values; what they say is looked through too."""

    def run(name: str, *words: str, key: str = hub.key, stdin: str = "") -> None:
        known = environment(url=f"http://127.0.0.1:{hub.port}", api_key=key)
        command = [sys.executable, "-m", "central_hub", *words]
        done = subprocess.run(command, env=known, input=stdin.encode(), capture_output=True, timeout=60, check=False)
        watch.see(f"cli {name}", done.stdout + done.stderr)

    value = watch.plant("secret", "the pipe of 'secret put'", "cli secret get")
    run("secret put", "secret", "put", "acme", "by/pipe", stdin=value)
    run("secret get", "secret", "get", "acme", "by/pipe")
    run("secret list", "secret", "list", "acme", "-o", "json")
    run("status", "encryption", "status")
    run("audit", "audit", "tail", "acme")
    wrong = watch.api_key("the environment of the command line")
    run("whoami", "doctor", key=wrong)
    run("refused", "secret", "get", "acme", "by/pipe", "-o", "json", key=wrong)


def refused_starts(watch: Watch, directory: Path) -> None:
    """Start hubs that will not: what they say of their settings holds none of them."""
    for name, setting in (
        ("a bootstrap token that is none", "bootstrap_token"),
        ("a key that is none", "master_key"),
        ("a store that is none", "store"),
        ("a token beside a wrong address", "transit_token"),
    ):
        value = watch.plant("setting", name)
        given = {setting: value, "key_provider": "transit" if setting == "transit_token" else "env"}
        if setting != "master_key":
            given["master_key"] = watch.plant("KEK", name, text=secrets.token_hex(32))
        command = [sys.executable, "-m", "central_hub", "serve", "--port", "0", "--data", str(directory / "other")]
        done = subprocess.run(command, env=environment(**given), capture_output=True, timeout=30, check=False)
        assert done.returncode != 0, name
        watch.see(f"stderr of a hub refused for {name}", done.stdout + done.stderr)


def read_everything(hub: Driven) -> None:
    """Ask for whatever may be seen of what happened."""
    for target in (
        "/metrics", "/audit?latest=true&limit=500", "/tenants/acme/audit?limit=500", "/tenants/globex/audit?limit=500",
        "/tenants/acme/export", "/tenants/globex/export", "/encryption", "/openapi.json", "/services/", "/flags",
        "/tenants", "/health/services", "/tenants/acme/usage", "/config/layers/tenant/acme/history",
    ):  # fmt: skip
        hub.ask("GET", target, name="metrics" if target == "/metrics" else "")
    page = hub.must("GET", "/tenants/acme/audit?limit=500")
    while page.get("next_cursor"):
        page = hub.must("GET", f"/tenants/acme/audit?limit=500&cursor={page['next_cursor']}")


@pytest.mark.timeout(240)
def test_no_planted_secret_is_found_where_it_does_not_belong(tmp_path: Path) -> None:
    watch = Watch(7)
    kek, next_kek = (watch.plant("KEK", "the environment", text=secrets.token_hex(32)) for _ in range(2))
    bootstrap = watch.plant("bootstrap token", "the environment", text="chb_" + watch.letters(43))
    transit = watch.plant("transit token", "the environment")
    settings = {"key_provider": "env", "bootstrap_token": bootstrap, "transit_token": transit}
    with hub(watch, tmp_path, "first", **settings, master_key=kek) as first:
        first.key = bootstrap
        made = first.must("POST", "/keys", {"name": "operator", "scopes": ["platform:admin"]}, name="made operator")
        first.key = watch.plant("API key", "the operator's answer", "made operator", text=made["api_key"])
        for tenant in ("acme", "globex"):
            first.must("POST", "/tenants", {"id": tenant, "name": tenant, "tier": "pro"})
        following = [follow(first, "answer of a watch", "/watch?services=*&config=*&load=true")]
        open_texts(watch, first)
        rightly_kept(watch, first, 15)
        configured(watch, first)
        credentials(watch, first)
        misplaced(watch, first)
        headers(watch, first)
        command_line(watch, first)
        first.must("POST", "/encryption/rotations", {"what": "data_keys"})
        _until_rotated(first)
        read_everything(first)
        first.look_at_disk("while running")
    for thread in following:
        thread.join(20)
    first.look_at_disk("after the end")
    refused_starts(watch, tmp_path)
    settings["master_key_previous"] = kek
    with hub(watch, tmp_path, "second", **settings, master_key=next_kek) as second:
        second.key = first.key
        _until_rotated(second)
        assert second.must("GET", "/tenants/acme/secrets/value?path=note-0", name="reading a note")["value"] == "short"
        read_everything(second)
        os.kill(second.process.pid, signal.SIGABRT)  # a crash leaves nothing behind either
        second.process.wait(STOP_S)
    second.look_at_disk("after a crash")
    assert not list(tmp_path.rglob("core*"))
    _looked_through(watch)


def _until_rotated(hub: Driven) -> None:
    deadline = time.monotonic() + 20
    while True:
        answer = hub.must("GET", "/encryption")
        if not answer["behind"] and answer["rotation"].get("phase", "idle") in ("done", "idle"):
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _looked_through(watch: Watch) -> None:
    kinds: dict[str, int] = {}
    for canary in watch.planted:
        kinds[canary.kind] = kinds.get(canary.kind, 0) + 1
    assert len(watch.planted) - kinds["open text"] >= CANARIES_MIN, kinds
    for begins in ("stdout", "stderr", "disk", "metrics", "answer", "reading", "cli", "answer of a watch"):
        seen = [
            name for name, data in watch.outputs.items() if name.startswith(begins) and (data or begins == "stdout")
        ]
        assert seen, f"nothing was seen of {begins}"
    meant = [canary for canary in watch.planted if canary.allowed and canary.kind != "open text"]
    missing = [canary.where for canary in meant if not _is_seen(watch, canary.forms[0])]
    assert not missing, f"the watch is blind: {missing[:5]}"
    wrong = watch.found()
    assert not wrong, f"{len(wrong)} of {len(watch.planted)}: " + "\n".join(wrong[:40])


def _is_seen(watch: Watch, form: bytes) -> bool:
    return any(form in data for data in watch.outputs.values())


def test_a_watch_sees_what_is_there() -> None:
    watch = Watch(1)
    hidden = [watch.plant("secret", f"place {number}") for number in range(3)]
    welcome = watch.plant("secret", "an answer", "reading")
    watch.see("reading 1", welcome)
    watch.see("stderr", "nothing")
    assert watch.found() == []
    watch.see("stderr", hidden[0])
    watch.see("disk", hidden[1].encode().hex())
    watch.see("answer", f"x{base64.b64encode(hidden[2].encode()).decode()}")
    watch.see("stdout", welcome)
    assert len(watch.found()) == 4
    assert all(text not in line for line in watch.found() for text in hidden)
