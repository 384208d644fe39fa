"""Plans and entitlements from a shell: the changes first, then the deed."""

from pathlib import Path

import pytest

from central_hub.cli.failures import Failure
from central_hub.cli.plans import seconds_of, value_of
from tests.cli.conftest import Hub


def test_a_file_of_plans_is_looked_at_before_it_is_applied(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "plans.yaml"
    file.write_text(hub.run("plan", "show").stdout)
    assert "Nothing would change" in hub.run("plan", "apply", str(file)).stderr
    before = file.read_text()
    file.write_text(before.replace("addons: {}", "addons:\n  ai: {entitlements: {advanced_ai: true}}"))
    looked = hub.run("plan", "apply", str(file))
    assert "addons.ai.advanced_ai" in looked.stdout
    assert "--yes" in looked.stderr
    assert "Applied" in hub.run("plan", "apply", str(file), "--yes", "--reason", "AI for everyone").stderr
    assert "advanced_ai: true}" in hub.run("plan", "show").stdout
    file.write_text(before)
    assert "Applied" in hub.run("plan", "apply", str(file), "--yes").stderr


@pytest.mark.parametrize(("text", "word"), [("plans: [", "line 1"), ("features: {}\nplans: {}", "1 to 64 plans")])
def test_a_file_that_is_none_is_2_with_its_reason(hub: Hub, tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "plans.yaml").write_text(text)
    refused = hub.run("plan", "apply", str(tmp_path / "plans.yaml"))
    assert (refused.returncode, word in refused.stderr) == (2, True)
    assert hub.run("plan", "apply", str(tmp_path / "missing.yaml")).returncode == 2


def test_a_tenant_gets_more_than_its_plan_for_a_while(hub: Hub, unique: str) -> None:
    hub.json("tenant", "create", unique, "--tier", "free")
    listed = hub.run("entitlement", "list", unique).stdout
    assert "max_data_storage_mb" in listed
    assert hub.json("entitlement", "explain", unique, "advanced_ai")["allowed"] is False
    grant = hub.json("entitlement", "grant", unique, "advanced_ai", "yes", "--for", "14d", "--reason", "trial")
    assert grant["expires_at"]
    assert (
        f"grant:{grant['id']}=True > plan:free=False" in hub.run("entitlement", "explain", unique, "advanced_ai").stdout
    )
    hub.json("entitlement", "override", unique, "max_data_storage_mb", "unlimited")
    assert hub.json("entitlement", "explain", unique, "max_data_storage_mb")["limit"] is None
    assert "unlimited" in hub.run("entitlement", "grants", unique).stdout
    hub.json("entitlement", "revoke", unique, grant["id"])
    hub.json("entitlement", "restore", unique, "max_data_storage_mb")
    assert "The plan alone decides" in hub.run("entitlement", "grants", unique).stderr
    unknown = hub.run("entitlement", "attach", unique, "nothing")
    assert (unknown.returncode, unknown.stderr.splitlines()[-1]) == (2, "try:   central-hub plan show")
    hub.json("entitlement", "detach", unique, "nothing")


def test_what_is_typed_is_read_as_meant() -> None:
    typed = ["yes", "FALSE", "unlimited", "12", "0.5", "large", "-3"]
    assert [value_of(text) for text in typed] == [True, False, None, 12, 0.5, "large", -3]
    assert [seconds_of(text) for text in ("90s", "2m", "1h", "14d")] == [90, 120, 3_600, 1_209_600]
    for text in ("", "d", "1w", "1.5h", "-1d"):
        with pytest.raises(Failure):
            seconds_of(text)
