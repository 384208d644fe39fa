"""Every command of the command line, put together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from central_hub.cli import (
    access,
    audit,
    breakers,
    cluster,
    config,
    doctor,
    events,
    flags,
    hub_state,
    legacy,
    plans,
    quotas,
    relays,
    rollouts,
    routing,
    secrets,
    services,
    serving,
    store,
    subscriptions,
    templates,
    tenants,
    usage,
    watching,
    webhooks,
)
from central_hub.cli.demo import command as demo


def build() -> typer.Typer:
    """Put the command line together."""
    app = typer.Typer(
        name="central-hub",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help is there in half the time
        help="Where services are, whether they are healthy, and who may use them.",
        epilog="Start here: central-hub demo --for 30",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    app.callback()(_root)
    for module in (
        serving,
        store,
        cluster,
        demo,
        doctor,
        services,
        breakers,
        watching,
        routing,
        tenants,
        plans,
        config,
        rollouts,
        templates,
        access,
        secrets,
        quotas,
        usage,
        flags,
        events,
        webhooks,
        subscriptions,
        relays,
        legacy,
        audit,
        hub_state,
    ):
        module.add_commands(app)
    return app


def _tell_version(wanted: bool) -> None:  # typer calls it with the option's value
    if wanted:
        sys.stdout.write(f"central-hub {hub_state.installed_version()}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Register services, find them, watch them, and run a hub."""
