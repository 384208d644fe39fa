"""Prometheus' http_sd: what to scrape, from what is registered.

One target group per instance. Its labels start with `__meta_central_hub_`, so a scrape
configuration relabels what it wants; `metadata.metrics_path` and `metadata.metrics_port` say where
an instance keeps its metrics.

Source: prometheus.io/docs/prometheus/latest/http_sd.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.model import PORT_MAX, PORT_MIN, SCOPE_READ, Instance
from central_hub.registry.ports import HealthOf
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import viewer_of, visible_services

TARGETS_MAX: Final = 20_000
SLICE_MS: Final = 1.0
PREFIX: Final = "__meta_central_hub_"
SCRAPED: Final = frozenset({"http", "https"})
METADATA_LABELS_MAX: Final = 16
TRUNCATED_HEADER: Final = (("hub-truncated", "true"),)

_json: Final = msgspec.json.Encoder()
_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_PATH: Final = re.compile(r"/[\x21-\x7e]{0,255}\Z")


class TargetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an http_sd answer."""

    targets: list[str]
    labels: dict[str, str]


class Targets:
    """Lists what a caller's Prometheus may scrape.

    Args:
        registry: what is registered.
        health: this hub's own verdicts.
        clock: for slicing.
        targets_max: instances in one answer.
    """

    def __init__(
        self, registry: RegistryView, health: HealthOf, clock: Clock, *, targets_max: int = TARGETS_MAX
    ) -> None:
        self._registry = registry
        self._health = health
        self._clock = clock
        self._targets_max = targets_max

    async def list_targets(self, ctx: TenantContext) -> tuple[list[bytes], bool]:
        """Write the instances of every visible service that speak HTTP; returns them and whether the list was cut.

        Each is a `TargetGroup` in JSON, with the comma that parts it from the one before.
        """
        groups: list[bytes] = []
        begun = self._clock.monotonic_ms()
        for domain, service in list(visible_services(self._registry, viewer_of(ctx))):
            for instance in tuple(service.instances.values()):
                if instance.protocol not in SCRAPED:
                    continue
                if len(groups) >= self._targets_max:
                    return groups, True
                groups.append((b"," if groups else b"") + _json.encode(self._group(domain, instance)))
                if self._clock.monotonic_ms() - begun >= SLICE_MS:
                    await asyncio.sleep(0)
                    begun = self._clock.monotonic_ms()
        return groups, False

    def _group(self, domain: DomainId, instance: Instance) -> TargetGroup:
        verdict = self._health.verdict(domain, instance.service_name, instance.instance_id)
        metadata = instance.metadata
        port = metadata.get("metrics_port")
        if not isinstance(port, int) or isinstance(port, bool) or not PORT_MIN <= port <= PORT_MAX:
            port = instance.port
        path = metadata.get("metrics_path")
        host = f"[{instance.host}]" if ":" in instance.host else instance.host
        labels = {
            PREFIX + "service": instance.service_name,
            PREFIX + "instance_id": instance.instance_id,
            PREFIX + "domain": "shared" if domain == SHARED else "tenant",
            PREFIX + "status": (instance.status if verdict is None else verdict.status).value,
            PREFIX + "version": instance.version,
            PREFIX + "zone": instance.zone,
            PREFIX + "tags": f",{','.join(instance.tags)}," if instance.tags else "",
            "__scheme__": instance.protocol,
            "__metrics_path__": path if isinstance(path, str) and _PATH.match(path) else "/metrics",
        }
        for key, value in list(metadata.items())[:METADATA_LABELS_MAX]:
            if isinstance(value, str):
                labels[PREFIX + "metadata_" + _LABEL.sub("_", key)] = value
        return TargetGroup(targets=[f"{host}:{port}"], labels=labels)


def operations(targets: Targets) -> tuple[Operation, ...]:
    """Return the rows of the operations table."""

    async def prometheus_targets(call: Call) -> Reply:
        groups, truncated = await targets.list_targets(call.ctx)
        return Reply((b"[", *groups, b"]"), headers=TRUNCATED_HEADER if truncated else ())

    return (
        Operation(
            id="prometheus_targets", method="GET", path="/prometheus/targets", handler=prometheus_targets,
            scope=SCOPE_READ, tag="interop", answer=list[TargetGroup],
            summary="List visible instances as targets for Prometheus' http_sd.",
        ),
    )  # fmt: skip
