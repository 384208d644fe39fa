"""Every question to a view names whose data it asks for.

The rule: in a `view.py`, each public method takes, as its first parameter, whose data it is about: `domain`,
`tenant_id` or `ctx`; or an `applied` record, which carries its domain. So code that forgets the tenant does not type,
rather than answering with everyone's data. Properties and what a view says about itself are free.

Two kinds of exception are listed here, each with its argument: PARTS are classes whose objects belong to one domain
and are only handed out by a method that named it; METHODS cross domains on purpose. An entry that no longer exists
fails too. Adding an entry is a security review: say why no caller can learn of another tenant through it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.architecture.source_tree import PACKAGE, FunctionNode, tree_of

SCOPES: Final = {"applied", "ctx", "domain", "domain_id", "tenant_id"}

PARTS: Final = {
    "configuration.History": "one layer's revisions, handed out by ConfigurationView.layers(domain)",
    "health.Kept": "one instance of one domain, handed out by Population.find(domain, …)",
    "health.Group": "one service of one domain, handed out by Population.group(domain, …)",
    "health.Domain": "one domain's sums, handed out by Population.domain(domain)",
}

ONE_TENANT_PROCESSES: Final = {"sdk"}
"""Rooms that run inside one tenant's own process and hold nothing of anyone else."""

METHODS: Final = {
    "quotas.QuotasView.domains": "which domains hold something, for the keeper's start; no route reaches it",
    "webhooks.WebhooksView.domains": "which domains have endpoints, for the follower; no route reaches it",
    "subscriptions.SubscriptionsView.domains": "which domains have subscriptions, for start; no route reaches it",
    "routing.RoutingView.domains": "which domains offer something, for the desk's start; no route reaches it",
    "registry.RegistryView.domains": "which domains exist, for snapshots and start; no route reaches it",
    "registry.RegistryView.take_changes": "keys of what changed, for the catalogue, which is itself keyed by domain",
    "registry.RegistryView.ranks_changed": "tells the view that the tiers were edited; returns nothing",
    "health.Population.domains": "which domains have instances, for the probes' schedule; no route reaches it",
    "health.Population.remove": "takes a Kept, which carries its domain",
    "tenants.TenantsView.tenants_after": "the list of tenants; its operation needs platform scope",
    "tenants.TenantsView.count_at_tier": "whether a plan can go; a number of the platform's",
    "tenants.TenantsView.count_tenants": "the limit on tenants, a sum of the platform's",
    "tenants.TenantsView.administrators": "whether the platform has a key of its own; a number of the platform's",
    "tenants.TenantsView.credential": "authentication: which domain a key belongs to is the question",
    "tenants.TenantsView.gateways": "gateways belong to the platform, not to a tenant",
    "tenants.TenantsView.gateway": "gateways belong to the platform, not to a tenant",
    "tenants.TenantsView.gateway_of_issuer": "authentication: which gateway signed is the question",
    "tenants.TenantsView.legacy_callers": "the legacy policy belongs to the platform, not to a tenant",
}


def public_methods() -> Iterator[tuple[str, str, FunctionNode]]:
    """Yield (feature.Class, method, node) for every public method in a `view.py`."""
    for path in sorted(PACKAGE.glob("*/view.py")):
        if path.parent.name in ONE_TENANT_PROCESSES:
            continue
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for member in node.body:
                    if isinstance(member, FunctionNode) and not member.name.startswith("_"):
                        yield f"{path.parent.name}.{node.name}", member.name, member


def names_its_scope(node: FunctionNode) -> bool:
    """Say whether a method's first parameter is whose data it is about, or it is a property."""
    if any(ast.unparse(decorator) in {"property", "cached_property"} for decorator in node.decorator_list):
        return True
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    names = [parameter.arg for parameter in parameters if parameter.arg not in {"self", "cls"}]
    return bool(names) and names[0] in SCOPES


def test_every_question_to_a_view_names_whose_data_it_asks_for() -> None:
    unscoped = [
        f"{owner}.{name}"
        for owner, name, node in public_methods()
        if owner not in PARTS and f"{owner}.{name}" not in METHODS and not names_its_scope(node)
    ]
    assert not unscoped, f"take the domain first, or argue the exception in this file: {unscoped}"


def test_every_argued_exception_still_exists_and_is_still_needed() -> None:
    owners = {owner for owner, _, _ in public_methods()}
    needed = {f"{owner}.{name}" for owner, name, node in public_methods() if not names_its_scope(node)}
    assert set(PARTS) <= owners, f"gone: {set(PARTS) - owners}"
    assert set(METHODS) <= needed, f"gone or no longer needed: {set(METHODS) - needed}"


def test_a_method_that_forgets_the_tenant_is_seen() -> None:
    forgets = ast.parse("def everything(self): ...").body[0]
    remembers = ast.parse("def services(self, domain, name): ...").body[0]
    assert isinstance(forgets, ast.FunctionDef)
    assert isinstance(remembers, ast.FunctionDef)
    assert not names_its_scope(forgets)
    assert names_its_scope(remembers)
