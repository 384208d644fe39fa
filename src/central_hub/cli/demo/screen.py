"""The demo's live screen: services, tenants and events, redrawn from what is known now."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from central_hub.cli.demo.figures import Figures

REFRESHES_PER_S: Final = 2
EVENTS_SHOWN_MIN: Final = 3
EVENTS_SHOWN_MAX: Final = 12
LINES_AROUND: Final = 12
"""Lines of the screen that are neither an instance, a tenant nor an event."""
LINE_EVERY_S: Final = 5.0
"""How often a line is printed where there is no terminal to draw on."""

Instance = Mapping[str, Any]  # Any: JSON values, the hub's one shape of an instance

_STYLES: Final = {"healthy": "green", "degraded": "yellow", "draining": "yellow", "unhealthy": "red", "unknown": "cyan"}


@dataclass(slots=True)
class Scene:
    """What the screen shows beside the figures: as the hub last told it.

    `services` maps a name to its instances in the hub's one shape of an instance.
    """

    hub: str
    position: str = ""
    hub_up: bool = True
    elapsed_s: float = 0.0
    hubs: str = ""
    services: dict[str, list[Instance]] = field(default_factory=dict[str, list[Instance]])

    @property
    def instances(self) -> list[Instance]:
        """All instances of all services."""
        return [each for instances in self.services.values() for each in instances]

    @property
    def healthy(self) -> int:
        """How many instances are healthy."""
        return sum(each["status"] == "healthy" for each in self.instances)


class Screen:
    """Draws on a terminal; elsewhere prints a line now and then.

    Args:
        live: whether to draw.
    """

    def __init__(self, scene: Scene, figures: Figures, *, live: bool) -> None:
        self._scene = scene
        self._figures = figures
        self._live = Live(console=Console(), auto_refresh=False, transient=True) if live else None
        self._told_at_s = 0.0

    def open(self) -> None:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def refresh(self) -> None:
        """Show what is known now."""
        if self._live is not None:
            shown = render(self._scene, self._figures, height=self._live.console.height)
            self._live.update(shown, refresh=True)
        elif abs(self._scene.elapsed_s - self._told_at_s) >= LINE_EVERY_S:  # time starts anew with the load
            self._told_at_s = self._scene.elapsed_s
            sys.stderr.write(line(self._scene, self._figures) + "\n")
            sys.stderr.flush()

    def happened(self, at_s: float, text: str) -> None:
        """Note an event; without a terminal it is printed at once."""
        self._figures.happened(at_s, text)
        if self._live is None:
            sys.stderr.write(f"{at_s:5.1f} s  {text}\n")
            sys.stderr.flush()


def line(scene: Scene, figures: Figures) -> str:
    """Sum the moment up in one line."""
    p99 = max((each.percentile(0.99) for each in figures.tenants.values()), default=0.0)
    hub = "up" if scene.hub_up else "DOWN"
    return (
        f"{scene.elapsed_s:5.1f} s  calls {figures.calls}  failed {figures.failures}  worst p99 {p99:.0f} ms  "
        f"instances {scene.healthy}/{len(scene.instances)} healthy  hub {hub}"
        + (f"  {scene.hubs}" if scene.hubs else "")
    )


def render(scene: Scene, figures: Figures, *, height: int) -> Group:
    """Lay the whole screen out, with as many of the latest events as fit into `height` lines."""
    head = Text.assemble(
        ("Central Hub", "bold"),
        f"  {scene.hub}  ",
        ("up", "green") if scene.hub_up else ("DOWN (callers go on from their last view)", "bold red"),
        f"  {scene.elapsed_s:.0f} s  position {scene.position or '-'}",
        f"\n{scene.hubs}" if scene.hubs else "",
    )
    left = height - len(scene.instances) - len(figures.tenants) - LINES_AROUND
    shown = list(figures.events)[-max(EVENTS_SHOWN_MIN, min(EVENTS_SHOWN_MAX, left)) :]
    events = Text("\n".join(f"{at_s:6.1f} s  {text}" for at_s, text in shown))
    return Group(
        head, _services(scene, figures), _tenants(figures), Panel(events, title="what happens", title_align="left")
    )


def _services(scene: Scene, figures: Figures) -> Table:
    table = Table("service", "instance", "endpoint", "status", expand=True, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("calls", justify="right")
    for name, instances in sorted(scene.services.items()):
        for at, each in enumerate(sorted(instances, key=lambda one: str(one["instance_id"]))):
            status = "draining" if each.get("draining") else str(each["status"])
            table.add_row(
                name if at == 0 else "",
                str(each["instance_id"]),
                str(each["endpoint"]),
                Text(status, style=_STYLES.get(status, "")),
                str(figures.served_by[str(each["instance_id"])]),
            )
    return table


def _tenants(figures: Figures) -> Table:
    table = Table("tenant", "tier", expand=True, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("calls", "failed", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for name, each in figures.tenants.items():
        failed = Text(str(each.failures), style="red" if each.failures else "green")
        p50, p99 = each.percentile(0.5), each.percentile(0.99)
        table.add_row(name, each.tier, str(each.calls), failed, f"{p50:.0f}", f"{p99:.0f}")
    return table
