"""Renders the chart with helm, where it is on the path; what comes out is plain YAML documents."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "central-hub"
HELM = shutil.which("helm")
RELEASE = "hub"
KUBERNETES = ("--kube-version", "1.31.0")
"""There is no cluster to ask; the helm of some builds would take itself for a very old one."""


def helm(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run helm with nothing of the user's own."""
    assert HELM is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run([HELM, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def rendered(home: Path, *sets: str) -> list[dict[str, Any]]:  # Any: Kubernetes objects
    """Return what the chart makes of its values and of what is set beside them."""
    words = [word for each in sets for word in ("--set", each)]
    done = helm(home, "template", RELEASE, str(CHART), "--namespace", "platform", *KUBERNETES, *words)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(documents: list[dict[str, Any]], kind: str, name: str = RELEASE) -> dict[str, Any]:
    """Return the one object of a kind and name."""
    (found,) = (each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name)
    return found
