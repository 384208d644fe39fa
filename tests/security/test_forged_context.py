"""No forged context is believed, directly or through a real nginx, whatever the way in."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.hub_process import HubProcess, free_port, running_hub
from tests.security.forged import TENANT_MARK, TIER_MARK, Attack, attacks, smuggling

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)

# Three gateways: one that passes everything on; one set up as the documentation says; and one
# that is careless: it adds what it knows and lets its client's own lines through beside it.
NGINX_CONFIG = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  underscores_in_headers on; ignore_invalid_headers off;
  proxy_http_version 1.1; proxy_set_header Connection "";
  server {{ listen 127.0.0.1:{plain}; location / {{ proxy_pass http://127.0.0.1:{hub}; }} }}
  server {{
    listen 127.0.0.1:{gateway};
    underscores_in_headers off; ignore_invalid_headers on;
    location / {{
      proxy_pass http://127.0.0.1:{hub};
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {key}";
      proxy_set_header x-tenant-id acme;
      proxy_set_header x-user-id mallory;
      proxy_set_header x-company-id "";
      proxy_set_header x-subscription-tier "";
      proxy_set_header txn-token "";
      proxy_set_header x-api-key "";
    }}
  }}
  server {{
    listen 127.0.0.1:{careless};
    location / {{
      proxy_pass http://127.0.0.1:{hub};
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {key}";
      proxy_set_header x-company-id acme;
    }}
  }}
}}
"""


class Target:
    """A running hub with an attacker (`acme`) and a victim (`globex`)."""

    def __init__(self, hub: HubProcess, lane: str) -> None:
        self.hub = hub
        self.lane = lane
        self.attacker = hub.tenant("acme", "pro")
        self.victim = hub.tenant("globex", "enterprise")
        instance = {"host": "10.1.1.1", "port": 80, "lease_ttl_s": 3_600}
        hub.must(
            "POST",
            "/services/register",
            {"name": "vault", "metadata": {"m": TENANT_MARK.decode()}, **instance},
            key=self.victim,
        )
        gold = {
            "name": "gold",
            "metadata": {"m": TIER_MARK.decode()},
            "subscription_requirements": ["enterprise"],
            **instance,
        }
        hub.must("POST", "/services/register", gold)
        # Last: the platform's first own key ends the bootstrap token.
        self.gateway = hub.must(
            "POST", "/keys",
            {"name": "gateway", "scopes": ["tenant:assert", "registry:read", "config:read"],
             "assertable_tenants": ["acme", "globex"]},
        )["api_key"]  # fmt: skip

    def forged(self, *, all_of_them: bool) -> list[Attack]:
        """Return the attacks; one in five where the same code was already met in full."""
        credential = own_line(self.attacker)
        every = [*attacks(credential), *smuggling(credential)]
        tried = every if all_of_them and self.lane == "protocol" else every[::5]
        assert len(tried) >= 200
        return tried

    def sees_victims(self) -> bool:
        """Whether the marks are there to be seen at all, by those who may."""
        own = self.hub.fetch("/services/discover/vault", self.victim)
        shared = self.hub.fetch("/services/discover/gold", self.victim)
        return TENANT_MARK in own and TIER_MARK in shared


@pytest.fixture(scope="module", params=["protocol", "asgi", "off"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_hub(tmp_path_factory.mktemp("forged") / "data", lane=request.param) as hub:
        yield Target(hub, request.param)


def send(port: int, raw: bytes) -> bytes:
    """Send bytes and return everything that comes back."""
    got = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(raw)
        connection.settimeout(1.0 if b"close" not in raw else 10)
        while data := connection.recv(65_536):
            got += data
    return got


def believed(answer: bytes) -> bool:
    """Whether an answer shows that a forged context was taken for true."""
    lower = answer.lower()
    return (
        TENANT_MARK in answer
        or TIER_MARK in answer
        or b'"tenant_id":"globex"' in lower.replace(b" ", b"")
        or b"hub-tier: enterprise" in lower
        or b'"tier":"enterprise"' in lower.replace(b" ", b"")
    )


def believed_of(port: int, tried: list[Attack]) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda attack: send(port, attack.raw), tried))
    return [attack.label for attack, answer in zip(tried, answers, strict=True) if believed(answer)]


def own_line(key: str) -> bytes:
    return b"Authorization: Bearer " + key.encode()


def test_no_forged_context_is_believed_directly(target: Target) -> None:
    assert target.sees_victims()
    assert believed_of(target.hub.port, target.forged(all_of_them=True)) == []
    assert target.sees_victims()


def test_doubled_and_disguised_headers_are_refused_before_authentication(target: Target) -> None:
    for lines in (b"x-tenant-id: acme\r\nx-tenant-id: acme", b"x_tenant_id: acme", b"x-tenant-id: a,b"):
        for credential in (b"Authorization: Bearer nonsense", own_line(target.attacker)):
            raw = b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n%b\r\n%b\r\nConnection: close\r\n\r\n" % (
                credential,
                lines,
            )
            assert send(target.hub.port, raw).startswith(b"HTTP/1.1 400 ")


@pytest.fixture(scope="module")
def gateways(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    root = tmp_path_factory.mktemp("nginx")
    ports = {"plain": free_port(), "gateway": free_port(), "careless": free_port()}
    config = NGINX_CONFIG.format(root=root, hub=target.hub.port, key=target.gateway, **ports)
    (root / "nginx.conf").write_text(config)
    with run_nginx(root, ports["careless"]):
        yield ports


@contextlib.contextmanager
def run_nginx(root: Path, port: int) -> Iterator[None]:
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("through", ["plain", "gateway", "careless"])
def test_no_forged_context_is_believed_through_nginx(target: Target, gateways: dict[str, int], through: str) -> None:
    port = gateways[through]
    plain = b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n%b\r\nConnection: close\r\n\r\n" % own_line(target.attacker)
    assert b'"acme"' in send(port, plain), "the way through works"
    assert believed_of(port, target.forged(all_of_them=through == "careless")) == []
    assert target.sees_victims()
