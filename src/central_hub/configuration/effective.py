"""The effective value of every tenant, service and environment, as the layers are now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol
from weakref import ref

from central_hub.configuration.folding import Compiled, Placed
from central_hub.configuration.model import OWN_PLACES, Layer, layers_for
from central_hub.configuration.ports import Customers, Defaults
from central_hub.configuration.resolving import NO_OWN, OwnLayers, Resolved, Shared, Stack
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId

PLAIN_MAX: Final = 16_384
"""Values of the platform's layers that are kept, one for each tier, service and environment that a layer names."""
ENCODED_BYTES_MAX: Final = 134_217_728
"""Encoded values that are kept; past this the ones asked for longest ago are encoded again when asked for."""


KNOWN_PER_TENANT_MAX: Final = 64
"""Values of one tenant, by service and environment, that are found at once; past this they are looked for again."""

_Known = tuple[int, int, Compiled, Resolved]
"""A value, and what it hangs on: the generations of the layers, and what the tenant is granted."""


class Layers(Protocol):
    """What the layers say: the view, or the view as it would be after a change."""

    @property
    def platform_generation(self) -> int:
        """Moves with every change of a layer of the platform."""
        ...

    def generation(self, domain: DomainId) -> int:
        """Return a number that moves with every change of a layer of the domain; 0 while there are none."""
        ...

    def layers(self, domain: DomainId) -> Mapping[Layer, object]:
        """Return the layers of a domain that were ever written."""
        ...

    def folded(self, domain: DomainId, layer: Layer | None) -> Compiled | None:
        """Return a layer's document ready to be folded; None when it says nothing."""
        ...


class Effective:
    """Answers what applies to whom. Reads resolve what has changed since; nothing here waits.

    Args:
        layers: what they say.
        defaults: what a tier grants.
        customers: which tier a tenant has.
    """

    def __init__(self, layers: Layers, defaults: Defaults, customers: Customers) -> None:
        self._layers = layers
        self._defaults = defaults
        self._customers = customers
        self._shared = Shared()
        self._plain: dict[tuple[Compiled, str, str, str], tuple[int, Resolved]] = {}
        self._named_at = -1
        self._services: frozenset[str] = frozenset()
        self._environments: frozenset[str] = frozenset()
        self._known: dict[DomainId, dict[tuple[str, str, str], _Known]] = {}
        self._kept: OrderedDict[ref[Resolved], int] = OrderedDict()
        self._kept_bytes = 0

    def of(self, domain: DomainId, service: str = "", environment: str = "", *, claimed: str = "") -> Resolved:
        """Return a tenant's effective value.

        Args:
            domain: the tenant's.
            service, environment: for whom, empty for none in particular.
            claimed: tier of a tenant that there is no record of (in open mode).

        Raises:
            HubError: `tenant_not_found` (404); `unknown_tier` (422) for a tier that the hub no longer has.
        """
        tier = self.tier_of(domain)
        if tier is None and not claimed:
            raise tenant_missing()
        return self.at(domain, tier or claimed, service, environment)

    def tier_of(self, domain: DomainId) -> str | None:
        """Return a tenant's tier, None when there is no such tenant."""
        return self._customers.tier_of(domain)

    def at(self, domain: DomainId, tier: str, service: str = "", environment: str = "") -> Resolved:
        """Return the effective value of a domain at a tier.

        Raises:
            HubError: `unknown_tier` (422).
        """
        default = self._default(domain, tier)
        own_generation = self._layers.generation(domain)
        if not own_generation or domain == PLATFORM:
            return self._of_platform(default, tier, service, environment)
        generation = self._layers.platform_generation
        kept = self._known.setdefault(domain, {})
        known = kept.get((tier, service, environment))
        if known is not None and known[:3] == (generation, own_generation, default):
            return known[3]
        plain = self._of_platform(default, tier, service, environment)
        same_own = known is not None and known[1] == own_generation
        own = known[3].own if known is not None and same_own else self._own(domain, service, environment)
        value = plain if own == NO_OWN else self._with_own(domain, plain.stack, own, service, environment)
        if len(kept) >= KNOWN_PER_TENANT_MAX:
            kept.clear()
        kept[(tier, service, environment)] = (generation, own_generation, default, value)
        return value

    def _with_own(self, domain: DomainId, stack: Stack, own: OwnLayers, service: str, environment: str) -> Resolved:
        layers = self._layers.layers(domain)
        if service and not (self._names(service, "") or any(each.service == service for each in layers)):
            service = ""
        if environment and not (
            self._names("", environment) or any(each.environment == environment for each in layers)
        ):
            environment = ""
        return self._shared.get(domain, (service, environment), stack, own)

    def encoded(self, value: Resolved) -> bytes:
        """Return a value encoded, and let go of the encoded form of others past the limit."""
        kept = ref(value, self._dropped)
        if kept in self._kept:
            self._kept.move_to_end(kept)
            return value.config
        data = value.config
        self._kept[kept] = len(data)
        self._kept_bytes += len(data)
        while self._kept_bytes > ENCODED_BYTES_MAX and len(self._kept) > 1:
            oldest, freed = self._kept.popitem(last=False)
            self._kept_bytes -= freed
            forgotten = oldest()
            if forgotten is not None:
                forgotten.forget_encoded()
        return data

    def _dropped(self, kept: ref[Resolved]) -> None:
        self._kept_bytes -= self._kept.pop(kept, 0)

    def _own(self, domain: DomainId, service: str, environment: str) -> OwnLayers:
        named = layers_for("", domain, service, environment)
        return tuple([self._layers.folded(domain, named[place]) for place in OWN_PLACES])

    def _of_platform(self, default: Compiled, tier: str, service: str, environment: str) -> Resolved:
        """Return what a tenant without layers of its own gets."""
        generation = self._layers.platform_generation
        if service or environment:
            # Names that no layer mentions are all alike, so asking for made-up ones costs no memory.
            service = service if self._names(service, "") else ""
            environment = environment if self._names("", environment) else ""
        key = (default, tier, service, environment)
        known = self._plain.get(key)
        if known is not None and known[0] == generation:
            return known[1]
        named = layers_for(tier, "", service, environment)
        platform = [self._layers.folded(PLATFORM, layer) for layer in named]
        layers = tuple([Placed(layer, own=False) for layer in (default, *platform)])
        if known is not None and known[1].stack.layers == layers:
            resolved = known[1]
        else:
            resolved = Resolved(Stack(tier, layers, default.leaves), NO_OWN, {})
            if len(self._plain) >= PLAIN_MAX:
                self._plain.clear()
        self._plain[key] = (generation, resolved)
        return resolved

    def _default(self, domain: DomainId, tier: str) -> Compiled:
        default = self._defaults.compiled(domain, tier)
        if default is None:
            raise HubError(
                "unknown_tier",
                Kind.MALFORMED,
                f"There is no tier '{tier[:64]}'.",
                next_step=f"Use one of {', '.join(self._defaults.names())}.",
            )
        return default

    def _names(self, service: str, environment: str) -> bool:
        """Say whether a layer of the platform is about this service or environment."""
        if self._named_at != self._layers.platform_generation:
            layers = self._layers.layers(PLATFORM)
            self._services = frozenset(layer.service for layer in layers)
            self._environments = frozenset(layer.environment for layer in layers)
            self._named_at = self._layers.platform_generation
        return service in self._services if service else environment in self._environments


def tenant_missing() -> HubError:
    """Return the refusal for a tenant that does not exist."""
    return HubError(
        "tenant_not_found",
        Kind.NOT_FOUND,
        "There is no such tenant.",
        next_step="Check the tenant id; a key sees its own tenant only.",
    )
