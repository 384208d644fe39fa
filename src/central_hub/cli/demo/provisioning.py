"""What the demo asks of its hub before load is sent: tenants, keys, and who may speak for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from central_hub.cli.connection import Connection
from central_hub.cli.demo.cast import TENANTS
from central_hub.cli.failures import ExitCode, Failure

PLATFORM_SCOPES: Final = ("registry:read", "registry:write", "registry:shared", "health:read", "tenant:assert")
PRIVATE_SERVICE: Final = "backtest"
PRIVATE_OWNER: Final = "bank_one"


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of the demo: the services' own, and one per tenant."""

    platform: str
    tenants: dict[str, str]


def provision(operator: Connection) -> Keys:
    """Create the tenants and every key; `operator` holds the bootstrap token."""
    tenants: dict[str, str] = {}
    for tenant in TENANTS:
        operator.post("/tenants", {"id": tenant.id, "name": tenant.name, "tier": tenant.tier})
        tenants[tenant.id] = operator.post(f"/tenants/{tenant.id}/keys", {"name": "demo"})["api_key"]
    platform = operator.post("/keys", {"name": "demo-services", "scopes": list(PLATFORM_SCOPES)})["api_key"]
    return Keys(platform, tenants)


def try_walls(url: str, keys: Keys, *, private_port: int) -> dict[str, bool]:
    """Do what tenants must not be able to do, and say of each wall whether it held.

    Args:
        url: address of the hub.
        private_port: some listening port, registered as the private service of one tenant.
    """
    owner = Connection(url, keys.tenants[PRIVATE_OWNER])
    owner.post("/services/register", {"name": PRIVATE_SERVICE, "host": "127.0.0.1", "port": private_port})
    seen = PRIVATE_SERVICE in owner.get("/services/")["services"]
    pro, free = Connection(url, keys.tenants["company_abc"]), Connection(url, keys.tenants["startup_xyz"])
    forged = Connection(url, keys.tenants["company_abc"], PRIVATE_OWNER)
    return {
        "a private service is seen by its owner, and is 404 to another tenant": seen
        and _refused(pro, f"/services/discover/{PRIVATE_SERVICE}", ExitCode.NOT_FOUND),
        "the free tier is refused the model servers (tier_too_low)": _refused(
            free, "/services/discover/model-server", ExitCode.DENIED, "tier_too_low"
        ),
        "a tenant that claims to be another one is refused": _refused(forged, "/services/", ExitCode.DENIED),
        "nobody without a key": _refused(Connection(url), "/services/", ExitCode.DENIED),
    }


def _refused(caller: Connection, path: str, expected: ExitCode, code: str = "") -> bool:
    try:
        caller.get(path)
    except Failure as failure:
        return failure.exit_code is expected and code in ("", failure.code)
    return False
