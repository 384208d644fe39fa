"""AsyncAPI's own parser takes the contract of events, and would not take a broken one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.openfeature.place import INSTALLED

ROOT = Path(__file__).resolve().parents[2]
NODE = shutil.which("node")
PARSE_TIMEOUT_S = 60

SCRIPT = """
import { Parser } from '@asyncapi/parser';
import { readFileSync } from 'node:fs';
const { document, diagnostics } = await new Parser().parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify({
  valid: document !== undefined,
  messages: document === undefined ? 0 : document.allMessages().all().length,
  said: diagnostics.map((one) => `${one.severity} ${one.code} ${one.path.join('.')}`),
}));
"""

pytestmark = pytest.mark.skipif(
    NODE is None or not (INSTALLED / "@asyncapi" / "parser").is_dir(),
    reason="Node or the AsyncAPI parser is not here: install nodejs and npm, then `make .venv/.clients`",
)


def parsed(text: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-e", SCRIPT], input=text, cwd=INSTALLED.parent, text=True,
        timeout=PARSE_TIMEOUT_S, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_parser_takes_the_contract_and_says_nothing_against_it() -> None:
    text = (ROOT / "contracts" / "asyncapi.json").read_text("utf-8")
    found = parsed(text)
    assert found == {"valid": True, "messages": len(json.loads(text)["components"]["messages"]), "said": []}


def test_the_parser_refuses_a_broken_one() -> None:
    document = json.loads((ROOT / "contracts" / "asyncapi.json").read_text("utf-8"))
    document["operations"]["stream_events"]["action"] = "shout"
    found = parsed(json.dumps(document))
    assert not found["valid"]
    assert found["said"]
