"""OpenFeature's own OFREP providers, unmodified, against a hub in a process of its own.

Python's is in the development dependencies. JavaScript's two (server and web) come through npm where Node is
there; the web one runs here in Node with Node's own EventSource, and in a browser in test_browser.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from tests.openfeature.flag_cases import CODE_DEFAULTS, Case, cases
from tests.openfeature.place import CLIENTS, INSTALLED, Place, asked_of, check, running_place
from tests.security.real_hub import RealHub, running_hub

NODE = shutil.which("node")
NODE_TIMEOUT_S = 60
CASES = cases()

javascript = pytest.mark.skipif(
    NODE is None or not INSTALLED.is_dir(),
    reason="Node or the JavaScript providers are not here: install nodejs and npm, then `make .venv/.clients`",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("hub")) as running:
        yield running


def client_of(place: Place, credential: str, *, name: str, header: str = "Authorization") -> OpenFeatureClient:
    """Return an OpenFeature client on the provider, as its users make one."""
    value = f"Bearer {credential}" if header == "Authorization" else credential
    api.set_provider(OFREPProvider(place.hub.url, headers_factory=lambda: {header: value}), name)
    return api.get_client(name)


def ask(client: OpenFeatureClient, key: str, kind: str, context: dict[str, Any]) -> Any:
    ask_as = {
        "boolean": client.get_boolean_details, "string": client.get_string_details,
        "integer": client.get_integer_details, "number": client.get_float_details,
        "object": client.get_object_details,
    }  # fmt: skip
    attributes = {name: value for name, value in context.items() if name != "targetingKey"}
    evaluation = EvaluationContext(context.get("targetingKey"), attributes) if context else None
    return ask_as[kind](key, CODE_DEFAULTS[kind], evaluation)  # pyright: ignore


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_python_provider_gets_what_is_meant(place: Place, case: Case) -> None:
    details = ask(client_of(place, place.staging, name="cases"), case.key, case.type, case.context)
    error = None if details.error_code is None else details.error_code.value
    if (case.key, case.type) == ("boolean.plain", "integer"):
        assert (details.value, error) == (False, None)  # the provider's own check: to Python a boolean is an integer
        return
    assert (details.value, str(details.reason), details.variant, error) == (
        case.value, f"{case.reason}", case.variant, case.error,
    )  # fmt: skip
    assert type(details.value) is type(case.value)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_the_credential_alone_says_tenant_and_environment(place: Place, header: str) -> None:
    unbound = client_of(place, place.unbound, name=f"unbound-{header}", header=header)
    assert ask(unbound, "production", "boolean", {}).value is True
    assert ask(unbound, "staging", "boolean", {"environment": "staging"}).value is False
    staging = client_of(place, place.staging, name=f"staging-{header}", header=header)
    assert ask(staging, "production", "boolean", {"environment": "production"}).value is False


def test_whoever_may_not_ask_gets_the_codes_default(place: Place) -> None:
    for credential, said in (("chk_none_x", "unauthorized"), (place.blind, "forbidden")):
        details = ask(client_of(place, credential, name=said), "mine", "boolean", {})
        assert (details.value, details.error_code.value, details.error_message) == (False, "GENERAL", said)


def test_a_client_that_asks_too_much_waits_as_it_is_told(tmp_path: Path) -> None:
    with running_hub(tmp_path, "--writes-per-tenant-s", "1", "--reads-per-tenant-s", "1") as hub:
        hub.must("POST", "/tenants", {"id": "acme", "name": "acme", "tier": "pro"})
        key = hub.must("POST", "/tenants/acme/keys", {"name": "k"})["api_key"]
        limited = client_of(Place(hub, key, key, key), key, name="limited")
        said = [ask(limited, "advanced_ai", "boolean", {}) for _ in range(8)]
        refused = [one.error_message for one in said if one.error_code is not None]
        assert said[0].value is True
        assert refused[0].startswith("Rate limited, retry after: ")
        assert refused[0].removeprefix("Rate limited, retry after: ").isdigit()
        assert refused[1].startswith("OFREP evaluation paused")
        deadline = time.monotonic() + 10
        while ask(limited, "advanced_ai", "boolean", {}).error_code is not None:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def run_node(place: Place, provider: str, asked: list[Case], *options: str, **more: Any) -> list[dict[str, Any]]:
    """Ask a JavaScript provider; returns its answers in order."""
    told = {"provider": provider, "url": place.hub.url, "key": place.staging, "cases": [asked_of(one) for one in asked]}
    done = subprocess.run(
        [str(NODE), *options, str(CLIENTS / "evaluate.cjs")], input=json.dumps(told | more), capture_output=True,
        text=True, timeout=NODE_TIMEOUT_S, check=False, env=os.environ | {"NODE_PATH": str(INSTALLED)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@javascript
@pytest.mark.parametrize("provider", ["server", "web"])
def test_the_javascript_providers_get_what_is_meant(place: Place, provider: str) -> None:
    answers = run_node(place, provider, CASES)
    assert len(answers) == len(CASES)
    for case, answer in zip(CASES, answers, strict=True):
        check(case, answer)


@javascript
def test_the_web_provider_hears_of_a_change_and_asks_again(place: Place) -> None:
    place.hub.must("PUT", "/flags/live", {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"})
    asked = [Case("live", "boolean", False, "STATIC"), Case("number.plain", "number", 1.0, "STATIC")]
    node = subprocess.Popen(
        [str(NODE), "--experimental-eventsource", "--no-warnings", str(CLIENTS / "evaluate.cjs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NODE_PATH": str(INSTALLED)},
    )  # fmt: skip
    ending = threading.Timer(NODE_TIMEOUT_S, node.kill)
    ending.start()
    try:
        assert node.stdin is not None
        assert node.stdout is not None
        assert node.stderr is not None
        told = {
            "provider": "web",
            "url": place.hub.url,
            "key": place.staging,
            "cases": [asked_of(one) for one in asked],
        }
        node.stdin.write(json.dumps(told | {"watch": True}))
        node.stdin.close()
        assert node.stderr.readline() == "ready\n"
        _wait_for_stream(place.hub)
        place.hub.must("PUT", "/flags/live", {
            "type": "boolean", "variants": {"on": True, "off": False}, "default": "on",
        }, if_match="*")  # fmt: skip
        answers = json.loads(node.stdout.read())
    finally:
        ending.cancel()
        node.kill()
        node.wait()
        for pipe in (node.stdout, node.stderr):
            if pipe is not None:
                pipe.close()
    assert [one["value"] for one in answers[:2]] == [False, 1]
    assert answers[2] == {"flagsChanged": ["live"]}
    assert [one["value"] for one in answers[3:]] == [True, 1]


def _wait_for_stream(hub: RealHub) -> None:
    deadline = time.monotonic() + 10
    while "central_hub_flag_streams 1" not in hub.metrics():
        assert time.monotonic() < deadline, "the provider opened no stream"
        time.sleep(0.05)
