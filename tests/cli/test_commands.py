"""The commands against a real hub: data on stdout, exit codes, and the walls seen from a shell."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from central_hub.cli import audit
from central_hub.cli.connection import Connection, wait_until_reachable
from central_hub.cli.demo.processes import free_ports
from tests.cli.conftest import Hub, clean_environment


def test_a_service_is_registered_found_drained_and_removed(hub: Hub, unique: str) -> None:
    wanted = (
        "register",
        unique,
        "--port",
        "8003",
        "--instance",
        "i-1",
        "--lease",
        "600",
        "--tag",
        "blue",
        "--meta",
        "a=b",
    )
    registered = hub.json(*wanted)
    assert (registered["service_name"], registered["instance_id"]) == (unique, "i-1")
    found = hub.json("discover", unique, "--tag", "blue")
    assert found["recommended_endpoint"] == "http://127.0.0.1:8003"
    assert hub.json("heartbeat", unique, "i-1", "--in-flight", "3")["lease"]["ttl_s"] == 600
    assert hub.json("drain", unique, "i-1")["draining"] is True
    assert hub.json("discover", unique)["recommended_endpoint"] is None
    hub.json("undrain", unique, "i-1")
    assert hub.json("discover", unique)["recommended_endpoint"] == "http://127.0.0.1:8003"
    hub.json("deregister", unique, "i-1")
    assert hub.run("discover", unique).returncode == 3


def test_what_the_hub_does_not_take_points_to_the_help_of_the_command(hub: Hub) -> None:
    refused = hub.run("register", "risk", "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == "try:   central-hub register --help"


def test_tables_name_what_they_show(hub: Hub, unique: str) -> None:
    hub.json("register", unique, "--port", "8003", "--instance", "i-1", "--lease", "600")
    assert unique in hub.run("services", "list").stdout
    shown = hub.run("services", "get", unique).stdout
    assert shown.splitlines()[0].split()[:3] == ["INSTANCE", "ENDPOINT", "STATUS"]
    assert "http://127.0.0.1:8003" in shown
    why = hub.run("discover", unique, "--explain").stdout
    assert "->    http://127.0.0.1:8003" in why
    assert "PROBABILITY" in why
    assert unique in hub.run("health").stdout


def test_a_tenant_lives_its_life(hub: Hub, unique: str) -> None:
    created = hub.json("tenant", "create", unique, "--tier", "free", "--name", "A Tenant")
    assert (created["id"], created["tier"]) == (unique, "free")
    assert hub.run("tenant", "create", unique).returncode == 5
    assert unique in [each["id"] for each in hub.json("tenant", "list")["tenants"]]
    assert hub.json("tenant", "set-tier", unique, "pro")["tier"] == "pro"
    key = hub.json("key", "create", unique)["api_key"]
    assert hub.run("services", "list", key=key).returncode == 0
    hub.json("tenant", "suspend", unique)
    refused = hub.run("services", "list", key=key)
    assert (refused.returncode, "tenant_suspended" in refused.stderr) == (4, True)
    assert hub.run("entitlement", "list", unique, key=key).returncode == 0
    hub.json("tenant", "resume", unique)
    assert hub.run("services", "list", key=key).returncode == 0
    assert hub.json("tenant", "show", unique)["name"] == "A Tenant"


def test_a_tenant_begins_on_trial_with_a_key_and_ends_for_good(hub: Hub, unique: str) -> None:
    made = hub.run("tenant", "create", unique, "--trial", "--with-key")
    key = made.stdout.strip()
    assert key.startswith("chk_")
    assert hub.run("services", "list", key=key).returncode == 0
    again = hub.run("tenant", "create", unique, "--trial", "--with-key")
    assert (again.returncode, "no key was made" in again.stderr) == (0, True)
    assert hub.json("tenant", "activate", unique)["status"] == "active"
    assert hub.json("tenant", "past-due", unique, "--reason", "March")["reason"] == "March"
    assert "March" in hub.run("tenant", "show", unique).stdout
    wrong = hub.run("tenant", "restore", unique)
    assert (wrong.returncode, "wrong_state" in wrong.stderr) == (5, True)
    assert hub.json("tenant", "delete", unique)["status"] == "deleted"
    assert hub.run("services", "list", key=key).returncode == 4
    assert hub.json("tenant", "restore", unique)["status"] == "suspended"
    hub.json("tenant", "delete", unique)
    assert hub.run("tenant", "shred", unique).returncode == 2
    hub.json("tenant", "shred", unique, "--confirm", unique)
    assert hub.run("tenant", "show", unique).returncode == 3
    assert hub.run("tenant", "create", unique).returncode == 5


def test_a_tenant_is_printed_as_a_document_and_made_from_it(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.json("tenant", "create", unique, "--tier", "pro")
    hub.json("entitlement", "override", unique, "max_data_storage_mb", "5")
    file = tmp_path / "tenant.json"
    file.write_text(hub.run("tenant", "export", unique).stdout)
    made = hub.run("tenant", "import", str(file), "--as", f"{unique}b", "--with-key")
    assert hub.run("services", "list", key=made.stdout.strip()).returncode == 0
    assert hub.json("entitlement", "explain", f"{unique}b", "max_data_storage_mb")["limit"] == 5
    assert hub.run("tenant", "import", str(file)).returncode == 5
    file.write_text("{")
    assert hub.run("tenant", "import", str(file)).returncode == 2


def test_a_key_is_listed_rotated_and_revoked(hub: Hub, unique: str) -> None:
    hub.json("tenant", "create", unique)
    created = hub.json("key", "create", unique, "--name", "ci", "--scope", "registry:read")
    secret, key_id = created["api_key"], created["api_key"].split("_")[1]
    listed = hub.run("key", "list", unique)
    assert key_id in listed.stdout
    assert secret not in listed.stdout
    rotated = hub.json("key", "rotate", unique, key_id)["api_key"]
    assert rotated != secret
    for each in (secret, rotated):
        assert hub.run("services", "list", key=each).returncode == 0
    assert hub.run("register", "x", "--port", "1", key=rotated).returncode == 4
    hub.json("key", "revoke", unique, key_id)
    assert hub.run("services", "list", key=rotated).returncode == 4


def test_the_secret_alone_is_on_stdout(hub: Hub, unique: str) -> None:
    hub.json("tenant", "create", unique)
    done = hub.run("key", "create", unique)
    assert done.stdout.startswith("chk_")
    assert len(done.stdout.split()) == 1
    assert "only time" in done.stderr


def test_walls_are_seen_from_a_shell(hub: Hub, unique: str) -> None:
    owner, other = hub.tenant(f"{unique}a"), hub.tenant(f"{unique}b", "free")
    hub.json("register", unique, "--port", "8010", "--lease", "600", key=owner)
    hub.json("register", f"{unique}-pro", "--port", "8011", "--lease", "600", "--requires", "pro")
    foreign, missing = hub.run("discover", unique, key=other), hub.run("discover", "nothing-here", key=other)
    assert foreign.returncode == missing.returncode == 3
    assert foreign.stderr.replace(unique, "NAME") == missing.stderr.replace("nothing-here", "NAME")
    low = hub.run("discover", f"{unique}-pro", key=other)
    assert (low.returncode, "tier_too_low" in low.stderr) == (4, True)
    assert hub.run("services", "list", key="").returncode == 4
    assert hub.run("services", "list", "--tenant", f"{unique}a", key=other).returncode == 4


def test_a_refusal_can_be_explained(hub: Hub, unique: str) -> None:
    key = hub.tenant(unique, "free")
    hub.json("register", f"{unique}-pro", "--port", "8011", "--lease", "600", "--requires", "pro")
    refused = json.loads(hub.run("discover", f"{unique}-pro", "-o", "json", key=key).stderr)["error"]
    explained = hub.json("explain", refused["decision_id"])
    assert explained["code"] == "tier_too_low"


def test_the_trail_of_a_tenant_is_there_and_verifies(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    trail = hub.run("audit", "tail", unique)
    assert trail.returncode == 0, trail.stderr
    assert "TenantCreated" in trail.stdout
    seqs = [entry["seq"] for entry in hub.json("audit", "tail", unique)["entries"]]
    assert len(seqs) > 1
    assert [entry["seq"] for entry in hub.json("audit", "tail", unique, "--limit", "1")["entries"]] == seqs[-1:]
    assert hub.run("audit", "tail", "platform").returncode == 0
    assert hub.run("audit", "verify", "platform").returncode == 0
    assert hub.run("audit", "verify", unique).returncode == 0


def test_a_long_trail_is_read_from_its_end_in_pages(hub: Hub, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tenant(unique)
    for number in range(7):
        hub.json("tenant", "rename", unique, f"name {number}")
    everything = hub.json("audit", "tail", unique, "--limit", "500")["entries"]
    assert [entry["seq"] for entry in everything] == list(range(1, len(everything) + 1))
    monkeypatch.setattr(audit, "PAGE", 3)
    for limit in (1, 3, 4, 8, 500):
        assert hub.json("audit", "tail", unique, "--limit", str(limit))["entries"] == everything[-limit:]


def test_a_tenant_is_renamed(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    assert hub.json("tenant", "rename", unique, "Acme & Sons")["name"] == "Acme & Sons"
    assert "Acme & Sons" in hub.run("tenant", "show", unique).stdout
    assert hub.run("tenant", "rename", "nobody-here", "X").returncode == 3


def test_callers_of_before_tenants_are_allowed_listed_and_ended(hub: Hub, unique: str) -> None:
    until = ("--until", "2100-01-01T00:00:00Z")
    for name, network in ((unique, "192.0.2.0/24"), (f"{unique}-b", "198.51.100.0/24")):
        hub.json("legacy", "allow", name, "--network", network, *until)
    shown = hub.json("legacy", "allow", unique, "--network", "192.0.2.7", "--network", "2001:db8::/32", *until)
    assert {one["caller"]: one["networks"] for one in shown["callers"]} == {
        unique: ["192.0.2.7", "2001:db8::/32"],
        f"{unique}-b": ["198.51.100.0/24"],
    }
    assert "192.0.2.7" in hub.run("legacy", "list").stdout
    refused = hub.run("legacy", "allow", unique, "--network", "everywhere", *until)
    assert (refused.returncode, "invalid_legacy_policy" in refused.stderr) == (2, True)
    assert hub.run("legacy", "allow", unique, "--network", "192.0.2.7", "--until", "soon").returncode == 2
    for name in (unique, f"{unique}-b"):
        hub.json("legacy", "end", name)
    assert hub.run("legacy", "end", unique).returncode == 3
    assert hub.json("legacy", "list")["callers"] == []


def test_watch_tells_state_and_then_changes(hub: Hub, unique: str) -> None:
    hub.json("register", unique, "--port", "8003", "--instance", "i-1", "--lease", "600")
    assert "i-1" in hub.run("watch", unique, "--once").stdout
    watching = subprocess.Popen(
        [sys.executable, "-m", "central_hub", "watch", unique, "-o", "json"],
        env=clean_environment() | {"HUB_URL": hub.url, "HUB_API_KEY": hub.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert watching.stdout is not None
        events = (json.loads(line) for line in watching.stdout)
        assert next(event for event in events if event["event"] == "sync")
        hub.json("drain", unique, "i-1")
        delta = next(event for event in events if event["event"] == "delta")
        assert delta["data"]["upsert"][0]["draining"] is True
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0
    finally:
        watching.kill()
        watching.wait()
        assert watching.stdout is not None
        watching.stdout.close()


def test_doctor_finds_nothing_wrong_with_a_good_hub(hub: Hub) -> None:
    done = hub.run("doctor", "--data", str(hub.directory / "data"), "-o", "json")
    findings = {each["check"]: each["result"] for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stdout
    assert findings["hub"] == findings["ready"] == findings["key"] == findings["master key"] == "ok"


def test_doctor_finds_what_is_wrong(hub: Hub) -> None:
    done = hub.run("doctor", "--host", "0.0.0.0", "--open", "-o", "json", key="chk_wrong")
    findings = {each["check"]: each["result"] for each in json.loads(done.stdout)["findings"]}
    assert (findings["exposure"], findings["key"]) == ("fail", "fail")
    assert done.returncode == 1


def test_serve_prints_its_settings_and_the_token_once(hub: Hub) -> None:
    log = (hub.directory / "log").read_text()
    assert "host=127.0.0.1" in log
    assert hub.token.startswith("chb_")
    assert hub.token not in log


def test_serve_on_a_taken_port_says_what_to_do(hub: Hub) -> None:
    port = hub.url.rpartition(":")[2]
    done = hub.run("serve", "--port", port, "--data", str(hub.directory / "other"))
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == "try:   central-hub serve --port 0"


def test_serve_ends_in_order_and_a_platform_key_ends_the_tokens(hub: Hub, tmp_path: Path) -> None:
    tokens: list[str] = []
    for how in (signal.SIGTERM, signal.SIGINT):
        (port,) = free_ports(1)
        words = ["serve", "--port", str(port), "--data", str(tmp_path / "data")]
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "central_hub", *words], env=clean_environment(), stdout=out, stderr=err
            )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_reachable(Connection(url), "/readyz", deadline_s=20)
            tokens.append((tmp_path / "out").read_text().strip())
            if tokens == [tokens[0]]:
                made = hub.run("key", "create", "platform", "--scope", "platform:admin", "--hub", url, key=tokens[0])
                assert made.returncode == 0, made.stderr
                assert hub.run("tenant", "list", "--hub", url, key=tokens[0]).returncode == 4
        finally:
            process.send_signal(how)
            ended = process.wait(15)
        assert ended == 0, (tmp_path / "err").read_text()
    assert tokens[0].startswith("chb_")
    assert tokens[1] == ""


def test_a_gateway_is_added_listed_and_removed(hub: Hub, unique: str, tmp_path: Path) -> None:
    pem = tmp_path / "edge.pem"
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    hub.json("tenant", "create", f"{unique}t")
    added = hub.json("gateway", "add", unique, "--public-key", str(pem), "--may-assert", f"{unique}t")
    assert (added["id"], added["issuer"], added["tenants"]) == (unique, unique, [f"{unique}t"])
    twin = hub.run("gateway", "add", f"{unique}b", "--issuer", unique, "--public-key", str(pem))
    assert (twin.returncode, "gateway_exists" in twin.stderr) == (5, True)
    assert unique in hub.run("gateway", "list").stdout
    hub.json("gateway", "remove", unique)
    assert unique not in hub.run("gateway", "list").stdout


def test_watch_goes_on_after_the_hub_was_away(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "central_hub", "serve", "--port", str(port), "--data", str(tmp_path / "data")]
    environment = clean_environment() | {"HUB_OPEN": "true", "HUB_URL": url}
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        wait_until_reachable(Connection(url), "/readyz", deadline_s=20)
        watching = subprocess.Popen(
            [sys.executable, "-m", "central_hub", "watch", "-o", "json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert watching.stdout is not None
        events = (json.loads(line) for line in watching.stdout)
        assert next(event for event in events if event["event"] == "sync")
        first.kill()
        first.wait()
        second = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        try:
            wait_until_reachable(Connection(url), "/readyz", deadline_s=20)
            assert next(event for event in events if event["event"] == "sync")
            Connection(url).post(
                "/services/register", {"name": "late", "host": "127.0.0.1", "port": 1, "lease_ttl_s": 60}
            )
            assert next(event for event in events if event["event"] == "delta")["data"]["service"] == "late"
        finally:
            for process in (watching, second):
                process.terminate()
                process.wait(15)
            watching.stdout.close()
