"""What an operator can set: every option is a flag of `serve` and a `HUB_*` variable.

Read once at start; nothing else in the hub looks at the environment.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from central_hub.edge.cross_origin import origins_of
from central_hub.kernel.errors import HubError, Kind
from central_hub.tenants.secrets import BOOTSTRAP_LENGTH_MIN, BOOTSTRAP_PREFIX

DEFAULT_PORT: Final = 7000
PREFIX: Final = "HUB_"
MISSPELT_RATIO: Final = 0.85
SECRET_MASK: Final = "********"  # noqa: S105  # what stands in place of one

ADVERTISED_LENGTH_MAX: Final = 200
_BASE_URL: Final = re.compile(r"(?i)https?://(\[[0-9a-f:.]{2,45}\]|[a-z0-9][a-z0-9.-]{0,150})(:\d{1,5})?/?")
_USERS_PASSWORD: Final = re.compile(r"(//[^:@/?]*):.*@")
_NAMED_PASSWORD: Final = re.compile(r"(?i)((?:ssl)?password=)[^&]*")


class Lane(StrEnum):
    """How hot operations are served."""

    PROTOCOL = "protocol"
    ASGI = "asgi"
    OFF = "off"


class KeyProvider(StrEnum):
    """Where the key-encryption key is, under which the data keys of all domains are."""

    FILE = "file"
    ENV = "env"
    TRANSIT = "transit"


class LogFormat(StrEnum):
    """How the hub's own log is written, on stderr."""

    JSON = "json"
    CONSOLE = "console"


def _bootstrap_token(given: SecretStr | None) -> SecretStr | None:
    """Refuse a token that could be guessed, or that would never be taken for one."""
    token = None if given is None else given.get_secret_value()
    if token is not None and not (token.startswith(BOOTSTRAP_PREFIX) and len(token) >= BOOTSTRAP_LENGTH_MIN):
        raise ValueError(f"a bootstrap token begins with {BOOTSTRAP_PREFIX} and has {BOOTSTRAP_LENGTH_MIN} characters")
    return given


def _store(given: SecretStr | None) -> SecretStr | None:
    """Refuse what is no address of a database; what it says is not repeated, a password may be in it."""
    if given is not None and not given.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("a store begins with postgresql://; for the embedded one name a directory with --data")
    return given


def _advertised(given: str | None) -> str | None:
    """Refuse what no other hub and no client could reach a hub by; two forms of one URL are one."""
    if given is None:
        return None
    if not _BASE_URL.fullmatch(given):
        raise ValueError("give the URL at which others reach this hub, as http://10.0.0.5:7000")
    return given.rstrip("/").lower()


class Settings(BaseSettings):
    """The hub's process settings. Values come from arguments, then `HUB_*`, then the defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(default=DEFAULT_PORT, description="Port; 0 picks a free one.")
    data: Path = Field(default=Path("central-hub-data"), description="Directory of the embedded store and its keys.")
    store: Annotated[SecretStr | None, AfterValidator(_store)] = Field(
        default=None,
        description="PostgreSQL to keep everything in, instead of the embedded store: postgresql://USER@HOST/DATABASE.",
    )
    advertise: Annotated[str | None, AfterValidator(_advertised)] = Field(
        default=None,
        max_length=ADVERTISED_LENGTH_MAX,
        description="URL at which others reach this hub: it then shares its PostgreSQL store with hubs that have one.",
    )
    open: bool = Field(default=False, description="No keys: header claims are taken as given. Loopback only.")
    lane: Lane = Field(default=Lane.PROTOCOL, description="How hot reads are served: protocol, asgi or off.")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Least level that is logged."
    )
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="json or console.")
    tiers: Path | None = Field(
        default=None,
        description="YAML file of plans that holds until others are applied, instead of the built-in ones.",
    )
    probe_loopback: bool = Field(
        default=False, description="Allow health probes to loopback addresses (open mode always does)."
    )
    probe_networks: str = Field(default="", description="Comma-separated CIDRs that health probes may reach.")
    webhook_networks: str = Field(
        default="",
        description="Comma-separated CIDRs that webhooks may reach; 0.0.0.0/0,::/0 is the public internet. "
        "Open mode adds loopback.",
    )
    webhook_http: bool = Field(default=False, description="Allow webhooks without TLS (open mode always does).")
    instances_per_tenant_max: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="Instances one tenant (or the shared domain) may register."
    )
    reads_per_tenant_s: Annotated[float, Field(gt=0)] = Field(
        default=50_000.0, description="Sustained reads of one tenant."
    )
    writes_per_tenant_s: Annotated[float, Field(gt=0)] = Field(
        default=20_000.0, description="Sustained writes of one tenant."
    )
    cross_origins: str = Field(
        default="", description="Comma-separated origins whose pages may read flags and configuration in a browser."
    )
    snapshot_every: Annotated[int, Field(ge=100)] = Field(
        default=50_000, description="Records after which a snapshot of the views is written."
    )
    retention_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="Days that published events are kept where no plan says otherwise."
    )
    key_provider: KeyProvider = Field(
        default=KeyProvider.FILE,
        description="Where the key-encryption key is: file (keys/master.key of the data directory), env or transit.",
    )
    master_key: SecretStr | None = Field(
        default=None, description="The key-encryption key, 64 hex digits, for the provider env."
    )
    master_key_previous: SecretStr | None = Field(
        default=None, description="Keys of before with commas between, until every data key is rewrapped."
    )
    transit_url: str | None = Field(
        default=None, description="Address of a Vault or OpenBao server, for the provider transit."
    )
    transit_key: str = Field(default="central-hub", description="Name of the key in the transit engine.")
    transit_mount: str = Field(default="transit", description="Where the transit engine is mounted.")
    transit_namespace: str = Field(default="", description="Namespace of the transit engine, where there are any.")
    transit_token: SecretStr | None = Field(
        default=None, description="Token for the transit engine; better in a file that an agent renews."
    )
    transit_token_file: Path | None = Field(
        default=None, description="File of mode 0600 with the token for the transit engine, read anew each time."
    )
    transit_ca_file: Path | None = Field(
        default=None, description="PEM certificates that vouch for the transit server, instead of the system's."
    )
    bootstrap_token: Annotated[SecretStr | None, AfterValidator(_bootstrap_token)] = Field(
        default=None, description="Use this first-hour token instead of a generated one (automation only)."
    )

    def redacted(self) -> dict[str, str]:
        """Return every setting as text, secrets masked, for the line printed at start."""
        shown = {
            name: SECRET_MASK if isinstance(value, SecretStr) else str(getattr(value, "value", value))
            for name, value in self
        }
        if self.store is not None:
            shown["store"] = without_password(self.store.get_secret_value())
        return shown

    def check(self) -> None:
        """Refuse combinations that would be unsafe.

        Raises:
            HubError: `open_mode_exposed`: open mode on an address others can reach; `open_mode_cross_origin`: open
                mode with pages of other sites let in; `invalid_origins`; `nothing_to_share`: a URL for other hubs and
                a store for one.
        """
        origins = origins_of(self.cross_origins)
        if self.open and origins:
            raise HubError(
                "open_mode_cross_origin",
                Kind.INVALID,
                "Open mode takes every caller's word, so no page of another origin may speak to it.",
                next_step="Leave --cross-origins out, or leave --open out and use keys.",
            )
        if self.advertise is not None and self.store is None:
            raise HubError(
                "nothing_to_share",
                Kind.INVALID,
                "Hubs share a store in PostgreSQL; the embedded one is for one hub.",
                next_step="Name the database with --store, or leave --advertise out.",
            )
        if self.open and not is_loopback(self.host):
            raise HubError(
                "open_mode_exposed",
                Kind.INVALID,
                f"Open mode takes every caller's word, and {self.host} can be reached by others.",
                next_step="Bind to loopback (--host 127.0.0.1), or leave --open out and use keys.",
            )


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the variables that are no setting but nearly the name of one, with that one."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    others = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    close = {name: difflib.get_close_matches(name, known, n=1, cutoff=MISSPELT_RATIO) for name in others}
    return [(name, found[0]) for name, found in close.items() if found]


def without_password(address: str) -> str:
    """Return a store's address with its passwords masked."""
    address = _USERS_PASSWORD.sub(rf"\1:{SECRET_MASK}@", address)
    return _NAMED_PASSWORD.sub(rf"\1{SECRET_MASK}", address)


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
