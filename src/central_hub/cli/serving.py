"""`central-hub serve`: run a hub in the foreground.

Every option is also a `HUB_*` variable; both end in `settings.Settings`, which says what is allowed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from central_hub.cli.failures import ExitCode, Failure

if TYPE_CHECKING:  # the server is loaded when it is run, not for every --help
    from central_hub.app import Hub
    from central_hub.settings import Settings


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str | None, typer.Option(envvar="HUB_HOST", help="Address to listen on. (127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(envvar="HUB_PORT", help="Port; 0 picks a free one. (7000)")] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="HUB_DATA", help="Directory of the store and its keys. (central-hub-data)")
    ] = None,
    store: Annotated[
        str | None, typer.Option(envvar="HUB_STORE", help="postgresql://… instead of the embedded store.")
    ] = None,
    advertise: Annotated[
        str | None, typer.Option(envvar="HUB_ADVERTISE", help="URL of this hub, one of several that share the store.")
    ] = None,
    open_mode: Annotated[
        bool | None, typer.Option("--open/--keys", envvar="HUB_OPEN", help="Open: no keys, loopback only. (keys)")
    ] = None,
    lane: Annotated[
        str | None, typer.Option(envvar="HUB_LANE", help="Hot reads: protocol, asgi or off. (protocol)")
    ] = None,
    tiers: Annotated[
        Path | None, typer.Option(envvar="HUB_TIERS", help="YAML file of plans to start with. (built in)")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(envvar="HUB_LOG_LEVEL", help="debug, info, warning or error. (info)")
    ] = None,
    log_format: Annotated[str | None, typer.Option(envvar="HUB_LOG_FORMAT", help="console or json. (console)")] = None,
    probe_loopback: Annotated[
        bool | None,
        typer.Option("--probe-loopback/--no-probe-loopback", envvar="HUB_PROBE_LOOPBACK", help="Probe loopback. (no)"),
    ] = None,
    probe_networks: Annotated[
        str | None, typer.Option(envvar="HUB_PROBE_NETWORKS", help="CIDRs that probes may reach, comma-separated.")
    ] = None,
    webhook_networks: Annotated[
        str | None, typer.Option(envvar="HUB_WEBHOOK_NETWORKS", help="CIDRs that webhooks may reach, comma-separated.")
    ] = None,
    webhook_http: Annotated[
        bool | None,
        typer.Option("--webhook-http/--no-webhook-http", envvar="HUB_WEBHOOK_HTTP", help="Webhooks without TLS. (no)"),
    ] = None,
    instances_per_tenant_max: Annotated[
        int | None, typer.Option(envvar="HUB_INSTANCES_PER_TENANT_MAX", help="Instances of one tenant. (100000)")
    ] = None,
    reads_per_tenant_s: Annotated[
        float | None, typer.Option(envvar="HUB_READS_PER_TENANT_S", help="Reads a second of one tenant. (50000)")
    ] = None,
    writes_per_tenant_s: Annotated[
        float | None, typer.Option(envvar="HUB_WRITES_PER_TENANT_S", help="Writes a second of one tenant. (20000)")
    ] = None,
    cross_origins: Annotated[
        str | None, typer.Option(envvar="HUB_CROSS_ORIGINS", help="Origins whose pages may read flags. (none)")
    ] = None,
    snapshot_every: Annotated[
        int | None, typer.Option(envvar="HUB_SNAPSHOT_EVERY", help="Records between snapshots. (50000)")
    ] = None,
    retention_days: Annotated[
        int | None,
        typer.Option(
            envvar="HUB_RETENTION_DAYS", help="Days that published events are kept where no plan says otherwise. (7)"
        ),
    ] = None,
    key_provider: Annotated[
        str | None, typer.Option(envvar="HUB_KEY_PROVIDER", help="The key-encryption key: file, env, transit. (file)")
    ] = None,
) -> None:
    """Run a hub; Ctrl-C or SIGTERM ends it in order."""
    given = dict(locals())  # the parameters above, and nothing else yet
    given["open"] = given.pop("open_mode")
    settings = _settings({name: value for name, value in given.items() if value is not None})
    _announce(settings)
    _run(settings)


def _settings(given: dict[str, Any]) -> Settings:  # Any: pydantic judges the values
    from pydantic import ValidationError

    from central_hub.kernel.errors import HubError
    from central_hub.settings import Settings

    try:
        settings = Settings(**given)
        settings.check()
    except ValidationError as invalid:
        first = invalid.errors()[0]
        field = "_".join(str(part) for part in first["loc"])
        raise Failure(
            ExitCode.USAGE,
            f"{field} (HUB_{field.upper()}): {first['msg'].removeprefix('Value error, ')}.",
            next_command="central-hub serve --help",
            code="invalid_setting",
        ) from None
    except HubError as refused:
        raise refusal(refused) from None
    return settings


def refusal(error: Any) -> Failure:  # Any: a HubError; naming the class would load it for --help
    """Turn the hub's refusal to start into a failure with the command that mends it."""
    mends = {
        "open_mode_exposed": "central-hub serve --open --host 127.0.0.1",
        "address_unavailable": "central-hub serve --port 0",
        "store_in_use": "central-hub serve --data ANOTHER_DIRECTORY",
        "data_unusable": "central-hub serve --data ANOTHER_DIRECTORY",
        "invalid_store": "central-hub serve --store postgresql://USER@HOST:5432/DATABASE",
        "store_not_prepared": "central-hub store prepare OWNERS_ADDRESS --role ROLE",
        "store_unavailable": "central-hub store status",
        "extra_missing": "pip install 'central-hub[server,postgres]'",
        "invalid_tiers": "central-hub serve   (with the built-in plans)",
        "open_mode_cross_origin": "central-hub serve --open",
        "invalid_origins": "central-hub serve --cross-origins https://app.example.com",
        "key_invalid": "export HUB_MASTER_KEY=$(openssl rand -hex 32)",
        "key_provider_invalid": "central-hub serve --key-provider file",
        "invalid_grant": "central-hub serve --probe-networks 10.0.0.0/8",
    }
    exits = {"conflict": ExitCode.CONFLICT, "invalid": ExitCode.USAGE, "unavailable": ExitCode.UNAVAILABLE}
    message, hint = error.message, error.next_step
    if error.code == "store_unavailable":  # its words are for the callers of a hub that runs
        message = f"The store does not answer, so the hub did not start. {error.internal}".rstrip()
        hint = "Look at it, then start again: whoever restarts services does so by itself."
    return Failure(
        exits.get(error.kind, ExitCode.ERROR),
        message,
        next_command=mends.get(error.code, "central-hub doctor"),
        code=error.code,
        hint=hint,
    )


def _announce(settings: Settings) -> None:
    words = " ".join(f"{name}={value}" for name, value in settings.redacted().items() if value not in ("", "None"))
    sys.stderr.write(f"central-hub: {words}\n")
    from central_hub.settings import misspelt

    for given, meant in misspelt(os.environ):
        sys.stderr.write(f"central-hub: {given} is no setting and was ignored; did you mean {meant}?\n")


def _run(settings: Settings) -> None:
    import asyncio

    from central_hub import app
    from central_hub.edge.server import loop_factory
    from central_hub.kernel.errors import HubError

    app.redact_stderr(settings)
    app.configure_logging(settings)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(app.serve(settings, announce=_announce_hub))
    except HubError as refused:
        raise refusal(refused) from None


def _announce_hub(hub: Hub, url: str) -> None:
    """Say where the hub is, and hand out the operator's first credential on stdout, alone."""
    sys.stderr.write(f"central-hub: ready at {url}\n")
    if hub.bootstrap_token and hub.core.settings.bootstrap_token is None:
        sys.stderr.write(
            "central-hub: no platform key yet. Here is a bootstrap token, shown once, good for an hour or until\n"
            "             the first platform key is made: central-hub key create platform --scope platform:admin\n"
        )
        sys.stderr.flush()
        sys.stdout.write(hub.bootstrap_token + "\n")
        sys.stdout.flush()
