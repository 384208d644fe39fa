"""Key-encryption keys in Vault's or OpenBao's transit engine: they never leave it, this hub sends what to wrap.

Asked when a hub starts, when a domain is new and when keys rotate. When it is away, reads and writes of known domains
go on, since their data keys are in memory; a new domain gets 503, and a hub that starts does not.

Source: Vault and OpenBao HTTP API, "Transit secrets engine (API)": read key, rotate key, encrypt data, decrypt data.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from central_hub.adapters.egress import Egress, Refused
from central_hub.adapters.egress_policy import Purpose
from central_hub.adapters.https import Stream, TlsStream, exchange
from central_hub.adapters.key_encryption import DataKey, named, parted, wrong_master_key
from central_hub.adapters.secret_files import secret_text
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM

EXCHANGE_TIMEOUT_S: Final = 10.0
AT_ONCE: Final = 256
KEY_TYPES: Final = frozenset({"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
"""Ciphers that bind associated data; a data key then opens as its own domain's only."""
UNAVAILABLE: Final = frozenset({429, 472, 473, 500, 502, 503})
BAD_REQUEST: Final = 400
HTTP: Final = 80
HTTPS: Final = 443


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is, and which of its keys wraps."""

    scheme: str
    host: str
    port: int
    key: str
    mount: str = "transit"
    namespace: str = ""


class _KeyVersions(msgspec.Struct, frozen=True, kw_only=True):
    latest_version: int
    type: str = "aes256-gcm96"
    derived: bool = False


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    ciphertext: str = ""
    plaintext: str = ""
    error: str = ""


class _Results(msgspec.Struct, frozen=True, kw_only=True):
    batch_results: list[_Item]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    data: msgspec.Raw


def address_of(url: str, key: str, mount: str, namespace: str = "") -> Address:
    """Take a server's address apart.

    Raises:
        HubError: `key_provider_invalid` (400).
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (HTTPS if parts.scheme == "https" else HTTP)
    except ValueError:
        parts, port = None, 0
    plain = parts is not None and not (parts.username or parts.password or parts.query or parts.fragment)
    if parts is None or not plain or parts.scheme not in ("http", "https") or not parts.hostname or not key:
        raise HubError(
            "key_provider_invalid",
            Kind.INVALID,
            "The transit server is named by an http or https address without a user in it, and the name of a key.",
            next_step="Set HUB_TRANSIT_URL=https://vault.example:8200 and HUB_TRANSIT_KEY=central-hub.",
        )
    return Address(
        scheme=parts.scheme, host=parts.hostname, port=port, key=key, mount=mount.strip("/"), namespace=namespace
    )


def token_source(text: str, path: Path | None) -> Callable[[], str]:
    """Return what tells the token: a file is read anew each time, since agents renew it there."""
    return (lambda: secret_text(path)) if path is not None else (lambda: text)


class TransitKeys:
    """The `KeyEncryption` port over a transit engine.

    Args:
        address: which server and key.
        egress: opens the connections.
        token: returns the token to send.
        trusted: a file with the certificates of those who may vouch for the server; the system's by default.
    """

    provider = "transit"

    def __init__(
        self, address: Address, egress: Egress, token: Callable[[], str], *, trusted: Path | None = None
    ) -> None:
        self._address = address
        self._egress = egress
        self._token = token
        self._tls = _context(trusted) if address.scheme == "https" else None
        self._version = 0

    @property
    def current(self) -> str:
        """The id of the newest version of the key."""
        return f"{self._prefix}v{self._version}"

    @property
    def _prefix(self) -> str:
        return f"transit:{self._address.mount}/{self._address.key}:"

    async def open(self) -> None:
        """Ask for the newest version; see the port."""
        found = await self._ask("GET", f"keys/{quote(self._address.key, safe='')}", None, _KeyVersions)
        if found.type not in KEY_TYPES or found.derived:
            raise HubError(
                "key_provider_refused",
                Kind.INVALID,
                f"The transit key '{self._address.key}' is of the type {found.type}{', derived' * found.derived}.",
                next_step="Make a key that is not derived, of the type aes256-gcm96.",
            )
        self._version = found.latest_version

    def knows(self, key: str) -> bool:
        """Say whether it is a version of this key."""
        return key.startswith(self._prefix)

    async def wrap(self, plain: Sequence[DataKey]) -> list[bytes]:
        """Have data keys encrypted; see the port."""
        wrapped: list[bytes] = []
        for at in range(0, len(plain), AT_ONCE):
            part = plain[at : at + AT_ONCE]
            items = [{"plaintext": _b64(each.data), "associated_data": _b64(each.associated)} for each in part]
            for item in await self._batch("encrypt", items):
                version = item.ciphertext.split(":")[1:2]
                if not item.ciphertext.startswith("vault:v") or not version[0][1:].isdigit():
                    raise _unintelligible()
                self._version = max(self._version, int(version[0][1:]))
                wrapped.append(named(self._prefix + version[0], item.ciphertext.encode()))
        return wrapped

    async def unwrap(self, wrapped: Sequence[DataKey]) -> list[bytes]:
        """Have data keys decrypted; see the port."""
        plain: list[bytes] = []
        for at in range(0, len(wrapped), AT_ONCE):
            part = wrapped[at : at + AT_ONCE]
            items: list[dict[str, str]] = []
            for each in part:
                key, data = parted(each.data)
                if not self.knows(key):
                    raise wrong_master_key(key)
                items.append({"ciphertext": data.decode(), "associated_data": _b64(each.associated)})
            for item in await self._batch("decrypt", items):
                try:
                    plain.append(base64.b64decode(item.plaintext, validate=True))
                except ValueError:
                    raise _unintelligible() from None
        return plain

    async def rotate(self) -> None:
        """Have a new version made; see the port."""
        await self._ask("POST", f"keys/{quote(self._address.key, safe='')}/rotate", {}, None)
        await self.open()

    async def retire(self) -> None:
        """Versions of before stay with the server; its operator sets `min_decryption_version`."""

    async def _batch(self, verb: str, items: list[dict[str, str]]) -> list[_Item]:
        path = f"{verb}/{quote(self._address.key, safe='')}"
        results = (await self._ask("POST", path, {"batch_input": items}, _Results)).batch_results
        if len(results) != len(items):
            raise _unintelligible()
        if any(item.error for item in results):
            raise _refused(BAD_REQUEST)
        return results

    async def _ask(self, method: str, path: str, body: object, kind: Any) -> Any:  # Any: `kind`, a struct or None
        target = f"/v1/{quote(self._address.mount)}/{path}"
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            status, answered = await self._exchange(method, target, data)
        except (OSError, TimeoutError, Refused) as error:
            raise _away(f"{type(error).__name__}: {error}") from None
        if status in UNAVAILABLE:
            raise _away(f"status {status}")
        if not 200 <= status < 300:
            raise _refused(status)
        if kind is None:
            return None
        try:
            return msgspec.json.decode(msgspec.json.decode(answered, type=_Answer).data, type=kind)
        except msgspec.DecodeError:
            raise _unintelligible() from None

    async def _exchange(self, method: str, target: str, data: bytes) -> tuple[int, bytes]:
        address = self._address
        connection = await self._egress.connect(PLATFORM, address.host, address.port, purpose=Purpose.KEYS)
        with contextlib.closing(connection):
            stream: Stream = connection
            if self._tls is not None:
                stream = TlsStream(connection, self._tls, address.host)
                await stream.open()
            headers = [
                ("host", f"{address.host}:{address.port}"),
                ("x-vault-token", self._token()),
                ("x-vault-request", "true"),
                ("content-type", "application/json"),
                ("connection", "close"),
            ]
            if address.namespace:
                headers.append(("x-vault-namespace", address.namespace))
            return await exchange(stream, method, target, headers, data, timeout_s=EXCHANGE_TIMEOUT_S)


def _context(trusted: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if trusted is None else str(trusted))
    except (OSError, ssl.SSLError) as error:
        raise HubError(
            "key_provider_invalid", Kind.INVALID, f"The certificates in {trusted} cannot be read.",
            next_step="Name a file of PEM certificates with HUB_TRANSIT_CA_FILE.", internal=type(error).__name__,
        ) from None  # fmt: skip


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _away(reason: str) -> HubError:
    return HubError(
        "key_provider_unavailable",
        Kind.UNAVAILABLE,
        "The key provider does not answer; what is known goes on, a new domain has to wait for it.",
        next_step="See that the transit server is up and unsealed, and try again.",
        internal=reason,
        retry_after_s=5,
    )


def _refused(status: int) -> HubError:
    return HubError(
        "key_provider_refused",
        Kind.INTERNAL,
        f"The key provider refused with status {status}.",
        next_step="See that the token may read, encrypt, decrypt and rotate with the key, and that versions that are "
        "in use may still decrypt.",
    )


def _unintelligible() -> HubError:
    return HubError(
        "key_provider_refused", Kind.INTERNAL, "The key provider's answer is not one of a transit engine.",
        next_step="See that HUB_TRANSIT_URL and the mount name a transit engine.",
    )  # fmt: skip
