"""Rotation of keys while everything goes on: begun durably, done in small steps, gone on with after a crash.

A new key-encryption key rewraps every data key; what is encrypted under the data keys is not touched. A new data key
of a domain seals what is written from then on; what was written before is opened with the key it was written under.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.secrets.model import (
    KEYS_AT_ONCE,
    ROTATION_STREAM,
    EncryptionRotationBegun,
    EncryptionRotationEnded,
    Rotating,
)
from central_hub.secrets.ports import Customers, Keys
from central_hub.secrets.view import SecretsView

RETRY_S: Final = 2.0
"""How long a rotation waits after the provider or the store refused a step."""

WORK: Final = "key-rotation"
"""Rotating keys, as work of one of several hubs."""
WORN_LOOK_S: Final = 60.0
"""How often a rotation looks for data keys that have sealed as much as one may."""
LOOKED_AT_ONCE: Final = 512
"""Domains looked at before others run."""
PASSED_OVER: Final = frozenset({"unreadable_record", "limit_reached"})
"""Refusals of one domain that end nothing for the others: it was shredded, or has as many keys as it may."""

_log = structlog.get_logger("central_hub.secrets")


class Phase(StrEnum):
    """How a rotation stands."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    """A step was refused; it is tried again."""
    DONE = "done"


class RotationState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rotation that goes on, or the last one: how far it is, and the code of what holds it up."""

    phase: Phase = Phase.IDLE
    what: Rotating | None = None
    done: int = 0
    total: int = 0
    held_up_by: str = ""


class Rotation:
    """Rotates keys, one rotation at a time.

    Args:
        keys: the key ring.
        view: knows which rotation has begun and not ended.
        sequencer: makes beginnings and ends durable.
        clock: wall time.
        customers: which tenants there are.
        retry_s: see `RETRY_S`.
        worn_look_s: see `WORN_LOOK_S`.
        ownership: which hub rotates.
        shared: whether other hubs have the key-encryption key too.
    """

    def __init__(
        self,
        keys: Keys,
        view: SecretsView,
        sequencer: Sequencer,
        clock: Clock,
        customers: Customers,
        *,
        retry_s: float = RETRY_S,
        worn_look_s: float = WORN_LOOK_S,
        ownership: Ownership | None = None,
        shared: bool = False,
    ) -> None:
        self._keys = keys
        self._view = view
        self._sequencer = sequencer
        self._clock = clock
        self._customers = customers
        self._retry_s = retry_s
        self._worn_look_s = worn_look_s
        self._shared = shared
        self._ownership = ownership or Alone()
        self._ownership.on_change(self.look)
        self._begun = asyncio.Event()
        self._passed_over: set[DomainId] = set()
        self._left: deque[DomainId] = deque()
        self.state = RotationState()
        self.rotated = 0

    async def begin(self, ctx: TenantContext, what: Rotating, domains: Sequence[str] = ()) -> RotationState:
        """Begin a rotation; it goes on by itself.

        Args:
            ctx: who asks.
            what: to rotate.
            domains: tenants whose data keys are meant; all domains when left out.

        Raises:
            HubError: `rotation_running`, `key_provider_external`, `key_file_not_shared` (409), `tenant_not_found`
                (404), `invalid_rotation` (422).
        """
        for domain in domains:
            if not self._customers.is_tenant(DomainId(domain)):
                raise HubError(
                    "tenant_not_found", Kind.NOT_FOUND, "There is no such tenant.", next_step="Check the tenants' ids."
                )
        if what is Rotating.KEY_ENCRYPTION_KEY and domains:
            raise _not_by_domain()
        if what is Rotating.KEY_ENCRYPTION_KEY and self._keys.encryption.provider == "env":
            raise _external()
        if what is Rotating.KEY_ENCRYPTION_KEY and self._shared and self._keys.encryption.provider == "file":
            raise _in_a_file()

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, ROTATION_STREAM)
            if self._view.rotation(PLATFORM) is not None or self.state.phase in (Phase.RUNNING, Phase.WAITING):
                raise HubError(
                    "rotation_running",
                    Kind.CONFLICT,
                    "A rotation of keys is going on.",
                    next_step="See how far it is with GET /encryption, and begin the next one after it.",
                )
            fact = EncryptionRotationBegun(
                what=what,
                began_at_ms=max(self._clock.now_ms(), self._keys.newest_ms() + 1),
                from_key=self._keys.encryption.current,
                domains=tuple(sorted(set(domains))),
            )
            tx.append(PLATFORM, fact, streams=(ROTATION_STREAM,))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)
        self.state = RotationState(phase=Phase.RUNNING, what=what)
        self._begun.set()
        return self.state

    def look(self) -> None:
        """Look at once whether there is something to rotate."""
        self._begun.set()

    async def run(self) -> None:
        """Rotate whatever was begun, also by a hub that crashed over it; and rewrap what an operator's new key left
        behind."""
        while True:
            try:
                more = True
                while more:
                    more = await self._step()
                    await asyncio.sleep(0)
            except HubError as refused:
                self.state = msgspec.structs.replace(self.state, phase=Phase.WAITING, held_up_by=refused.code)
                _log.warning("secrets.rotation_held_up", code=refused.code, internal=refused.internal)
                await asyncio.sleep(self._retry_s)
                continue
            # Not wait_for: until Python 3.12 it may swallow a cancellation that comes with its timeout.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._worn_look_s):
                    await self._begun.wait()
            self._begun.clear()

    async def _step(self) -> bool:
        """Do a part of what is to be done; returns whether something is left."""
        if not self._ownership.owns(WORK, ""):
            return False
        begun = self._view.rotation(PLATFORM)
        if begun is None:
            return await self._catch_up()
        if begun.what is Rotating.DATA_KEYS:
            left = self._left
            if not left:
                left.extend(await self._to_renew(begun))
            self._going_on(begun.what, len(left))
            for domain in [left[at] for at in range(min(KEYS_AT_ONCE, len(left)))]:
                await self._renew(domain, begun.began_at_ms)
                left.popleft()
            if left:
                return True
            if await self._to_renew(begun):  # domains that came meanwhile, or a key that another hub made earlier
                return True
        else:
            if self._keys.encryption.current == begun.from_key:
                await self._keys.encryption.rotate()
            if await self._rewrap():
                return True
        await self._end(begun)
        return True

    async def _catch_up(self) -> bool:
        """Rewrap what is under a key of before, where that key was changed outside: in the environment, by a server."""
        if await self._rewrap():
            return True
        for domain in self._keys.worn():
            await self._renew(domain, 0)
        if self.state.phase in (Phase.RUNNING, Phase.WAITING):
            self.state = msgspec.structs.replace(self.state, phase=Phase.DONE, held_up_by="")
        return False

    async def _rewrap(self) -> bool:
        behind = self._keys.next_behind(KEYS_AT_ONCE)
        if not behind:
            return False
        self._going_on(Rotating.KEY_ENCRYPTION_KEY, self._keys.count_behind())
        await self._keys.rewrap(behind)
        self.rotated += len(behind)
        if not self._keys.count_behind():
            await self._keys.forget_replaced()
        return True

    async def _to_renew(self, begun: EncryptionRotationBegun) -> list[DomainId]:
        found: list[DomainId] = []
        for at, domain in enumerate([DomainId(domain) for domain in begun.domains] or self._keys.domains()):
            if domain not in self._passed_over and not self._keys.renewed_since(domain, begun.began_at_ms):
                found.append(domain)
            if at % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _renew(self, domain: DomainId, began_at_ms: int) -> None:
        try:
            await self._keys.renew(domain, not_before_ms=began_at_ms)
            self.rotated += 1
        except HubError as refused:
            if refused.code not in PASSED_OVER:
                raise
            self._passed_over.add(domain)
            _log.warning("secrets.domain_passed_over", tenant=domain, code=refused.code)

    def _going_on(self, what: Rotating, left: int) -> None:
        same = self.state.what is what and self.state.phase in (Phase.RUNNING, Phase.WAITING)
        total = max(self.state.total, self.state.done + left) if same else left
        self.state = RotationState(phase=Phase.RUNNING, what=what, done=total - left, total=total)

    async def _end(self, begun: EncryptionRotationBegun) -> None:
        await self._keys.forget_replaced()
        fact = EncryptionRotationEnded(
            what=begun.what, data_keys=self._keys.data_keys(), to_key=self._keys.encryption.current
        )

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, ROTATION_STREAM)
            if self._view.rotation(PLATFORM) is not None:
                tx.append(PLATFORM, fact, streams=(ROTATION_STREAM,))

        await self._sequencer.submit(HUB_ACTOR, (PLATFORM,), decide)
        self._passed_over.clear()
        self._left.clear()
        total = self.state.total
        self.state = RotationState(phase=Phase.DONE, what=begun.what, done=total, total=total)
        _log.info("secrets.keys_rotated", what=begun.what.value, data_keys=fact.data_keys, key=fact.to_key)


def _external() -> HubError:
    return HubError(
        "key_provider_external",
        Kind.CONFLICT,
        "The key-encryption key is given by the environment; the hub cannot make another one there.",
        next_step="Restart with the new key in HUB_MASTER_KEY and the old one in HUB_MASTER_KEY_PREVIOUS; the data "
        "keys are rewrapped while the hub runs.",
    )


def _in_a_file() -> HubError:
    return HubError(
        "key_file_not_shared",
        Kind.CONFLICT,
        "The key-encryption key is in a file of each hub's machine, and the others would not have the new one.",
        next_step="Have the hubs take it from the environment or a transit engine; or stop all but one, start that "
        "without --advertise, rotate, and copy keys/master.key to the others.",
    )


def _not_by_domain() -> HubError:
    return HubError(
        "invalid_rotation",
        Kind.MALFORMED,
        "The key-encryption key is one for all domains.",
        next_step="Leave the tenants out, or rotate data_keys.",
    )
