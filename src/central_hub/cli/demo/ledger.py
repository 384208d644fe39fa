"""Where the demo's trading engines write orders down: each Idempotency-Key once, whoever is asked.

One SQLite file shared by all instances of the service, as a real platform would share a database:
a caller whose instance was killed asks another one, which finds the order done and says so.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

BUSY_TIMEOUT_S: Final = 5.0

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY, tenant TEXT NOT NULL, executed_by TEXT NOT NULL) WITHOUT ROWID
"""


class Ledger:
    """Orders by idempotency key. Blocking: call it from a thread.

    Args:
        path: the shared file.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        with self._lock:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_CREATE)

    def execute(self, key: str, tenant: str, instance: str) -> bool:
        """Write an order down; returns False when it had been executed before."""
        with self._lock:
            done = self._database.execute(
                "INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, tenant, instance)
            )
            return done.rowcount == 1

    def count(self) -> int:
        """Return how many orders were executed."""
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM orders").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
