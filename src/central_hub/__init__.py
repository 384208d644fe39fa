"""Central Hub: the client side. Find services through a hub, call them directly, be one of them.

Names are loaded when they are first used, so that `import central_hub` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from central_hub.kernel.errors import HubError, Kind
    from central_hub.sdk.answer import ServiceResponse
    from central_hub.sdk.budgets import TenantBudget
    from central_hub.sdk.circuits import BreakerOpen, Circuit, CircuitChange
    from central_hub.sdk.client import HubClient
    from central_hub.sdk.configuration import ConfigDiff
    from central_hub.sdk.context import RequestContext, current_context, request_context
    from central_hub.sdk.events import HubEvent
    from central_hub.sdk.fallback import Fallback
    from central_hub.sdk.model import Endpoint, Instance, ServiceState
    from central_hub.sdk.resources import ResourceHandle, TenantResourceLimitExceeded, TenantResourceManager
    from central_hub.sdk.service import BaseService
    from central_hub.sdk.serving import ServiceConfig
    from central_hub.sdk.subscriptions import Consumer, Delivery
    from central_hub.sdk.sync import SyncHubClient
    from central_hub.sdk.sync_resources import SyncResourceHandle, SyncTenantBudget, SyncTenantResourceManager
    from central_hub.sdk.tracker import PerformanceTracker
    from central_hub.sdk.webhooks import WebhookEvent, verify_webhook

__all__ = [
    "BaseService",
    "BreakerOpen",
    "Circuit",
    "CircuitChange",
    "ConfigDiff",
    "Consumer",
    "Delivery",
    "Endpoint",
    "Fallback",
    "HubClient",
    "HubError",
    "HubEvent",
    "Instance",
    "Kind",
    "PerformanceTracker",
    "RequestContext",
    "ResourceHandle",
    "ServiceConfig",
    "ServiceResponse",
    "ServiceState",
    "SyncHubClient",
    "SyncResourceHandle",
    "SyncTenantBudget",
    "SyncTenantResourceManager",
    "TenantBudget",
    "TenantResourceLimitExceeded",
    "TenantResourceManager",
    "WebhookEvent",
    "current_context",
    "request_context",
    "verify_webhook",
]

_HOMES = {
    "BaseService": "sdk.service",
    "BreakerOpen": "sdk.circuits",
    "Circuit": "sdk.circuits",
    "CircuitChange": "sdk.circuits",
    "ConfigDiff": "sdk.configuration",
    "Consumer": "sdk.subscriptions",
    "Delivery": "sdk.subscriptions",
    "Endpoint": "sdk.model",
    "Fallback": "sdk.fallback",
    "HubClient": "sdk.client",
    "HubError": "kernel.errors",
    "HubEvent": "sdk.events",
    "Instance": "sdk.model",
    "Kind": "kernel.errors",
    "PerformanceTracker": "sdk.tracker",
    "RequestContext": "sdk.context",
    "ResourceHandle": "sdk.resources",
    "ServiceConfig": "sdk.serving",
    "ServiceResponse": "sdk.answer",
    "ServiceState": "sdk.model",
    "SyncHubClient": "sdk.sync",
    "SyncResourceHandle": "sdk.sync_resources",
    "SyncTenantBudget": "sdk.sync_resources",
    "SyncTenantResourceManager": "sdk.sync_resources",
    "TenantBudget": "sdk.budgets",
    "TenantResourceLimitExceeded": "sdk.resources",
    "TenantResourceManager": "sdk.resources",
    "WebhookEvent": "sdk.webhooks",
    "current_context": "sdk.context",
    "request_context": "sdk.context",
    "verify_webhook": "sdk.webhooks",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'central_hub' has no attribute '{name}'")
    value = getattr(import_module(f"central_hub.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
