"""What secrets and the rotation of keys count, as metric families."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from central_hub.kernel.ids import PLATFORM
from central_hub.monitoring.metrics import Collector, Family, MetricKind, by_label, counter, gauge
from central_hub.secrets.ports import Keys
from central_hub.secrets.rotation import Phase, Rotation
from central_hub.secrets.usecases import Secrets
from central_hub.secrets.view import SecretsView

GOING_ON: Final = frozenset({Phase.RUNNING, Phase.WAITING})


def secrets_collector(secrets: Secrets, view: SecretsView, keys: Keys, rotation: Rotation) -> Collector:
    """Return the collector of what secrets and keys count."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_secrets", "Secrets kept, in all domains.", view.count(PLATFORM))
        yield by_label(
            "central_hub_secret_operations_total", MetricKind.COUNTER, "Values handed out and put.", "operation",
            {"read": secrets.reads, "put": secrets.puts},
        )  # fmt: skip
        yield gauge("central_hub_data_keys", "Data keys in memory.", keys.data_keys())
        yield gauge(
            "central_hub_data_keys_behind", "Data keys not under the current key-encryption key.", keys.count_behind()
        )
        yield counter("central_hub_data_keys_rotated_total", "Data keys rewrapped or renewed.", rotation.rotated)
        yield gauge("central_hub_rotation_running", "1 while keys are being rotated.", rotation.state.phase in GOING_ON)
        yield counter(
            "central_hub_key_provider_failures_total", "Times the key provider refused or was away.",
            keys.provider_failures,
        )  # fmt: skip

    return collect
