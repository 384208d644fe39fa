"""How a demo goes: put the platform up, send load, break things, sum it up, clear away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Group

from central_hub.cli.connection import Connection, Json
from central_hub.cli.demo import arrivals as trace
from central_hub.cli.demo.cast import TENANTS
from central_hub.cli.demo.figures import Figures, TenantFigures
from central_hub.cli.demo.ledger import Ledger
from central_hub.cli.demo.load import Load
from central_hub.cli.demo.postgres import DemoPostgres
from central_hub.cli.demo.processes import free_ports
from central_hub.cli.demo.provisioning import Keys, provision, try_walls
from central_hub.cli.demo.screen import REFRESHES_PER_S, Scene, Screen, render
from central_hub.cli.demo.stage import HOST, PLATFORM_READY_S, POLL_S, Stage
from central_hub.cli.demo.summary import Summary, summarize
from central_hub.cli.doctor import port_is_free
from central_hub.cli.failures import ExitCode, Failure

FIRST_KILL_S: Final = 3.0
KILL_EVERY_S: Final = 5.0
DOWN_S: Final = 1.0
"""How long a killed instance stays away."""
PART_DOWN_S: Final = 2.0
"""How long a hub or the store stays away, where there are several hubs."""
HUB_OUTAGE_AFTER: Final = 0.3
"""When the hub is killed, as a share of the demo; without an end, after so many seconds times ten."""
GAP_S_MAX: Final = 2.0
"""Longest silence between two requests; the trace has some of minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see the options of `central-hub demo`."""

    seconds: float | None
    port: int
    live: bool
    scale: float
    hub_outage_s: float
    kills: bool
    trace_file: Path | None
    seed: int
    cluster: bool = False


async def direct(options: Options) -> Summary:
    """Run a whole demo.

    Returns:
        Its summary; every process is gone and every file removed by then.

    Raises:
        Failure: the platform could not be put up.
    """
    if options.trace_file is not None and not trace.is_trace(options.trace_file):
        raise Failure(
            ExitCode.NOT_FOUND,
            f"{options.trace_file} is not a trace with {', '.join(trace.COLUMNS)}.",
            next_command="central-hub demo",
            code="no_trace",
        )
    port = options.port or free_ports(1)[0]
    if not port_is_free(HOST, port):
        raise Failure(
            ExitCode.CONFLICT,
            f"Port {port} is taken.",
            next_command="central-hub demo --port 0",
            code="address_unavailable",
        )
    with tempfile.TemporaryDirectory(prefix="central-hub-demo-") as directory:
        stage = Stage(Path(directory), port, DemoPostgres() if options.cluster else None)
        try:
            with _stop_on_signals() as stop:
                return await Demo(options, stage, stop).play()
        finally:
            await asyncio.to_thread(stage.clear)


class Demo:
    """One performance.

    Args:
        stage: owns the processes.
        stop: set when someone wants it to end.
    """

    def __init__(self, options: Options, stage: Stage, stop: asyncio.Event) -> None:
        self._options = options
        self._stage = stage
        self._stop = stop
        self._rng = random.Random(options.seed)  # noqa: S311  # a repeatable show, not a secret
        self._figures = Figures({tenant.id: TenantFigures(tenant.tier) for tenant in TENANTS})
        self._scene = Scene(stage.url)
        self._screen = Screen(self._scene, self._figures, live=options.live)
        self._began = time.monotonic()

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def shown(self, *, height: int) -> Group:
        """Return the whole screen as it is now, in `height` lines; for pictures."""
        return render(self._scene, self._figures, height=height)

    async def play(self) -> Summary:
        """Put the platform up, run the load, and sum it up."""
        self._screen.open()
        try:
            keys = await self._put_up()
            seconds, acknowledged, load_name = await self._run(keys)
            await self._settle(keys)
            return await self._sum_up(seconds, acknowledged, load_name)
        finally:
            self._screen.close()

    async def _put_up(self) -> Keys:
        if self._stage.postgres is not None:
            self._note(f"starting PostgreSQL and {len(self._stage.hubs)} hubs on it: {self._stage.url}")
        else:
            self._note(f"starting a hub at {self._stage.url}")
        await self._stage.start_hub()
        operator = Connection(self._stage.url, self._stage.bootstrap)
        keys = await asyncio.to_thread(provision, operator)
        self._note("tenants " + ", ".join(f"{tenant.id} ({tenant.tier})" for tenant in TENANTS))
        self._stage.start_services(keys)
        self._note(f"starting {len(self._stage.actors)} service processes")
        await self._until_registered(keys)
        self._note("every instance is registered and healthy")
        return keys

    async def _until_registered(self, keys: Keys) -> None:
        expected = {actor.instance_id for actor in self._stage.actors}
        until = time.monotonic() + PLATFORM_READY_S
        while time.monotonic() < until and not self._stop.is_set():
            self._stage.check_running()
            await self._look(keys)
            there = {str(each["instance_id"]) for each in self._scene.instances if each["status"] == "healthy"}
            self._screen.refresh()
            if there >= expected:
                return
            await asyncio.sleep(POLL_S)
        if self._stop.is_set():
            raise _interrupted()
        missing = ", ".join(sorted(expected - {str(each["instance_id"]) for each in self._scene.instances}))
        raise Failure(
            ExitCode.ERROR,
            f"The platform was not up in time; still missing or not healthy: {missing or 'some'}.",
            next_command="central-hub demo --no-live",
            code="demo_not_ready",
        )

    async def _run(self, keys: Keys) -> tuple[float, int, str]:
        """Send load until time is over; returns seconds, acknowledged orders, and what the load was."""
        arrivals, name = self._arrivals()
        self._began = time.monotonic()
        load = Load(self._stage.url, keys, self._figures, self._rng, cache=self._stage.views)
        async with load, asyncio.TaskGroup() as group:
            await load.warm_up()
            self._began = time.monotonic()
            tasks = [group.create_task(load.send(arrivals)), group.create_task(self._show(keys))]
            if self._stage.postgres is not None and self._options.kills:
                tasks.append(group.create_task(self._kill_each_in_turn(self._stage.postgres)))
            elif self._options.kills:
                tasks.append(group.create_task(self._kill_now_and_then()))
            if self._options.hub_outage_s:
                tasks.append(group.create_task(self._outage()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._options.seconds)
            for task in tasks:
                task.cancel()
            seconds = self._elapsed_s
            await load.finish()
        return seconds, load.orders_acknowledged, name

    def _arrivals(self) -> tuple[Iterator[trace.Arrival], str]:
        file = trace.find(self._options.trace_file)
        if file is None:
            arrivals, name = trace.synthetic(self._rng), "with the statistics of the Azure LLM code trace"
        else:
            arrivals, name = trace.replayed(file, self._rng), f"replayed from {file.name}"
        return trace.paced(arrivals, scale=self._options.scale, gap_s_max=GAP_S_MAX), name

    async def _kill_now_and_then(self) -> None:
        await asyncio.sleep(FIRST_KILL_S)
        while True:
            victim = self._stage.victim(self._rng)
            victim.child.kill()
            self._figures.killed += 1
            self._note(f"kill -9 {victim.instance_id}")
            try:
                await asyncio.sleep(DOWN_S)
            finally:
                victim.child.start()
                self._figures.restarted += 1
            self._note(f"{victim.instance_id} started again")
            await asyncio.sleep(KILL_EVERY_S - DOWN_S)

    async def _kill_each_in_turn(self, postgres: DemoPostgres) -> None:
        """Kill one part after another: a hub, the store, an instance, the next hub; each comes back after a moment."""
        await asyncio.sleep(FIRST_KILL_S)
        for number in itertools.count():
            victim = self._stage.victim(self._rng)
            hub = self._stage.hubs[number // 3 % len(self._stage.hubs)]
            name, kill, start = (
                (hub.name, hub.kill, hub.start),
                ("PostgreSQL", postgres.kill, postgres.start),
                (victim.instance_id, victim.child.kill, victim.child.start),
            )[number % 3]
            self._note(f"kill -9 {name}")
            await asyncio.to_thread(kill)
            self._figures.killed += 1
            self._figures.parts_killed[name] += 1
            try:
                await asyncio.sleep(PART_DOWN_S)
            finally:
                await asyncio.shield(asyncio.to_thread(start))
                self._figures.restarted += 1
            self._note(f"{name} started again")
            await asyncio.sleep(KILL_EVERY_S - PART_DOWN_S)

    async def _outage(self) -> None:
        planned = self._options.seconds
        await asyncio.sleep(HUB_OUTAGE_AFTER * (planned if planned else 10.0))
        self._stage.hub.kill()
        self._scene.hub_up = False
        began = time.monotonic()
        self._note(f"kill -9 of the hub, for {self._options.hub_outage_s:.0f} s")
        try:
            await asyncio.sleep(self._options.hub_outage_s)
        finally:
            self._figures.hub_down_s = time.monotonic() - began
            self._stage.hub.start()
        self._note("the hub is started again")

    async def _show(self, keys: Keys) -> None:
        while True:
            await self._look(keys)
            self._screen.refresh()
            await asyncio.sleep(1 / REFRESHES_PER_S)

    async def _look(self, keys: Keys) -> None:
        """Take the scene from the hub, or note that it is away."""
        hub = Connection(self._stage.url, keys.platform)
        self._scene.elapsed_s = self._elapsed_s
        try:
            answer = await asyncio.to_thread(hub.request, "GET", "/services/", timeout_s=2.0)
        except Failure:
            self._scene.hub_up = False
            return
        self._scene.hub_up = True
        self._scene.position = answer.headers.get("hub-seq", "")
        listed: dict[str, Json] = answer.body["services"]
        self._scene.services = {name: service["instances"] for name, service in listed.items()}
        if self._stage.postgres is not None:
            self._scene.hubs = await asyncio.to_thread(self._hubs)

    def _hubs(self) -> str:
        """Say how the hubs stand, as the first that answers sees it."""
        try:
            seen = Connection(self._stage.url, self._stage.bootstrap).request("GET", "/cluster", timeout_s=2.0).body
        except Failure:
            return "no hub says"
        there = [str(one["node"]).rpartition(":")[2] for one in seen["members"]]
        stale = f", store away for {seen['stale_ms'] / 1_000:.1f} s" if seen["stale_ms"] else ""
        return f"roster {seen['roster']}: {len(there)} hubs ({', '.join(there)}){stale}"

    async def _settle(self, keys: Keys) -> None:
        """Wait for the hub if it was away, then try the walls."""
        until = time.monotonic() + PLATFORM_READY_S
        while time.monotonic() < until:
            await self._look(keys)
            if self._scene.hub_up:
                break
            await asyncio.sleep(POLL_S)
        port = self._stage.actors[0].port
        self._figures.walls = await asyncio.to_thread(try_walls, self._stage.url, keys, private_port=port)
        await self._look(keys)

    async def _sum_up(self, seconds: float, acknowledged: int, load_name: str) -> Summary:
        ledger = Ledger(self._stage.ledger)
        try:
            executed = await asyncio.to_thread(ledger.count)
        finally:
            ledger.close()
        return summarize(
            self._figures,
            seconds=seconds,
            orders_acknowledged=acknowledged,
            orders_executed=executed,
            hub_position=self._scene.position,
            load=load_name,
        )

    def _note(self, text: str) -> None:
        self._screen.happened(self._elapsed_s, text)


def _interrupted() -> Failure:
    return Failure(
        ExitCode.ERROR,
        "Interrupted before the platform was up.",
        next_command="central-hub demo --for 30",
        code="interrupted",
    )


@contextlib.contextmanager
def _stop_on_signals() -> Generator[asyncio.Event, None, None]:
    """Set an event on Ctrl-C, SIGTERM or a closed terminal, so that everything is cleared away."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in caught:
        loop.add_signal_handler(each, stop.set)
    try:
        yield stop
    finally:
        for each in caught:
            loop.remove_signal_handler(each)
