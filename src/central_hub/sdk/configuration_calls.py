"""What a client offers about configuration: the value, its changes, an instance that takes it up, an update for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from central_hub.kernel.errors import HubError
from central_hub.sdk.configuration import AS_IT_IS, FIRST_VALUE_S, ConfigDiff, Configurations
from central_hub.sdk.link import HubLink
from central_hub.sdk.meter import Meter
from central_hub.sdk.protocol import read
from central_hub.sdk.reporting import Reporter

UPDATE_ATTEMPTS_MAX: Final = 5
UPDATE_AGAIN_S: Final = 0.05

T = TypeVar("T")
Json = dict[str, Any]  # Any: a JSON document


class ConfigurationCalls:
    """The part of `HubClient` that is about configuration.

    Args:
        link: how the hub is reached.
        kept: the file that keeps the last values; None to keep them in memory only.
    """

    def __init__(self, link: HubLink, kept: Path | None) -> None:
        self._link = link
        self._configurations = Configurations(link, kept)
        self._of_instances: dict[str, Configurations] = {}
        self._kept_as = kept

    async def config(
        self, kind: type[T] = AS_IT_IS, *, service: str = "", environment: str = "",
        timeout: float = FIRST_VALUE_S,  # noqa: ASYNC109  # its own bound, not a cancel scope
    ) -> T:  # fmt: skip
        """Return the tenant's effective configuration, which is followed from the first call on.

        Args:
            kind: what it is returned as: a dict, or a `msgspec.Struct` with the sections that are needed.
            service, environment: for whom; none in particular when empty.
            timeout: seconds to wait for the first value. While the hub is away the last one is in force, that of an
                earlier run included.

        Raises:
            HubError: `config_unknown` (503), `config_mismatch` (422), what the hub refused.
        """
        return await self._configurations.value((service, environment), kind, timeout)

    async def config_changes(self, *, service: str = "", environment: str = "") -> AsyncIterator[ConfigDiff]:
        """Yield the configuration now and whenever it is another one, each with what differs."""
        async for diff in self._configurations.changes((service, environment)):
            yield diff

    async def read_config_again(self, tenant_id: str) -> None:
        """Ask at once for every configuration that is followed: for whoever is told of changes by a webhook.

        Raises:
            HubError: what the hub refused, or `hub_unreachable` (503).
        """
        for each in {self._configurations, *self._of_instances.values()}:
            await each.read_again(tenant_id)

    async def follow_config(
        self,
        take_up: Callable[[ConfigDiff], Awaitable[None]],
        *,
        service: str,
        instance_id: str,
        environment: str = "",
        meter: Meter | None = None,
    ) -> None:
        """Hand an instance's configuration to `take_up`, now and whenever it is another one, until cancelled.

        The hub is told of every value whether it was taken up or, where `take_up` raised, refused; and how the
        requests went that `meter` counted. `config()` of this client then returns what is in force for the instance.

        Args:
            take_up: takes up a value, or raises to refuse it.
            service, instance_id: the registered instance.
            environment: whose configuration; none in particular when empty.
            meter: counts requests; none are reported without it.
        """
        values = self._values_of(instance_id)
        reporter = Reporter(self._link, service, instance_id, environment, meter or Meter())
        values.on_connected.append(reporter.again)
        reporting = asyncio.create_task(reporter.run(), name="central_hub.config_reports")
        try:
            await values.follow((service, environment), take_up, reporter.say)
        finally:
            values.on_connected.remove(reporter.again)
            reporting.cancel()
            await asyncio.wait((reporting,))

    def _values_of(self, instance_id: str) -> Configurations:
        """Return the values of one instance: this client's own where nobody else has asked for them before."""
        found = self._of_instances.get(instance_id)
        if found is None:
            kept = self._kept_as
            path = None if kept is None else kept.with_name(f"{kept.stem}-{instance_id}{kept.suffix}")
            found = self._of_instances[instance_id] = Configurations(self._link, path, instance_id)
            if not self._configurations.is_used:
                self._configurations = found
        return found

    async def update_global_config(
        self, changes: Mapping[str, object], *, reason: str = "", strategy: Mapping[str, object] | None = None
    ) -> Json:
        """Roll out changes of the layer of everyone, on top of whatever it says now; needs `config:admin`.

        Without a strategy a tenth of the instances that follow the configuration get it first, then everyone; it comes
        back by itself when a gate fails. Where no instance follows it there is nothing to try it out on, and it is made
        at once.

        Args:
            changes: a merge patch (RFC 7396): null takes a member away.
            reason: kept in the layer's history.
            strategy: as `POST /rollouts` takes it, `{"kind": "all_at_once"}` for example.

        Returns:
            The layer as it is now, `{layer, revision, etag, document, …}`, and as `rollout` how far the change is;
            None there when the layer says it already.

        Raises:
            HubError: what the hub refused; `layer_in_rollout` (409) while another change of it is on its way.
        """
        path = "/config/layers/global"
        for left in reversed(range(UPDATE_ATTEMPTS_MAX)):
            layer = await self._json(self._link.protocol.get(path))
            change: Json = {"layer": {}, "if_match": layer["etag"], "merge_patch": changes}
            body: Json = {"changes": [change], "reason": reason, **({} if strategy is None else {"strategy": strategy})}
            try:
                rollout = await self._json(self._link.protocol.command("POST", "/rollouts", body))
            except HubError as error:
                if error.code == "nothing_to_roll_out":
                    return {**layer, "rollout": None}
                if error.code not in ("revision_moved", "layer_in_rollout") or not left:
                    raise
                await asyncio.sleep(UPDATE_AGAIN_S)
                continue
            return {**await self._json(self._link.protocol.get(path)), "rollout": rollout}
        raise AssertionError("the last attempt returned or raised")

    async def _close_configurations(self) -> None:
        """Stop following every value."""
        for each in {self._configurations, *self._of_instances.values()}:
            await each.close()

    async def _json(self, request: Any) -> Json:  # Any: HubRequest
        return cast("Json", read(await self._link.send_until(request)))
