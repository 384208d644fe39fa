"""A transit engine in a thread, for tests: real AES-GCM, and strict about what Vault and OpenBao document.

It refuses what it does not know, so that a client that sends something else is noticed. The same tests run against a
real server where `HUB_TEST_VAULT` names its program.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.cli.demo.processes import free_ports

TOKEN = "test-token-of-the-hub"
START_S = 30.0


class Engine:
    """The keys of one engine, by name: every version of each."""

    def __init__(self) -> None:
        self.keys: dict[str, list[bytes]] = {"central-hub": [os.urandom(32)]}
        self.kinds: dict[str, str] = {}
        self.least: dict[str, int] = {}
        self.sealed = False
        self.requests: list[tuple[str, str]] = []
        self.strange = b""
        self.token = TOKEN

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Return status and body of one request."""
        self.requests.append((method, path))
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if headers.get("x-vault-token") != self.token:
            return 403, {"errors": ["permission denied"]}
        parts = path.split("/")
        if parts[:3] != ["", "v1", "transit"] or len(parts) < 5 or parts[4] not in self.keys:
            return 404, {"errors": []}
        verb, name = parts[3], parts[4]
        if (method, verb, parts[5:]) == ("GET", "keys", []):
            return 200, _data(self._described(name))
        if (method, verb, parts[5:]) == ("POST", "keys", ["rotate"]):
            assert json.loads(body) == {}
            self.keys[name].append(os.urandom(32))
            return 200, _data(self._described(name))
        if method == "POST" and verb in ("encrypt", "decrypt") and not parts[5:]:
            return self._batch(verb, name, json.loads(body))
        return 405, {"errors": ["unsupported operation"]}

    def _described(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "type": self.kinds.get(name, "aes256-gcm96"),
            "derived": False,
            "latest_version": len(self.keys[name]),
            "min_decryption_version": self.least.get(name, 1),
            "keys": {str(number + 1): 1_700_000_000 for number in range(len(self.keys[name]))},
        }

    def _batch(self, verb: str, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        assert set(body) == {"batch_input"}, body
        items = body["batch_input"]
        assert isinstance(items, list)
        assert items
        results = [(self._encrypt if verb == "encrypt" else self._decrypt)(name, item) for item in items]
        return (400 if any("error" in each for each in results) else 200), _data({"batch_results": results})

    def _encrypt(self, name: str, item: dict[str, str]) -> dict[str, Any]:
        assert set(item) == {"plaintext", "associated_data"}, item
        plain, bound = (base64.b64decode(item[part], validate=True) for part in ("plaintext", "associated_data"))
        nonce, version = os.urandom(12), len(self.keys[name])
        sealed = nonce + AESGCM(self.keys[name][-1]).encrypt(nonce, plain, bound)
        return {"ciphertext": f"vault:v{version}:{base64.b64encode(sealed).decode()}", "key_version": version}

    def _decrypt(self, name: str, item: dict[str, str]) -> dict[str, Any]:
        assert set(item) == {"ciphertext", "associated_data"}, item
        prefix, version, text = item["ciphertext"].split(":")
        assert prefix == "vault"
        number = int(version.removeprefix("v"))
        if number < self.least.get(name, 1):
            return {"error": "ciphertext or signature version is disallowed by policy (too old)"}
        sealed, bound = base64.b64decode(text), base64.b64decode(item["associated_data"], validate=True)
        try:
            plain = AESGCM(self.keys[name][number - 1]).decrypt(sealed[:12], sealed[12:], bound)
        except (InvalidTag, IndexError):
            return {"error": "cipher: message authentication failed"}
        return {"plaintext": base64.b64encode(plain).decode()}


def _data(data: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": "r", "lease_id": "", "renewable": False, "lease_duration": 0, "data": data, "auth": None}


def _handler(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if engine.strange:
                self.wfile.write(engine.strange)
                self.close_connection = True
                return
            status, answer = engine.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("transfer-encoding", "chunked")  # as a Go server does with long answers
            self.end_headers()
            data = json.dumps(answer).encode()
            for at in range(0, len(data), 1_000):
                part = data[at : at + 1_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = _serve  # noqa: N815  # the names that the server calls

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def transit_engine(engine: Engine, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve an engine; yields its address. With a certificate (and its key) it speaks TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine))
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def real_server() -> str | None:
    """Return the program of a real server, None where there is none to test against."""
    named = os.environ.get("HUB_TEST_VAULT")
    return shutil.which(named) if named else None


@contextmanager
def real_engine(program: str, directory: Path) -> Iterator[str]:
    """Run a real server in memory with a transit key of ours; yields its address."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [program, "server", "-dev", f"-dev-root-token-id={TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": str(directory)})
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                _post(url + "/v1/sys/mounts/transit", {"type": "transit"})
                break
            except OSError:
                assert process.poll() is None, (directory / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        _post(url + "/v1/transit/keys/central-hub", {"type": "aes256-gcm96"})
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _post(url: str, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"x-vault-token": TOKEN}, method="POST")
    with urllib.request.urlopen(request, timeout=5):
        pass
