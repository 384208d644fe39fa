"""Files with secrets of the hub's own: mode 0600, 32 bytes in hex a line, replaced as a whole and durably."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from central_hub.kernel.errors import HubError, Kind

SECRET_BYTES: Final = 32
FILE_MODE: Final = 0o600
LINES_MAX: Final = 16
FILE_BYTES_MAX: Final = 65_536


def secret_bytes(path: Path) -> list[bytes]:
    """Return the secrets of a file, the newest first, making it (mode 0600) with one when it is not there.

    Raises:
        HubError: `key_file_exposed` when others may read it, `key_file_invalid` when it is not ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make_secret(path)
    check_private(path)
    try:
        secrets = [bytes.fromhex(line) for line in path.read_text("ascii").split()]
    except ValueError:
        secrets = []
    if not 0 < len(secrets) <= LINES_MAX or any(len(secret) != SECRET_BYTES for secret in secrets):
        raise HubError(
            "key_file_invalid",
            Kind.INVALID,
            f"{path} does not hold {SECRET_BYTES} bytes in hex.",
            next_step="Put the original file back.",
        )
    return secrets


def secret_file(path: Path) -> bytes:
    """Return the one secret of a file; see `secret_bytes`."""
    return secret_bytes(path)[0]


def secret_text(path: Path) -> str:
    """Return what a file that others may not read holds, without the space around it.

    Raises:
        HubError: `key_file_exposed`, `key_file_invalid`.
    """
    try:
        check_private(path)
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise HubError(
            "key_file_invalid", Kind.INVALID, f"{path} cannot be read: {reason}.",
            next_step="Name a file that this user may read and nobody else.",
        ) from None  # fmt: skip
    return text


def check_private(path: Path) -> None:
    """Refuse a file that others may read.

    Raises:
        HubError: `key_file_exposed`.
        OSError: it is not there.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise HubError(
            "key_file_exposed",
            Kind.INVALID,
            f"{path} can be read by others.",
            next_step=f"chmod 600 {path}, and rotate what it protected if others had access.",
        )


def write_secrets(path: Path, secrets: Sequence[bytes]) -> None:
    """Replace a file's secrets; at every moment it holds all of before or all of after."""
    fresh = _written(path, "\n".join(secret.hex() for secret in secrets))
    fresh.rename(path)
    sync_directory(path.parent)


def _make_secret(path: Path) -> None:
    """Put a fresh secret in place, unless another process does so first: then theirs stands."""
    fresh = _written(path, os.urandom(SECRET_BYTES).hex())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
    sync_directory(path.parent.parent)


def _written(path: Path, text: str) -> Path:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def sync_directory(path: Path) -> None:
    """Make a rename in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
