"""The view on disk: one file per hub, tenant and key, written whole or not at all, readable by its owner only.

A directory that cannot be written is counted and otherwise ignored: the client works without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from central_hub.sdk.view import SAVED_FORMAT, SavedView

SAVED_BYTES_MAX: Final = 256 * 1024 * 1024
DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def default_directory() -> Path:
    """Return where views are kept unless told otherwise: `central-hub` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "central-hub"


def who(base_url: str, api_key: str | None, tenant_id: str | None, tier: str | None) -> str:
    """Return a name for a point of view; two callers who may see different things never share one."""
    parts = (base_url, _key_id(api_key or ""), tenant_id or "", tier or "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


class ViewStore:
    """Keeps one view in a directory.

    Args:
        directory: created on the first write.
        name: of the point of view, from `who`.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / f"view-{name}.msgpack"
        self.failures = 0

    def load(self) -> SavedView | None:
        """Return what was saved; None when there is nothing that can be read."""
        try:
            if self.path.stat().st_size > SAVED_BYTES_MAX:
                return None
            saved = msgspec.msgpack.decode(self.path.read_bytes(), type=SavedView)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError):
            self.failures += 1
            return None
        return saved if saved.format == SAVED_FORMAT else None

    def save(self, view: SavedView) -> bool:
        """Write a view beside the old one and put it in its place; says whether that worked."""
        try:
            write_private(self.path, msgspec.msgpack.encode(view))
        except OSError:
            self.failures += 1
            return False
        return True


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically; it is 0600 from its first byte on.

    Raises:
        OSError: it could not be written; the old file is as it was.
    """
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.urandom(6).hex()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _key_id(api_key: str) -> str:
    """Return what identifies a key: its public id where it has one, so that a rotated secret keeps its view."""
    parts = api_key.split("_")
    return parts[1] if len(parts) >= 3 and parts[0] == "chk" else api_key
