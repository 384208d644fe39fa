"""What a process writes to stderr: log lines, tracebacks and libraries' own words, without secrets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from central_hub.kernel.redaction import REDACTED

KEK = "0123456789abcdef" * 4
TRANSIT = "plain-words-of-a-token"
PREVIOUS = "a-key-of-before"
KEY = "chk_AAAAAAAAAAAA_" + "b" * 49
SECRETS = (KEK, TRANSIT, PREVIOUS, KEY)

BEGIN = f"""
import asyncio, resource, sys, threading
import structlog
from central_hub.app import configure_logging, redact_stderr
from central_hub.settings import Settings

settings = Settings.model_validate({{
    "master_key": "{KEK}", "transit_token": "{TRANSIT}", "master_key_previous": "short, {PREVIOUS}",
}})
redact_stderr(settings)
configure_logging(settings)
log = structlog.get_logger("central_hub.test")
said = "marked {" ".join(SECRETS)}"

async def fail():
    raise ValueError(said)

async def lost():
    asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    import gc
    gc.collect()
"""


@pytest.mark.parametrize(
    "code",
    [
        'log.warning("test.happened", said=said, nested={"of": [said]})',
        'try:\n    raise ValueError(said)\nexcept ValueError:\n    log.exception("test.failed")',
        "raise ValueError(said)",
        "asyncio.run(lost())",
        "thread = threading.Thread(target=lambda: int(said)); thread.start(); thread.join()",
        "print(said, file=sys.stderr)",
        "import warnings; warnings.warn(said)",
    ],
)
def test_nothing_that_goes_to_stderr_holds_a_secret(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=30, check=False)
    assert "marked" in done.stderr
    assert REDACTED in done.stderr
    assert not [secret for secret in SECRETS if secret in done.stderr]


def test_a_crash_leaves_no_memory_image_and_the_stream_stays_one() -> None:
    code = "print(resource.getrlimit(resource.RLIMIT_CORE)[0], sys.stderr.isatty(), sys.stderr.fileno())"
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("0 False 2\n", "")
