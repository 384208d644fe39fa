"""The commands of configuration against a real hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from central_hub.cli.config import put_value
from central_hub.cli.failures import Failure
from tests.cli.conftest import Hub


def test_values_are_set_shown_explained_and_taken_back(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    layer = f"tenant/{unique}"
    set_ = hub.json("config", "set", layer, "/rate_limits/api_calls_per_hour=5", "--reason", "why not")
    assert (set_["revision"], set_["reason"]) == (1, "why not")
    shown = hub.run("config", "show", unique).stdout
    assert "/rate_limits/api_calls_per_hour" in shown
    explained = hub.json("config", "explain", unique)["values"]["/rate_limits/api_calls_per_hour"]
    assert (explained["value"], explained["layer"]) == (5, layer)
    assert layer in hub.run("config", "explain", unique).stdout
    assert hub.json("config", "unset", layer, "/rate_limits/api_calls_per_hour")["revision"] == 2
    assert hub.json("config", "history", layer)["revisions"][1]["reason"] == "why not"
    assert "api_calls_per_hour" in hub.run("config", "diff", layer, "1").stdout
    assert hub.json("config", "rollback", layer, "1", "--reason", "back")["restores"] == 1
    assert hub.json("config", "layer", layer)["document"] == {"rate_limits": {"api_calls_per_hour": 5}}


def test_a_file_is_looked_at_before_it_is_applied(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.tenant(unique)
    file = tmp_path / "layer.json"
    file.write_text(json.dumps({"features": {"advanced_ai": False}}))
    looked = hub.run("config", "apply", f"tenant/{unique}", str(file))
    assert "/features/advanced_ai" in looked.stdout
    assert "Nothing is changed yet" in looked.stderr
    assert hub.json("config", "layer", f"tenant/{unique}")["revision"] == 0
    assert hub.json("config", "apply", f"tenant/{unique}", str(file), "--yes")["revision"] == 1
    refused = hub.run("config", "apply", f"tenant/{unique}", str(tmp_path / "none.json"))
    assert refused.returncode == 2


def test_combinations_sections_and_dry_runs(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.tenant(unique)
    section = f"s-{unique}"
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"depth": {"type": "integer"}}}))
    assert hub.json("config", "describe", section, str(schema))["section"] == section
    assert section in hub.run("config", "sections").stdout
    dry = hub.run("config", "set", f"service/{unique}", f"/{section}/depth=3", "--dry-run")
    assert "It would reach" in dry.stderr
    made = hub.json("config", "set", f"tenant/{unique}", f"/{section}/depth=4", "--for-service", "a")
    assert made["layer"] == f"tenant/{unique}+service/a"
    assert hub.json("config", "show", unique, "--service", "a")["config"][section] == {"depth": 4}
    assert section not in hub.json("config", "show", unique)["config"]


def test_what_is_no_layer_place_or_value_is_said(hub: Hub, unique: str) -> None:
    for words in (
        ("set", "planet/earth", "/a/b=1"),
        ("set", "global", "a.b=1"),
        ("set", "global", "/a/b"),
        ("set", "global", "/a=1", "/a/b=2"),
    ):
        assert hub.run("config", *words).returncode == 2
    refused = hub.run("config", "set", "global", "/rate_limit/x=1")
    assert refused.returncode == 2
    assert "Did you mean 'rate_limits'" in refused.stderr
    assert refused.stderr.splitlines()[-1] == "try:   central-hub config sections"


def test_a_template_makes_layers(hub: Hub, unique: str, tmp_path: Path) -> None:
    hub.tenant(unique)
    file = tmp_path / "template.json"
    parameters = {"calls": {"type": "integer", "default": 7}}
    file.write_text(
        json.dumps({"parameters": parameters, "document": {"rate_limits": {"api_calls_per_hour": "${calls}"}}})
    )
    assert hub.json("template", "put", unique, str(file))["template"] == unique
    assert "calls (integer)" in hub.run("template", "list").stdout
    dry = hub.run("template", "apply", unique, f"tenant/{unique}", "calls=9", "--dry-run")
    assert "It would reach 1 tenants" in dry.stderr
    made = hub.json("template", "apply", unique, f"tenant/{unique}", "calls=9")
    assert made["document"] == {"rate_limits": {"api_calls_per_hour": 9}}
    assert hub.run("template", "apply", unique, "global", "calls").returncode == 2
    hub.json("template", "remove", unique)
    gone = hub.run("template", "apply", unique, "global")
    assert (gone.returncode, gone.stderr.splitlines()[-1]) == (3, "try:   central-hub template list")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("features.advanced_ai", "/features/advanced_ai"),
        ("features/advanced_ai", "/features/advanced_ai"),
        ("//features", "/risk/depth"),
    ],
)
def test_a_place_that_is_none_is_answered_with_the_one_that_is_meant(typed: str, meant: str) -> None:
    with pytest.raises(Failure, match=f"is not a place such as {meant}."):
        put_value({}, typed, True)
