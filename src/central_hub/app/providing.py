"""Which provider of key-encryption keys the settings name."""

from __future__ import annotations

from pathlib import Path

from central_hub.adapters.clock import SystemClock
from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import Grant, Policy, Purpose
from central_hub.adapters.key_encryption import KeyEncryption, keys_in_text
from central_hub.adapters.transit import Address, TransitKeys, address_of, token_source
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM
from central_hub.settings import KeyProvider, Settings

EVERYWHERE = (
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "127.0.0.0/8",
    "::1/128",
)
"""Where a transit server may be: nobody but the operator names it, and nobody but the hub itself is sent there."""


def key_provider(settings: Settings) -> KeyEncryption | None:
    """Return the provider that is set, None for a key in the data directory.

    Raises:
        HubError: `key_invalid`, `key_provider_invalid`, `key_file_exposed`, `key_file_invalid`.
    """
    if settings.key_provider is KeyProvider.FILE:
        return None
    if settings.key_provider is KeyProvider.ENV:
        if settings.master_key is None:
            raise _unset("HUB_MASTER_KEY", "$(openssl rand -hex 32)")
        previous = settings.master_key_previous
        return keys_in_text(
            settings.master_key.get_secret_value(), "" if previous is None else previous.get_secret_value()
        )
    if settings.transit_url is None:
        raise _unset("HUB_TRANSIT_URL", "https://vault.example:8200")
    given, path = settings.transit_token, settings.transit_token_file
    if given is None and path is None:
        raise _unset("HUB_TRANSIT_TOKEN_FILE", "/run/secrets/vault-token")
    address = address_of(settings.transit_url, settings.transit_key, settings.transit_mount, settings.transit_namespace)
    token = token_source("" if given is None else given.get_secret_value(), path)
    token()  # a file that others may read is refused at once
    return TransitKeys(address, _egress(address), token, trusted=_file(settings.transit_ca_file))


def _egress(address: Address) -> Egress:
    ports = ((address.port, address.port),)
    keys = frozenset({Purpose.KEYS})
    grants = [Grant(network=network, tenant=PLATFORM, ports=ports, purposes=keys) for network in EVERYWHERE]
    return Egress(Policy(grants), SystemClock())


def _file(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _unset(name: str, example: str) -> HubError:
    return HubError(
        "key_provider_invalid",
        Kind.INVALID,
        f"The key provider needs {name}, which is not set.",
        next_step=f"export {name}={example}",
    )
