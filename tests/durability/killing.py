"""A real hub, killed with SIGKILL under a load of writes, again and again.

Writers register and deregister over HTTP, in the shared domain and in tenants, each request with
an idempotency key. At a random moment the hub's process is killed. Then: the store as the kill
left it is copied and read without the hub (positions, chains, a naive fold); the hub is started
again; what it answers must equal that fold and hold everything that was acknowledged; and what
was in flight is sent again under its key, which must go through exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from central_hub.adapters.keyring import KeyRing
from central_hub.adapters.stores import open_directory
from central_hub.health.model import FACTS as HEALTH_FACTS
from central_hub.kernel.facts import FactTypes
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Record, associated_data
from central_hub.registry.model import FACTS as REGISTRY_FACTS
from central_hub.registry.model import ServiceRegistered, ServicesRegistered, ServiceUnregistered
from central_hub.tenants.model import FACTS as TENANTS_FACTS

READY_TIMEOUT_S: Final = 60.0
WRITERS: Final = 8
TENANTS: Final = ("", "company_abc", "company_xyz")
SERVICES: Final = 3
LOAD_MAX_S: Final = 0.5
ORDERLY_EVERY: Final = 9
"""Every so many rounds the hub is stopped in order instead, so that starts from a snapshot are met too."""

TYPES: Final = FactTypes((*TENANTS_FACTS, *REGISTRY_FACTS, *HEALTH_FACTS))

Place = tuple[str, str, str]  # tenant ("" for shared), service, instance
Address = tuple[str, int]


@dataclass(slots=True)
class Write:
    """One request: a registration (with an address) or a deregistration (without)."""

    place: Place
    address: Address | None
    key: str


@dataclass(slots=True)
class Ledger:
    """What was acknowledged, and what was in flight when the hub died."""

    there: dict[Place, Address] = field(default_factory=dict)
    gone: set[Place] = field(default_factory=set)
    in_flight: dict[Place, Write] = field(default_factory=dict)
    acknowledged: int = 0

    def settle(self, write: Write) -> None:
        """Note that a write was acknowledged."""
        self.in_flight.pop(write.place, None)
        self.acknowledged += 1
        if write.address is None:
            self.there.pop(write.place, None)
            self.gone.add(write.place)
        else:
            self.there[write.place] = write.address


@dataclass(slots=True)
class Outcome:
    """Kills survived, writes acknowledged, and every violation found."""

    kills: int = 0
    orderly: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    in_flight_kept: int = 0
    records: int = 0
    violations: list[str] = field(default_factory=list)


class Killed:
    """A hub process over one data directory that can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the hub and wait until it says where it is."""
        command = [sys.executable, "-m", "central_hub", "serve", "--open", "--port", "0", "--data", str(self.data)]
        environment = {**os.environ, "HUB_LOG_LEVEL": "warning"}
        self._process = await asyncio.create_subprocess_exec(
            *command, "--snapshot-every", "200", stderr=asyncio.subprocess.PIPE, env=environment
        )
        assert self._process.stderr is not None
        said: list[str] = []
        async with asyncio.timeout(READY_TIMEOUT_S):
            while line := (await self._process.stderr.readline()).decode():
                said.append(line)
                if "ready at " in line:
                    self.url = line.rpartition("ready at ")[2].strip()
                    return
        raise RuntimeError(f"the hub did not start: {''.join(said)}")

    async def end(self, how: signal.Signals) -> None:
        """End the process and wait for it."""
        assert self._process is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
        await self._process.communicate()


@contextlib.asynccontextmanager
async def killed_hub(directory: Path) -> AsyncIterator[Killed]:
    """Run a hub that is gone at the end, whatever happens."""
    hub = Killed(directory / "data")
    await hub.start()
    try:
        yield hub
    finally:
        await hub.end(signal.SIGKILL)


async def kill_again_and_again(directory: Path, *, kills: int, seed: int) -> Outcome:
    """Kill one hub `kills` times under load; returns what was found.

    Args:
        directory: an empty one; the hub's data and the copies that are read go there.
        kills: how often.
        seed: of the load and of the moments.
    """
    draw, ledger, outcome = random.Random(seed), Ledger(), Outcome()
    async with killed_hub(directory) as hub:
        await _begin(hub.url)
        while outcome.kills < kills:
            orderly = (outcome.kills + outcome.orderly) % ORDERLY_EVERY == ORDERLY_EVERY - 1
            await _load_and_end(hub, ledger, draw, signal.SIGTERM if orderly else signal.SIGKILL)
            outcome.orderly += orderly
            outcome.kills += not orderly
            outcome.in_flight += len(ledger.in_flight)
            where = f"seed {seed}, kill {outcome.kills}"
            folded, records, faults = await _read_copy(hub.data, directory / "copy")
            outcome.records = records
            await hub.start()
            answered = await _listing(hub.url)
            faults += _judge(ledger, folded, answered)
            outcome.in_flight_kept += sum(
                (folded.get(place) == write.address) for place, write in ledger.in_flight.items()
            )
            faults += await _send_again(hub.url, ledger)
            outcome.violations += [f"{where}: {fault}" for fault in faults]
    outcome.acknowledged = ledger.acknowledged
    return outcome


async def _begin(url: str) -> None:
    """Create the tenants, on a plan that does not limit their writes."""
    async with aiohttp.ClientSession(url) as session:
        for tenant in filter(None, TENANTS):
            body = {"id": tenant, "name": tenant, "tier": "enterprise"}
            async with session.post("/tenants", json=body) as answer:
                assert answer.status == 201, await answer.text()


async def _load_and_end(hub: Killed, ledger: Ledger, draw: random.Random, how: signal.Signals) -> None:
    async with aiohttp.ClientSession(hub.url) as session:
        tasks = [
            asyncio.create_task(_write_until_dead(session, ledger, random.Random(draw.random()), number))
            for number in range(WRITERS)
        ]
        await asyncio.sleep(draw.uniform(0.01, LOAD_MAX_S))
        await hub.end(how)
        await asyncio.gather(*tasks)


async def _write_until_dead(session: aiohttp.ClientSession, ledger: Ledger, draw: random.Random, writer: int) -> None:
    mine = [place for place in ledger.there if place[2].startswith(f"w{writer}-") and place not in ledger.in_flight]
    while True:
        if mine and draw.random() < 0.3:
            write = Write(mine.pop(draw.randrange(len(mine))), None, draw.randbytes(8).hex())
        else:
            name = f"w{writer}-{draw.randbytes(5).hex()}"
            place = (draw.choice(TENANTS), f"svc-{draw.randrange(SERVICES)}", name)
            write = Write(place, (f"10.{draw.randrange(256)}.0.1", draw.randrange(1_024, 60_000)), name)
        ledger.in_flight[write.place] = write
        try:
            status = await _send(session, write)
        except (aiohttp.ClientError, ConnectionError):
            return
        if status == 503:  # stopping in order: it may or may not be in
            return
        assert status in (200, 201, 204), f"{write}: {status}"
        ledger.settle(write)
        if write.address is not None:
            mine.append(write.place)


async def _send(session: aiohttp.ClientSession, write: Write) -> int:
    tenant, service, instance = write.place
    headers = {"idempotency-key": write.key, **({"x-tenant-id": tenant} if tenant else {})}
    if write.address is None:
        async with session.delete(f"/services/{service}/instances/{instance}", headers=headers) as answer:
            await answer.read()
            return answer.status
    host, port = write.address
    body = {"name": service, "instance_id": instance, "host": host, "port": port}
    async with session.post("/services/register", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def _listing(url: str) -> dict[Place, Address]:
    """Everything the hub says is registered."""
    found: dict[Place, Address] = {}
    async with aiohttp.ClientSession(url) as session:
        for tenant in TENANTS:
            for number in range(SERVICES):
                headers = {"x-tenant-id": tenant} if tenant else {}
                async with session.get(f"/services/svc-{number}", headers=headers) as answer:
                    if answer.status == 404:
                        continue
                    listed: dict[str, Any] = await answer.json()  # Any: JSON
                if tenant and listed.get("domain") == "shared":
                    continue
                for one in listed["instances"]:
                    found[(tenant, f"svc-{number}", one["instance_id"])] = (one["host"], one["port"])
    return found


async def _send_again(url: str, ledger: Ledger) -> list[str]:
    """Repeat what was in flight under its key: it goes through, once, whether or not it was in."""
    faults: list[str] = []
    async with aiohttp.ClientSession(url) as session:
        for write in list(ledger.in_flight.values()):
            status = await _send(session, write)
            if status not in (200, 201, 204):
                faults.append(f"sent again: {write} got {status}")
            ledger.settle(write)
    return faults


def _judge(ledger: Ledger, folded: dict[Place, Address], answered: dict[Place, Address]) -> list[str]:
    faults: list[str] = []
    lost = [
        place
        for place, address in ledger.there.items()
        if place not in ledger.in_flight and folded.get(place) != address
    ]
    if lost:
        faults.append(f"{len(lost)} acknowledged registrations lost: {lost[:3]}")
    back = [place for place in ledger.gone if place in folded]
    if back:
        faults.append(f"{len(back)} acknowledged deregistrations lost: {back[:3]}")
    unknown = [place for place in folded if place not in ledger.there and place not in ledger.in_flight]
    if unknown:
        faults.append(f"{len(unknown)} registered that nobody sent: {unknown[:3]}")
    if folded != answered:
        differing = set(folded.items()) ^ set(answered.items())
        faults.append(f"the hub's view differs from the log in {len(differing)}: {sorted(differing)[:4]}")
    return faults


async def _read_copy(data: Path, copy: Path) -> tuple[dict[Place, Address], int, list[str]]:
    """Read the store as the kill left it, on a copy: fold, how many records, faults."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    (copy / "hub.lock").unlink(missing_ok=True)
    stores = await open_directory(copy, incarnation="-")
    folded: dict[Place, Address] = {}
    faults: list[str] = []
    after, domains = 0, set[DomainId]()
    try:
        while records := await stores.log.read(after, 5_000):
            if [record.pos for record in records] != list(range(after + 1, after + 1 + len(records))):
                faults.append(f"a gap in the positions behind {after}")
            for record in records:
                _fold(folded, record, _fact(stores.sealer, record))
                domains.add(record.domain)
            after = records[-1].pos
        for domain in domains:
            check = await stores.log.verify(domain)
            if check.broken_at is not None:
                faults.append(f"the chain of {domain} is broken at {check.broken_at}")
    finally:
        await stores.log.close()
    return folded, after, faults


def _fact(sealer: KeyRing, record: Record) -> object:
    sealed_for = associated_data(record.domain, record.id, record.type)
    return TYPES.decode(record.type, sealer.open(record.domain, record.key_id, record.data, sealed_for))


def _fold(folded: dict[Place, Address], record: Record, fact: object) -> None:
    tenant = "" if record.domain == "shared" else str(record.domain)
    if isinstance(fact, ServiceRegistered | ServicesRegistered):
        for one in (fact.instance,) if isinstance(fact, ServiceRegistered) else fact.instances:
            folded[(tenant, one.service_name, one.instance_id)] = (one.host, one.port)
    elif isinstance(fact, ServiceUnregistered):
        folded.pop((tenant, fact.service, fact.instance_id), None)
