"""A hub whose key-encryption key is in a transit engine: rotated there; and what goes on when the engine is away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.hub_process import running_hub
from tests.adapters.transit_server import TOKEN, Engine, transit_engine

AT = "/tenants/acme/secrets/value?path=a"


@pytest.mark.timeout(120)
def test_a_hub_goes_on_without_its_key_provider_and_does_not_start_without_it(tmp_path: Path) -> None:
    engine, token, data = Engine(), tmp_path / "token", tmp_path / "data"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    with transit_engine(engine) as url:
        options = {"key_provider": "transit", "transit_url": url, "transit_token_file": str(token)}
        with running_hub(data, **options) as hub:
            hub.must("POST", "/tenants", {"id": "acme", "name": "Acme", "tier": "pro"})
            hub.must("PUT", AT, {"value": "kept"})
            hub.must("POST", "/encryption/rotations")
            deadline = time.monotonic() + 20
            while (state := hub.must("GET", "/encryption"))["rotation"].get("phase") != "done":
                assert time.monotonic() < deadline, state
                time.sleep(0.05)
            assert (state["key_encryption_key"], state["behind"]) == ("transit:transit/central-hub:v2", 0)
            assert not (data / "keys" / "master.key").exists()
        with running_hub(data, **options) as hub:
            engine.sealed = True
            assert hub.must("GET", AT)["value"] == "kept"
            assert hub.must("PUT", "/tenants/acme/secrets/value?path=b", {"value": "x"})["version"] == 1
            status, refused = hub.call("POST", "/tenants", {"id": "fresh", "name": "Fresh", "tier": "pro"})
            assert (status, refused["code"]) == (503, "key_provider_unavailable")
            engine.sealed = False
            hub.must("POST", "/tenants", {"id": "fresh", "name": "Fresh", "tier": "pro"})
        engine.sealed = True
        with pytest.raises((RuntimeError, AssertionError)), running_hub(data, **options):
            pass
        log = max(tmp_path.glob("hub-*.log"), key=lambda path: path.stat().st_mtime).read_text()
        assert "key_provider_unavailable" in log
        assert TOKEN not in log
