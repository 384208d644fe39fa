"""The chart renders to what the product needs: probes, walls, secrets by reference, variables that are settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from central_hub.edge.server import GRACE_S
from central_hub.settings import Settings
from tests.docs.helm_chart import CHART, HELM, KUBERNETES, helm, one, rendered

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not on the path: https://helm.sh/docs/intro/install")
KINDS = ["Job", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "ServiceAccount", "StatefulSet"]


def values() -> dict[str, Any]:  # Any: YAML
    return yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))


def hub_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (container,) = one(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return container


def variables(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in container["env"]}


def test_the_chart_and_its_values_are_yaml_and_no_value_is_a_secret() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["name"] == "central-hub"
    assert set(values()["store"]) == {"secret", "key", "caSecret", "owner", "role"}
    for template in (CHART / "templates").iterdir():
        assert "kind: Secret" not in template.read_text("utf-8")


def test_every_variable_of_the_templates_is_a_setting() -> None:
    text = "".join(template.read_text("utf-8") for template in (CHART / "templates").iterdir())
    names = set(re.findall(r"name: HUB_([A-Z_]+)", text))
    assert {"STORE", "ADVERTISE", "MASTER_KEY", "TRANSIT_URL"} <= names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_every_value_that_templates_ask_for_is_there() -> None:
    text = "".join(template.read_text("utf-8") for template in (CHART / "templates").iterdir())
    for path in set(re.findall(r"\.Values((?:\.\w+)+)", text)):
        found: Any = values()
        for word in path.strip(".").split("."):
            assert word in found, path
            found = found[word]


@needs_helm
def test_helm_finds_nothing_wrong(tmp_path: Path) -> None:
    done = helm(tmp_path, "lint", "--strict", str(CHART), *KUBERNETES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
def test_it_makes_what_it_should_and_nothing_that_runs_as_root(tmp_path: Path) -> None:
    documents = rendered(tmp_path)
    assert sorted(document["kind"] for document in documents) == KINDS
    for kind, name in (("StatefulSet", "hub"), ("Job", "hub-prepare-1")):
        pod = one(documents, kind, name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text("utf-8")
    user = one(documents, "StatefulSet")["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"--uid {user}" in dockerfile


@needs_helm
def test_secrets_come_by_reference_and_each_hub_has_its_address(tmp_path: Path) -> None:
    documents = rendered(tmp_path)
    found = variables(hub_of(documents))
    assert {name.removeprefix("HUB_").lower() for name in found if name.startswith("HUB_")} <= set(
        Settings.model_fields
    )
    for name in ("HUB_STORE", "HUB_MASTER_KEY"):
        assert set(found[name]) == {"name", "valueFrom"}
        assert "secretKeyRef" in found[name]["valueFrom"]
    assert found["HUB_ADVERTISE"]["value"] == "http://$(POD_NAME).hub-hubs.$(POD_NAMESPACE).svc:7000"
    order = list(found)
    assert max(order.index("POD_NAME"), order.index("POD_NAMESPACE")) < order.index("HUB_ADVERTISE")
    headless = one(documents, "Service", "hub-hubs")["spec"]
    assert headless["clusterIP"] == "None"
    assert one(documents, "StatefulSet")["spec"]["serviceName"] == "hub-hubs"


@needs_helm
def test_hubs_stay_in_the_service_while_the_store_is_away(tmp_path: Path) -> None:
    hub = hub_of(rendered(tmp_path))
    assert {hub[probe]["httpGet"]["path"] for probe in ("readinessProbe", "startupProbe", "livenessProbe")} == {
        "/livez"
    }


@needs_helm
def test_a_hub_that_goes_has_the_time_it_takes(tmp_path: Path) -> None:
    documents = rendered(tmp_path)
    spec = one(documents, "StatefulSet")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > values()["drainSeconds"] + GRACE_S
    assert (
        f"time.sleep({values()['drainSeconds']})" in spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
    )
    assert one(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@needs_helm
def test_no_two_hubs_share_a_node_unless_one_says_so(tmp_path: Path) -> None:
    def affinity(*sets: str) -> dict[str, Any]:
        return one(rendered(tmp_path, *sets), "StatefulSet")["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]

    labels = one(rendered(tmp_path), "StatefulSet")["spec"]["selector"]["matchLabels"]
    (term,) = affinity()["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    assert list(affinity("antiAffinity=preferred")) == ["preferredDuringSchedulingIgnoredDuringExecution"]


@needs_helm
def test_the_migration_is_the_owners_and_runs_before_the_hubs(tmp_path: Path) -> None:
    job = one(rendered(tmp_path), "Job", "hub-prepare-1")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["store", "prepare", "$(OWNERS_STORE)", "--role", "hub"]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "central-hub-store-owner"
    assert "central-hub-store-owner" not in str(hub_of(rendered(tmp_path)))


@needs_helm
def test_the_network_is_closed_but_for_what_hubs_need(tmp_path: Path) -> None:
    policy = one(rendered(tmp_path, "networkPolicy.store.cidr=10.1.2.0/24"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    names, hubs, store = policy["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert hubs["to"][0]["podSelector"]["matchLabels"] == policy["podSelector"]["matchLabels"]
    assert (store["to"], store["ports"]) == ([{"ipBlock": {"cidr": "10.1.2.0/24"}}], [{"port": 5432}])
    assert policy["ingress"][0]["from"] == [{"podSelector": {}}]
    more = one(rendered(tmp_path, "networkPolicy.egress[0].ports[0].port=443"), "NetworkPolicy")["spec"]
    assert more["egress"][-1] == {"ports": [{"port": 443}]}


@needs_helm
def test_settings_are_variables_and_what_the_chart_itself_sets_cannot_be_one(tmp_path: Path) -> None:
    found = variables(hub_of(rendered(tmp_path, "settings.probe_networks=10.0.0.0/8")))
    assert found["HUB_PROBE_NETWORKS"]["value"] == "10.0.0.0/8"
    for wrong in ("settings.store=x", "replicas=0", "store.secrets=x", "antiAffinity=never"):
        done = helm(tmp_path, "template", "hub", str(CHART), *KUBERNETES, "--set", wrong)
        assert done.returncode != 0, wrong


@needs_helm
def test_a_transit_engine_instead_of_a_key(tmp_path: Path) -> None:
    sets = (
        "keyProvider.kind=transit",
        "keyProvider.transit.url=https://vault:8200",
        "keyProvider.transit.tokenSecret=t",
    )
    found = variables(hub_of(rendered(tmp_path, *sets)))
    assert "HUB_MASTER_KEY" not in found
    assert found["HUB_TRANSIT_URL"]["value"] == "https://vault:8200"
    assert found["HUB_TRANSIT_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "t", "key": "token"}
    assert helm(tmp_path, "template", "hub", str(CHART), *KUBERNETES, "--set", sets[0]).returncode != 0
