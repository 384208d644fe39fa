"""Waits of tests: a broker that is killed comes back in a moment."""

from __future__ import annotations

import pytest

from tests.brokers import kafka_server, place

__all__ = ["kafka_server", "place"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.relays.rules.BACKOFF_S", (0.05, 0.1))
    monkeypatch.setattr("central_hub.adapters.brokers.kafka_link.SEND_TIMEOUT_S", 4.0)
    monkeypatch.setattr("central_hub.adapters.brokers.kafka_link.REQUEST_TIMEOUT_MS", 2_000)
