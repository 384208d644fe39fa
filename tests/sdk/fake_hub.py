"""A hub reduced to what the SDK needs, over real sockets, that a test can cut, stop and start again.

It keeps state across `stop` and `start`, as a hub with a log does. One domain, no keys, no leases.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def problem(status: int, code: str) -> web.Response:
    body = {"type": f"/problems/{code}", "title": "No", "status": status, "code": code, "detail": f"It is {code}."}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/problem+json")


@dataclass
class FakeService:
    revision: int = 0
    instances: dict[str, Json] = field(default_factory=dict)
    changed_at: dict[str, int] = field(default_factory=dict)


class FakeHub:
    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.incarnation = "inc1"
        self.seq = 0
        self.services: dict[str, FakeService] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.heartbeats: list[Json] = []
        self.drains: list[str] = []
        self.commands: dict[str, Json] = {}
        self.watchers: dict[asyncio.Queue[bytes | None], set[str]] = {}
        self.outcome_status = 404
        self.outcomes: list[Json] = []
        self.entitlements: dict[str, dict[str, object]] = {}
        self.refuse: tuple[int, str] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._note])
        add = app.router.add_route
        add("POST", "/services/register", self.register)
        add("PUT", "/services/{name}/instances/{id}/heartbeat", self.heartbeat)
        add("POST", "/services/{name}/instances/{id}/{verb:drain|undrain}", self.drain)
        add("DELETE", "/services/{name}/instances/{id}", self.deregister)
        add("GET", "/services/discover/{name}", self.discover)
        add("GET", "/services/", self.list_services)
        add("GET", "/services/{name}", self.discover)
        add("GET", "/watch", self.watch)
        add("POST", "/routing/outcomes", self.take_outcomes)
        add("GET", "/whoami", self.who_am_i)
        add("GET", "/tenants/{id}/entitlements", self.list_entitlements)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        for queue in list(self.watchers):
            queue.put_nowait(None)

    @property
    def position(self) -> str:
        return f"{self.incarnation}.0.{self.seq}.1"

    def put(self, name: str, instance_id: str, **members: Any) -> None:
        service = self.services.setdefault(name, FakeService())
        held = service.instances.get(instance_id, {})
        self.seq += 1
        service.revision = self.seq
        service.instances[instance_id] = {**instance(instance_id), **held, **members}
        service.changed_at[instance_id] = self.seq
        self._tell(name, upsert=[service.instances[instance_id]], remove=[])

    def remove(self, name: str, instance_id: str) -> None:
        service = self.services.get(name)
        if service is None or service.instances.pop(instance_id, None) is None:
            return
        self.seq += 1
        service.revision = self.seq
        service.changed_at[instance_id] = self.seq
        self._tell(name, upsert=[], remove=[instance_id], gone=not service.instances)

    def _tell(self, name: str, *, upsert: list[Json], remove: list[str], gone: bool = False) -> None:
        delta: Json = {"service": name, "revision": self.seq, "domain": "shared", "upsert": upsert, "remove": remove}
        if gone:
            delta["gone"] = True
        frame = self.event("delta", delta)
        for queue, names in self.watchers.items():
            if name in names or "*" in names:
                queue.put_nowait(frame)

    def event(self, name: str, data: Json) -> bytes:
        return f"event: {name}\nid: {self.position}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"

    def snapshot(self, names: set[str]) -> Json:
        wanted = set(self.services) if "*" in names else names
        return {"services": {name: self._service(name) for name in sorted(wanted)}}

    def _service(self, name: str) -> Json | None:
        service = self.services.get(name)
        if service is None or not service.instances:
            return None
        return {"revision": service.revision, "domain": "shared", "instances": list(service.instances.values())}

    def since(self, names: set[str], seq: int) -> list[bytes]:
        frames: list[bytes] = []
        for name in sorted(set(self.services) if "*" in names else names & set(self.services)):
            service = self.services[name]
            if service.revision <= seq:
                continue
            changed = [one for one, at in service.changed_at.items() if at > seq]
            delta: Json = {
                "service": name,
                "revision": service.revision,
                "domain": "shared",
                "upsert": [service.instances[one] for one in changed if one in service.instances],
                "remove": [one for one in changed if one not in service.instances],
            }
            if not service.instances:
                delta["gone"] = True
            frames.append(self.event("delta", delta))
        return frames

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}))
        if self.refuse is not None:
            return problem(*self.refuse)
        response = await handler(request)
        if not response.prepared:
            response.headers["hub-seq"] = self.position.rsplit(".", 1)[0]
        return response

    async def register(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = request.headers["idempotency-key"]
        if key not in self.commands:
            name, instance_id = body["name"], body.get("instance_id") or f"i-{self.seq}"
            known = {k: body[k] for k in ("host", "port", "version", "zone", "weight", "metadata") if k in body}
            self.put(name, instance_id, endpoint=f"http://{body['host']}:{body['port']}", draining=False, **known)
            self.commands[key] = {
                "service_name": name,
                "instance_id": instance_id,
                "tenant_id": None,
                "tenant_namespace": None,
                "lease": {"ttl_s": body.get("lease_ttl_s") or 30.0},
                "seq": self.seq,
            }
        return web.json_response(self.commands[key], status=201)

    async def heartbeat(self, request: web.Request) -> web.Response:
        service = self.services.get(request.match_info["name"])
        if service is None or request.match_info["id"] not in service.instances:
            return problem(404, "instance_not_found")
        self.heartbeats.append(await request.json())
        return web.json_response({"lease": {"ttl_s": 0.6}})

    async def drain(self, request: web.Request) -> web.Response:
        name, instance_id = request.match_info["name"], request.match_info["id"]
        draining = request.match_info["verb"] == "drain"
        self.drains.append(instance_id)
        if self.services[name].instances[instance_id].get("draining") != draining:
            self.put(name, instance_id, draining=draining)
        told = {"watchers": len(self.watchers), "watchers_total": len(self.watchers), "instances": []}
        return web.json_response({"draining": draining, "acknowledged": told}, status=202)

    async def deregister(self, request: web.Request) -> web.Response:
        self.remove(request.match_info["name"], request.match_info["id"])
        return web.Response(status=204)

    async def discover(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = self._service(name)
        if found is None:
            return problem(404, "service_not_found")
        endpoints = [one["endpoint"] for one in found["instances"]]
        return web.json_response(
            {
                "service_name": name,
                "recommended_endpoint": endpoints[0],
                "all_healthy_endpoints": endpoints,
                "confidence": dict.fromkeys(endpoints, 1.0),
                "connection_type": "direct_call",
                **found,
            }
        )

    async def list_services(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.snapshot({"*"}))

    async def take_outcomes(self, request: web.Request) -> web.Response:
        if self.outcome_status == 404:
            return problem(404, "route_not_found")
        self.outcomes.extend((await request.json())["outcomes"])
        return web.json_response({"recorded": 1, "unknown": []}, status=202)

    async def who_am_i(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"tenant_id": request.headers.get("x-tenant-id") or next(iter(self.entitlements), None)}
        )

    async def list_entitlements(self, request: web.Request) -> web.Response:
        tenant = request.match_info["id"]
        if tenant not in self.entitlements:
            return problem(404, "tenant_not_found")
        said = [{"feature": name, "kind": "value", "value": value} for name, value in self.entitlements[tenant].items()]
        return web.json_response({"tenant_id": tenant, "tier": "pro", "entitlements": said})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        names = set(request.query["services"].split(","))
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "hub-seq": self.position.rsplit(".", 1)[0]}
        )
        await response.prepare(request)
        last = request.headers.get("last-event-id", "").split(".")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        if len(last) == 4 and last[0] == self.incarnation and int(last[2]) <= self.seq:
            for frame in self.since(names, int(last[2])):
                queue.put_nowait(frame)
        else:
            queue.put_nowait(self.event("snapshot", self.snapshot(names)))
        queue.put_nowait(self.event("sync", {}))
        self.watchers[queue] = names
        try:
            while (frame := await queue.get()) is not None:
                await response.write(frame)
        finally:
            del self.watchers[queue]
        if request.transport is not None:
            request.transport.abort()
        return response


def instance(instance_id: str) -> Json:
    return {
        "instance_id": instance_id,
        "host": "127.0.0.1",
        "port": 9,
        "protocol": "http",
        "endpoint": "http://127.0.0.1:9",
        "health_endpoint": "/health",
        "status": "healthy",
        "status_reason": "",
        "draining": False,
        "version": "1",
        "zone": "",
        "weight": 100,
        "tags": [],
        "metadata": {},
        "resource_tier": "basic",
        "tenant_capable": True,
        "depends_on": [],
        "subscription_requirements": [],
        "lease_ttl_s": 30.0,
        "registered_at": "2024-01-20T10:30:00.000Z",
    }
