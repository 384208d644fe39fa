"""What `central-hub doctor` says of the key-encryption key: where it comes from, who may read it, what is behind."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.findings import FAIL, OK, SKIP, WARN, Finding
from central_hub.cli.session import Session

CONNECT_S: Final = 2.0
GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_MAKE: Final = "export HUB_MASTER_KEY=$(openssl rand -hex 32)"


def key_provider(environment: Mapping[str, str], data: Path) -> Iterable[Finding]:
    """Check what is set of the provider; the file is another check's."""
    provider = environment.get("HUB_KEY_PROVIDER", "file")
    if provider == "env":
        yield _of_environment(environment)
        if environment.get("HUB_MASTER_KEY_PREVIOUS"):
            detail = "HUB_MASTER_KEY_PREVIOUS is set; it may go when nothing is behind"
            yield Finding("previous key", WARN, detail, "central-hub encryption status")
    elif provider == "transit":
        yield from _of_transit(environment)
    elif provider != "file":
        yield Finding("key provider", FAIL, "HUB_KEY_PROVIDER is no provider", "export HUB_KEY_PROVIDER=file")
    if provider in ("env", "transit") and (data / "keys" / "master.key").exists():
        detail = f"{data / 'keys' / 'master.key'} is still there; it may go when nothing is behind"
        yield Finding("old key", WARN, detail, "central-hub encryption status")


def _of_environment(environment: Mapping[str, str]) -> Finding:
    if not _KEY.fullmatch(environment.get("HUB_MASTER_KEY", "").strip()):
        return Finding("key provider", FAIL, "HUB_MASTER_KEY is not 64 hex digits", _MAKE)
    return Finding("key provider", OK, "the key-encryption key is in the environment")


def _of_transit(environment: Mapping[str, str]) -> Iterable[Finding]:
    try:
        parts = urlsplit(environment.get("HUB_TRANSIT_URL", ""))
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        mend = "export HUB_TRANSIT_URL=https://vault.example:8200"
        yield Finding("key provider", FAIL, "HUB_TRANSIT_URL is no address", mend)
        return
    try:
        socket.create_connection((parts.hostname, port), CONNECT_S).close()
    except OSError as error:
        detail = f"nobody answers at {parts.hostname}:{port} ({error.strerror or type(error).__name__})"
        yield Finding("key provider", FAIL, detail, "start or unseal the transit server")
    else:
        in_clear = parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost")
        result, mend = (WARN, "use https") if in_clear else (OK, "")
        yield Finding("key provider", result, f"transit at {parts.hostname}:{port}", mend)
    yield _token(environment)


def _token(environment: Mapping[str, str]) -> Finding:
    named = environment.get("HUB_TRANSIT_TOKEN_FILE")
    if not named:
        if environment.get("HUB_TRANSIT_TOKEN"):
            detail = "the token is in the environment, where nobody renews it"
            return Finding("transit token", WARN, detail, "export HUB_TRANSIT_TOKEN_FILE=/run/secrets/vault-token")
        mend = "export HUB_TRANSIT_TOKEN_FILE=/run/secrets/vault-token"
        return Finding("transit token", FAIL, "there is no token", mend)
    try:
        mode = Path(named).stat().st_mode
    except OSError as error:
        return Finding("transit token", FAIL, f"{named}: {error.strerror}", f"ls -l {named}")
    if mode & GROUP_AND_OTHERS:
        return Finding("transit token", FAIL, f"{named} can be read by others", f"chmod 600 {named}")
    return Finding("transit token", OK, "private to its owner")


def encryption(session: Session) -> Finding:
    """Ask the hub what everything is under; who may not ask is told nothing is wrong."""
    try:
        answer = session.hub.get("/encryption")
    except Failure as failure:
        detail = "this key may not ask" if failure.exit_code == ExitCode.DENIED else failure.message
        return Finding("encryption", SKIP, detail)
    held_up = answer["rotation"].get("held_up_by")
    detail = f"{answer['data_keys']} data keys under {answer['key_encryption_key']} ({answer['provider']})"
    if held_up:
        return Finding("encryption", FAIL, f"a rotation is held up by {held_up}", "central-hub encryption status")
    if answer["behind"]:
        return Finding("encryption", WARN, f"{detail}, {answer['behind']} not yet", "central-hub encryption status")
    return Finding("encryption", OK, detail)
