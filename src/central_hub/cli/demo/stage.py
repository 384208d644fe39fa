"""The demo's stage: the hub and the services as processes, put up, broken now and then, cleared away."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from central_hub.cli.connection import Connection
from central_hub.cli.demo.cast import ROLES, Role
from central_hub.cli.demo.postgres import DemoPostgres
from central_hub.cli.demo.processes import Child, free_ports, stop_all
from central_hub.cli.demo.provisioning import Keys
from central_hub.cli.failures import ExitCode, Failure

HUB_READY_S: Final = 20.0
PLATFORM_READY_S: Final = 60.0
POLL_S: Final = 0.1
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Actor:
    """One instance of a service of the platform."""

    role: Role
    instance_id: str
    port: int
    speed: float
    child: Child


HUBS: Final = 3
"""Hubs of a demo of several."""


class Stage:
    """Owns every process of the demo.

    Args:
        directory: temporary directory of the demo, for the hub's data, logs and the ledger.
        port: port of the hub, or of the first of several.
        postgres: where several hubs keep everything; None for one hub on a store of its own.
    """

    def __init__(self, directory: Path, port: int, postgres: DemoPostgres | None = None) -> None:
        ports = [port, *free_ports(HUBS - 1)] if postgres is not None else [port]
        self.urls = [f"http://{HOST}:{each}" for each in ports]
        self.url = ",".join(self.urls)
        self.postgres = postgres
        self.ledger = directory / "orders.db"
        self.views = directory / "views"
        self.bootstrap = "chb_" + secrets.token_urlsafe(32)
        self._directory = directory
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        self._master_key = secrets.token_hex(32)
        self.hubs = [self._hub(number, each) for number, each in enumerate(ports, 1)]
        self.hub = self.hubs[0]
        self.actors: list[Actor] = []

    def _hub(self, number: int, port: int) -> Child:
        name = "hub" if self.postgres is None else f"hub-{number}"
        shared: dict[str, str] = {}
        if self.postgres is not None:
            shared = {
                "HUB_STORE": self.postgres.store,
                "HUB_ADVERTISE": f"http://{HOST}:{port}",
                "HUB_KEY_PROVIDER": "env",
                "HUB_MASTER_KEY": self._master_key,
            }
        return Child(
            name,
            ("-m", "central_hub.cli.demo.hub", "serve"),
            {
                **self._environment,
                "HUB_HOST": HOST,
                "HUB_PORT": str(port),
                "HUB_DATA": str(self._directory / name),
                "HUB_BOOTSTRAP_TOKEN": self.bootstrap,
                "HUB_PROBE_LOOPBACK": "true",
                "HUB_LOG_LEVEL": "warning",
                **shared,
            },
            self._directory / f"{name}.log",
        )

    async def start_hub(self) -> None:
        """Start the hub, or all of them, and wait until each is ready.

        Raises:
            Failure: it ended, or was not ready in time; with its last words.
        """
        if self.postgres is not None:
            await self.postgres.put_up()
        for hub, url in zip(self.hubs, self.urls, strict=True):
            hub.start()
            connection = Connection(url)
            for _ in range(round(HUB_READY_S / POLL_S)):
                if not hub.running or await asyncio.to_thread(_answers, connection):
                    break
                await asyncio.sleep(POLL_S)
            if not hub.running or not await asyncio.to_thread(_answers, connection):
                raise _did_not_start(hub)

    def start_services(self, keys: Keys) -> None:
        """Start every instance of every service; they register by themselves."""
        ports = iter(free_ports(sum(len(role.speeds) for role in ROLES)))
        for role in ROLES:
            for number, speed in enumerate(role.speeds, 1):
                instance_id = f"{role.service}-{number}"
                self.actors.append(self._actor(role, instance_id, next(ports), speed, keys))
        for actor in self.actors:
            actor.child.start()

    def _actor(self, role: Role, instance_id: str, port: int, speed: float, keys: Keys) -> Actor:
        environment = {
            **self._environment,
            "HUB_URL": self.url,
            "HUB_API_KEY": keys.platform,
            "HUB_CACHE_DIR": str(self.views / instance_id),
            "DEMO_LEDGER": str(self.ledger),
        }
        arguments = ("-m", "central_hub.cli.demo.service", role.service, instance_id, str(port), str(speed))
        child = Child(instance_id, arguments, environment, self._directory / f"{instance_id}.log")
        return Actor(role, instance_id, port, speed, child)

    def check_running(self) -> None:
        """Refuse to go on when a service ended by itself.

        Raises:
            Failure: with its last words.
        """
        for actor in self.actors:
            if not actor.child.running:
                raise _did_not_start(actor.child)

    def victim(self, rng: random.Random) -> Actor:
        """Choose an instance whose service has another one."""
        return rng.choice([actor for actor in self.actors if actor.role.expendable])

    def clear(self) -> list[str]:
        """End every process: services first, so that they can say good-bye to the hub.

        Returns:
            Names of those that did not end by themselves.
        """
        late = stop_all(actor.child for actor in self.actors)
        late += stop_all(self.hubs)
        if self.postgres is not None:
            self.postgres.clear()
        return late


def _answers(connection: Connection) -> bool:
    try:
        connection.request("GET", "/readyz", timeout_s=1.0)
    except Failure:
        return False
    return True


def _did_not_start(child: Child) -> Failure:
    return Failure(
        ExitCode.ERROR,
        f"The demo's {child.name} did not start or ended. Its last words:\n{child.tail()}",
        next_command="central-hub doctor",
        code="demo_process_ended",
    )
