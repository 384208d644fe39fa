"""The flag and segment commands against a real hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Hub


def test_a_flag_from_creation_to_the_archive(hub: Hub, unique: str, tmp_path: Path) -> None:
    key, flag = hub.tenant(unique, "pro"), f"{unique}.search"
    made = hub.run("flag", "create", flag, "--description", "New search")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split()[:2] == ["flag", flag]
    assert hub.json("flag", "eval", flag, key=key)["reason"] == "STATIC"
    ruled = hub.json("flag", "rule", flag, "on", "--percentage", "100", "--tier", "pro")
    assert (ruled["revision"], ruled["rules"]) == (2, [{"variant": "on", "tiers": ["pro"], "percentage": 100.0}])
    first = hub.json("flag", "rule", flag, "off", "--for", unique, "--environment", "staging", "--first")
    assert [rule["variant"] for rule in first["rules"]] == ["off", "on"]
    said = hub.run("flag", "eval", flag, "--subject", "u1", key=key)
    assert said.stdout.splitlines()[1].split() == [flag, "yes", "on", "SPLIT", "rule"]
    staged = hub.json("flag", "eval", flag, "--subject", "u1", "--environment", "staging", key=key)
    assert (staged["value"], staged["reason"]) == (False, "TARGETING_MATCH")
    assert hub.json("flag", "disable", flag, "--reason", "it burns")["state"] == "disabled"
    assert hub.json("flag", "eval", flag, key=key)["reason"] == "DISABLED"
    assert hub.json("flag", "enable", flag)["state"] == "enabled"
    shown = hub.run("flag", "show", flag).stdout
    assert f"tenants {unique}; environments staging" in shown
    assert "tiers pro; 100 %" in shown
    assert hub.json("flag", "rule", flag, "on", "--clear")["rules"] == [{"variant": "on"}]
    assert flag in hub.run("flag", "list").stdout
    assert hub.json("flag", "archive", flag)["state"] == "archived"
    gone = hub.run("flag", "eval", flag, key=key)
    assert (gone.returncode, gone.stderr.splitlines()[-1]) == (3, "try:   central-hub flag list")
    assert flag in [one["key"] for one in hub.json("flag", "list", "--state", "archived")["flags"]]
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(hub.json("flag", "show", flag) | {"state": "enabled"}))
    assert hub.json("flag", "apply", flag, str(file))["state"] == "enabled"


def test_flags_of_other_types_and_from_a_file(hub: Hub, unique: str, tmp_path: Path) -> None:
    made = hub.json(
        "flag", "create", f"{unique}.color", "--type", "string", "--variant", "warm=1", "--variant", "cold=blue",
        "--default", "cold", "--only", hub.tenant(unique) and unique, "--overridable",
    )  # fmt: skip
    assert (made["variants"], made["default"]) == ({"warm": "1", "cold": "blue"}, "cold")
    numbers = hub.json("flag", "create", f"{unique}.n", "--type", "number", "--variant", "a=1", "--variant", "b=2.5")
    assert (numbers["variants"], numbers["default"]) == ({"a": 1.0, "b": 2.5}, "a")
    file = tmp_path / "flag.json"
    file.write_text(json.dumps(made | {"default": "warm"}))
    assert hub.json("flag", "apply", f"{unique}.color", str(file))["revision"] == 2
    assert hub.json("flag", "apply", f"{unique}.fresh", str(file))["revision"] == 1
    file.write_text("[1]")
    refused = hub.run("flag", "apply", f"{unique}.color", str(file))
    assert (refused.returncode, "is no JSON object" in refused.stderr) == (2, True)
    assert hub.run("flag", "create", f"{unique}.x", "--variant", "on").returncode == 2


def test_a_tenant_has_its_own_variant_and_hears_why(hub: Hub, unique: str) -> None:
    key, flag = hub.tenant(unique), f"{unique}.beta"
    hub.json("flag", "create", flag)
    assert "no variants of its own" in hub.run("flag", "overrides", unique).stderr
    own = hub.run("flag", "override", unique, flag, "on", "--reason", "asked for it")
    assert own.stdout.splitlines()[-1].split() == ["variant", "on"]
    assert hub.run("flag", "overrides", unique, key=key).stdout.splitlines()[1].split()[:2] == [flag, "on"]
    told = hub.run("flag", "explain", unique, flag, key=key).stdout
    assert "the tenant has a variant of its own" in told
    assert hub.run("flag", "restore", unique, flag).returncode == 0
    said = hub.json("flag", "explain", unique, flag, "--subject", "u", "--environment", "staging")
    assert (said["reason"], said["environment"], said["place"] is not None) == ("STATIC", "staging", True)
    everything = hub.run("flag", "eval", key=key).stdout
    assert {"advanced_ai", flag} <= set(everything.split())


def test_a_segment_is_set_listed_and_removed(hub: Hub, unique: str) -> None:
    key, flag, name = hub.tenant(unique), f"{unique}.adults", f"{unique}-adults"
    where = ("--where", "age gte 18", "--where", "country in CA,US")
    made = hub.json("segment", "set", name, *where, "--subject", "u1")
    assert made["conditions"][1] == {"attribute": "country", "operator": "in", "values": ["CA", "US"]}
    hub.json("flag", "create", flag)
    hub.json("flag", "rule", flag, "on", "--segment", name)
    asked = ("flag", "eval", flag, "--attribute", "age=20", "--attribute", "country=US")
    assert hub.json(*asked, key=key)["value"] is True
    assert hub.json("segment", "set", name, "--subject", "u1")["revision"] == 2
    assert name in hub.run("segment", "list").stdout
    assert hub.run(*asked, key=key).returncode == 2
    used = hub.run("segment", "remove", name)
    assert (used.returncode, "segment_in_use" in used.stderr) == (5, True)
    hub.json("flag", "rule", flag, "on", "--clear")
    assert hub.run("segment", "remove", name).returncode == 0
    assert hub.run("segment", "set", name, "--where", "age").returncode == 2


def test_a_key_of_an_environment_shows_it(hub: Hub, unique: str) -> None:
    hub.tenant(unique)
    hub.json("key", "create", unique, "--name", "ci", "--environment", "staging")
    assert "staging" in hub.run("key", "list", unique).stdout
