"""Commands about services and instances: register, list, get, discover, renew, drain, leave."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

INSTANCE_COLUMNS: Final = ("instance", "endpoint", "status", "zone", "version", "weight", "reason")
WHY_COLUMNS: Final = ("instance_id", "status", "cost", "weight", "ramp", "standing", "probability", "confidence")

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")]
Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="Id of the instance.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    client_command(app, "register")(register)
    client_command(app, "discover")(discover)
    client_command(app, "heartbeat")(heartbeat)
    client_command(app, "drain")(drain)
    client_command(app, "undrain")(undrain)
    client_command(app, "deregister")(deregister)
    group = typer.Typer(no_args_is_help=True, help="List services and look at one.")
    client_command(group, "list")(list_services)
    client_command(group, "get")(get_service)
    app.add_typer(group, name="services")


def register(
    session: Session,
    name: Service,
    host: Annotated[str, typer.Option(help="Address callers connect to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port callers connect to.", show_default=False)] = ...,  # type: ignore[assignment]  # typer: required
    instance_id: Annotated[str, typer.Option("--instance", help="Id of the instance; minted when left out.")] = "",
    protocol: Annotated[str, typer.Option(help="http, https, grpc, tcp, …")] = "http",
    health_endpoint: Annotated[str, typer.Option("--health", help="Path that answers 200 when healthy.")] = "/health",
    version: Annotated[str, typer.Option(help="Version of the instance.")] = "",
    zone: Annotated[str, typer.Option(help="Zone; callers prefer their own.")] = "",
    weight: Annotated[int | None, typer.Option(help="Share of the traffic, 100 is usual.")] = None,
    tag: Annotated[list[str], typer.Option(help="Tag; may be repeated.")] = [],
    meta: Annotated[list[str], typer.Option(help="Metadata NAME=VALUE; may be repeated.")] = [],
    requires: Annotated[list[str], typer.Option(help="Tier that may use it; may be repeated.")] = [],
    depends_on: Annotated[list[str], typer.Option(help="Service it calls; may be repeated.")] = [],
    lease: Annotated[float | None, typer.Option(help="Lease in seconds; without one the hub probes it.")] = None,
) -> None:
    """Register an instance.

    The same --instance again renews it, or replaces what it was registered with.
    """
    wanted: dict[str, Any] = {"name": name, "host": host, "port": port, "protocol": protocol}  # Any: JSON values
    optional = {
        "health_endpoint": health_endpoint, "instance_id": instance_id, "version": version, "zone": zone,
        "weight": weight, "tags": tag, "metadata": _metadata(meta), "subscription_requirements": requires,
        "depends_on": depends_on, "lease_ttl_s": lease,
    }  # fmt: skip
    wanted.update((field, value) for field, value in optional.items() if value not in ("", None, [], {}))
    answer = session.hub.post("/services/register", wanted)

    def in_words(out: Output) -> None:
        ttl_s = answer["lease"].get("ttl_s")
        out.fields(
            {
                "service": answer["service_name"],
                "instance": answer["instance_id"],
                "tenant": answer.get("tenant_id") or "(shared)",
                "lease": f"{ttl_s} s" if ttl_s else "kept by probes",
            }
        )
        for warning in answer.get("warnings", ()):
            out.talk(f"warning: {warning}")

    session.show(answer, in_words)


def list_services(session: Session) -> None:
    """List the services that you may see."""
    answer = session.hub.get("/services/")

    def in_words(out: Output) -> None:
        rows = [_service_row(name, service) for name, service in sorted(answer["services"].items())]
        out.table(
            ("service", "status", "instances", "healthy", "draining", "domain", "requires", "tags"),
            rows,
            empty=_NO_SERVICES,
        )
        if answer.get("truncated"):
            out.talk("There are more services than one answer holds.")

    session.show(answer, in_words)


_NO_SERVICES: Final = "No services here yet. Try: central-hub register NAME --port PORT"


def get_service(session: Session, name: Service) -> None:
    """Show one service and its instances."""
    answer = session.hub.get(f"/services/{segment(name)}")
    session.show(
        answer, lambda out: out.table(INSTANCE_COLUMNS, instance_rows(answer["instances"]), empty="No instances.")
    )


def discover(
    session: Session,
    name: Service,
    explain: Annotated[bool, typer.Option("--explain", help="Say why this endpoint was picked.")] = False,
    near: Annotated[str, typer.Option(help="Zone to prefer.")] = "",
    zone: Annotated[str, typer.Option(help="Only this zone.")] = "",
    version: Annotated[str, typer.Option(help="Only this version.")] = "",
    tag: Annotated[list[str], typer.Option(help="Only with this tag; may be repeated.")] = [],
) -> None:
    """Ask which instance to call."""
    answer = session.hub.get(
        f"/services/discover/{segment(name)}",
        explain=True if explain else None,
        near=near or None,
        zone=zone or None,
        version=version or None,
        tag=tag or None,
    )

    def in_words(out: Output) -> None:
        picked = answer["recommended_endpoint"]
        if picked is None:
            out.talk(f"No instance can take calls now: {answer.get('reason', 'none is eligible')}.")
        confidence = answer["confidence"]
        rows = [
            ("->" if endpoint == picked else " ", endpoint, confidence.get(endpoint))
            for endpoint in answer["all_healthy_endpoints"]
        ]
        out.table(("pick", "endpoint", "confidence"), rows, empty="No healthy endpoint.")
        if explain:
            _tell_why(out, answer["explain"])

    session.show(answer, in_words)


def heartbeat(
    session: Session,
    name: Service,
    instance_id: Instance,
    in_flight: Annotated[int | None, typer.Option(help="Requests being served now.")] = None,
    latency_ms_p95: Annotated[float | None, typer.Option(help="95th percentile of the latency, ms.")] = None,
) -> None:
    """Renew the lease of an instance; say how busy it is."""
    load = {"in_flight": in_flight, "latency_ms_p95": latency_ms_p95}
    body = {field: value for field, value in load.items() if value is not None}
    answer = session.hub.request("PUT", f"{_instance_path(name, instance_id)}/heartbeat", body=body).body
    session.show(answer, lambda out: out.fields({"lease": f"{answer['lease'].get('ttl_s')} s"}))


def drain(session: Session, name: Service, instance_id: Instance) -> None:
    """Take an instance out of discovery.

    It keeps serving what it has; the answer says who knows already. Ask again to see more of them.
    """
    answer = session.hub.post(f"{_instance_path(name, instance_id)}/drain")
    session.show(answer, lambda out: out.fields(answer))


def undrain(session: Session, name: Service, instance_id: Instance) -> None:
    """Put a draining instance back into discovery."""
    answer = session.hub.post(f"{_instance_path(name, instance_id)}/undrain")
    session.show(answer, lambda out: out.fields(answer or {"instance": instance_id, "draining": False}))


def deregister(session: Session, name: Service, instance_id: Instance) -> None:
    """Remove an instance."""
    session.hub.request("DELETE", _instance_path(name, instance_id))
    session.show(
        {"service_name": name, "instance_id": instance_id, "deregistered": True},
        lambda out: out.talk(f"{name}/{instance_id} is gone."),
    )


def instance_rows(instances: list[Json]) -> list[tuple[object, ...]]:
    """Lay instances out for `INSTANCE_COLUMNS`."""
    return [
        (
            each["instance_id"],
            each["endpoint"],
            "draining" if each.get("draining") else each["status"],
            each.get("zone"),
            each.get("version"),
            each.get("weight"),
            ("protected: " if each.get("protected") else "") + str(each.get("status_reason") or ""),
        )
        for each in instances
    ]


def _tell_why(out: Output, why: Json) -> None:
    out.text("")
    asked = {"filters": why["filters"], "near": why["near"], "required tier": why["required_tier"]}
    out.fields({"method": why["method"], **asked})
    out.text("")
    out.table(
        WHY_COLUMNS, [tuple(each[name] for name in WHY_COLUMNS) for each in why["candidates"]], empty="No candidate."
    )
    for instance_id, reason in why["excluded"].items():
        out.text(f"left out: {instance_id}: {reason}")


def _service_row(name: str, service: Json) -> tuple[object, ...]:
    instances = service["instances"]
    return (
        name,
        service["status"],
        service["instance_count"],
        sum(each["status"] == "healthy" for each in instances),
        sum(bool(each.get("draining")) for each in instances),
        service["domain"],
        sorted({tier for each in instances for tier in each.get("subscription_requirements") or ()}),
        sorted({tag for each in instances for tag in each.get("tags") or ()}),
    )


def _instance_path(name: str, instance_id: str) -> str:
    return f"/services/{segment(name)}/instances/{segment(instance_id)}"


def _metadata(pairs: list[str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise usage(f"'{pair}' is not NAME=VALUE.", "central-hub register NAME --port PORT --meta type=risk")
        metadata[name] = value
    return metadata
