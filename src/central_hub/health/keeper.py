"""Keeps leases and verdicts: renews, notices silence, doubts itself first, and says what is to be journaled.

Synchronous and without I/O; the journal and the prober are the shells around it. Soft state: after
a start every instance has one full lifetime from readiness and its last journaled status. Where
several hubs share a store each instance has one that judges it: it asks the instance, ends its
lease and says what is journaled. The others pass on what they hear and follow the log; when who
judges what has changed, every lease has its full time again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from central_hub.health.model import (
    LATENCY_STRAINED_MS,
    LOAD_STRAINED,
    PAUSE_MIN_MS,
    PAUSES_KEPT_MAX,
    PROBE_INTERVAL_MAX_MS,
    PROBE_KEPT_TTL_MS,
    PROTECTION_MAX_MS,
    PROTECTION_RECHECK_MS,
    REASON_EXPIRED,
    REASON_MASS_SILENCE,
    REASON_NOT_GRANTED,
    REASON_UNPROBED,
    UNJUDGED,
    UNPROBED_TTL_MS,
    Sign,
    Standing,
)
from central_hub.health.rules import (
    is_late,
    is_mass_silence,
    next_probe_ms,
    observed,
    phase_of,
    probe_interval_ms,
    protected,
    protection_ms,
    reported,
)
from central_hub.health.view import BY_HEARTBEAT, BY_NOTHING, BY_PROBE, Domain, Group, Kept, Population
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ownership import Alone, Ownership
from central_hub.kernel.probing import Probe, ProbeProtocol, ProbeTarget
from central_hub.kernel.records import Applied
from central_hub.kernel.wheel import Timer, TimingWheel
from central_hub.registry.model import (
    Instance,
    RemovalReason,
    ServiceHealthChanged,
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
    Status,
)
from central_hub.registry.ports import Advice, LeaseTerms, Verdict
from central_hub.registry.signals import Loads

PROTOCOLS: Final = {
    "http": ProbeProtocol.HTTP,
    "ws": ProbeProtocol.HTTP,
    "grpc": ProbeProtocol.GRPC,
    "tcp": ProbeProtocol.TCP,
}
"""How an instance of a protocol is asked; what speaks TLS is asked whether it takes connections."""

UNPROBEABLE: Final = frozenset({"udp"})
LATE_REMEMBERED_MS: Final = 100.0
"""How long a judgement about a group's silence is reused."""

WORK: Final = "instance"
"""Judging an instance, as work of one of several hubs; the key is its name."""

Changed = Callable[[DomainId, str], None]


class Keeper:
    """The soft state of health, and the registry's `HealthOf` and `LeaseAdvice`.

    Args:
        probe: asked whether an address may be probed.
        loads: where heartbeats leave what they report.
        clock: wall and monotonic time.
        changed: called with (domain, service) when a verdict not yet journaled changed.
        ownership: which hub judges which instance.
        slack_ms: how late what other hubs hear may come.
    """

    def __init__(
        self,
        probe: Probe,
        loads: Loads,
        clock: Clock,
        changed: Changed | None = None,
        *,
        ownership: Ownership | None = None,
        slack_ms: float = 0.0,
    ) -> None:
        self._probe = probe
        self._loads = loads
        self._clock = clock
        self._changed: list[Changed] = [] if changed is None else [changed]
        self.population = Population()
        now_ms = clock.monotonic_ms()
        self.leases: TimingWheel[Kept] = TimingWheel(now_ms)
        self.probes: TimingWheel[Kept] = TimingWheel(now_ms)
        self.dirty: dict[Kept, None] = {}
        self._looked_ms = now_ms
        self._pauses: deque[tuple[float, float]] = deque(maxlen=PAUSES_KEPT_MAX)
        self._targets = 0
        self._ownership = ownership or Alone()
        self._ownership.on_change(self._shared_out_anew)
        self._slack_ms = slack_ms
        self._round = 0
        self._whole_from_ms = 0.0
        self.renewals = 0
        self.expired = 0
        self.pauses = 0

    def on_change(self, changed: Changed) -> None:
        """Call `changed` with (domain, service) when a verdict not yet journaled changed."""
        self._changed.append(changed)

    # -- which hub judges -----------------------------------------------------------------------

    def judges(self, kept: Kept) -> bool:
        """Say whether this hub is the one that judges an instance, by all it knows."""
        if kept.round != self._round:
            kept.round = self._round
            kept.ours = self._ownership.likely_owns(WORK, kept.name)
        return kept.ours

    def let_go(self, kept: Kept) -> None:
        """Leave an instance to the hub that judges it: what this one thought and did not journal is void."""
        kept.leaving = None
        self.dirty.pop(kept, None)
        self._follow(kept, kept.journaled, "", self._clock.now_ms())

    def _shared_out_anew(self) -> None:
        self._round += 1
        self._whole_from_ms = self._clock.monotonic_ms()

    def _follow(self, kept: Kept, status: Status, reason: str, since_ms: int) -> None:
        if kept.standing.status is not status or kept.standing.protected:
            kept.judge(Standing(status=status, reason=reason, since_ms=since_ms))

    # -- what the registry asks -------------------------------------------------------------

    def verdict(self, domain: DomainId, service: str, instance_id: str) -> Verdict | None:
        """Return this hub's own verdict where it differs from the journaled one."""
        kept = self.population.find(domain, service, instance_id)
        if kept is None or not self.judges(kept):
            return None
        standing = kept.standing
        if not standing.protected and standing.status is kept.journaled:
            return None
        return Verdict(
            status=standing.status,
            protected=standing.protected,
            reason=standing.reason,
            since_ms=standing.since_ms,
            latency_ms=standing.latency_ms,
            last_check_ms=standing.last_check_ms,
        )

    def advise(self, domain: DomainId, instance: Instance) -> Advice:
        """Return the lease an instance gets; registering again what is kept already renews it."""
        kept = self.population.find(domain, instance.service_name, instance.instance_id)
        if kept is not None and kept.kept_by == BY_HEARTBEAT:
            kept.renewed_ms = self._clock.monotonic_ms()
            self.leases.set(kept.lease, kept.renewed_ms + kept.ttl_ms)
        kept_by, ttl_ms, granted = self._terms(domain, instance)
        # The interval shown is the longest that applies: the present one would tell how many targets there are.
        path = f"/services/{instance.service_name}/instances/{instance.instance_id}/heartbeat"
        terms = LeaseTerms(
            ttl_s=ttl_ms / 1_000,
            kept_by=kept_by,
            heartbeat_path="" if kept_by == BY_PROBE else path,
            probe_interval_s=PROBE_INTERVAL_MAX_MS / 1_000 if granted else None,
        )
        warnings: tuple[str, ...] = ()
        if kept_by == BY_NOTHING:
            warnings = (
                (
                    f"No probe may reach {instance.host}:{instance.port}, so this registration ends in an hour. Send "
                    "lease_ttl_s and heartbeats, or ask the operator to grant the network (HUB_PROBE_NETWORKS)."
                ),
            )
        elif instance.probe and not granted:
            warnings = (
                f"No probe may reach {instance.host}:{instance.port}; heartbeats alone keep and judge this instance.",
            )
        return Advice(lease=terms, warnings=warnings)

    # -- what the log says --------------------------------------------------------------------

    def applied(self, batch: Sequence[Applied]) -> None:
        """Follow what became true; a listener of the runner."""
        for applied in batch:
            match applied.fact:
                case ServiceRegistered(instance=instance):
                    self.adopt(applied.domain, instance)
                case ServicesRegistered(instances=instances):
                    for instance in instances:
                        self.adopt(applied.domain, instance)
                case ServiceUnregistered(service=service, instance_id=instance_id):
                    self.forget(applied.domain, service, instance_id)
                case ServiceHealthChanged(service=service, instance_id=instance_id, status=status, reason=reason):
                    kept = self.population.find(applied.domain, service, instance_id)
                    if kept is None:
                        continue
                    kept.journaled = status
                    if not self.judges(kept):
                        self._follow(kept, status, reason, applied.time_ms)
                    elif kept.standing.status is not status:
                        self.dirty[kept] = None  # another hub judged it until now
                case _:
                    pass

    def adopt(self, domain: DomainId, instance: Instance) -> None:
        """Keep an instance from now on, or keep it as it now is registered."""
        kept = self.population.find(domain, instance.service_name, instance.instance_id)
        if kept is None:
            kept = self.population.add(domain, instance.service_name, instance.instance_id)
        at_ms = self._clock.monotonic_ms()
        self.population.touch(domain)
        kept.owner = instance.owner
        kept.journaled = instance.status
        kept.leaving = None
        kept.silent_ms = -1.0
        kept.gap_ms = 0.0
        kept.kept_by, kept.ttl_ms, granted = self._terms(domain, instance)
        target = _target(domain, instance) if granted else None
        if target != kept.target or instance.status is not kept.standing.status:
            kept.judge(_initial(instance))
        kept.renewed_ms = at_ms
        self.leases.set(kept.lease, at_ms + kept.ttl_ms)
        self._aim(kept, target, at_ms)

    def forget(self, domain: DomainId, service: str, instance_id: str) -> None:
        """Let go of an instance that left."""
        kept = self.population.find(domain, service, instance_id)
        self._loads.drop(domain, service, instance_id)
        if kept is None:
            return
        self.leases.cancel(kept.lease)
        self._aim(kept, None, 0.0)
        self.dirty.pop(kept, None)
        self.population.remove(kept)

    # -- signs ----------------------------------------------------------------------------------

    def renew(self, kept: Kept, at_ms: float, now_ms: int) -> None:
        """Take a heartbeat: its lease starts again, and it counts as a sign of health unless probes judge it."""
        kept.gap_ms = at_ms - kept.renewed_ms
        kept.renewed_ms = at_ms
        self.renewals += 1
        kept.leaving = None
        kept.silent_ms = -1.0
        self.leases.set(kept.lease, at_ms + kept.ttl_ms)
        kept.group.last_check_ms = now_ms
        if not self.judges(kept):
            return
        standing = kept.standing
        if kept.target is None and (standing.status is not Status.HEALTHY or standing.fails or standing.protected):
            self.judge(kept, observed(standing, Sign.PASS, now_ms=now_ms, at_ms=at_ms))
        elif standing.protected or standing.reason == REASON_EXPIRED:
            # Probes judge it, and what they said last is not known any more.
            self.judge(kept, _unknown(standing, now_ms))

    def report(
        self, kept: Kept, *, load: float | None, latency_ms_p95: float | None, at_ms: float, now_ms: int
    ) -> None:
        """Take what a heartbeat says about strain."""
        if latency_ms_p95 is not None:
            kept.group.measured(latency_ms_p95)
        if not self.judges(kept):
            return
        before = kept.standing
        if (
            not before.strained
            and not before.strain
            and (load is None or load < LOAD_STRAINED)
            and (latency_ms_p95 is None or latency_ms_p95 < LATENCY_STRAINED_MS)
        ):
            return  # as the rule would find: nearly every report ends here
        standing = reported(before, load=load, latency_ms_p95=latency_ms_p95, now_ms=now_ms, at_ms=at_ms)
        if standing is not before:
            self.judge(kept, standing)

    def probed(self, kept: Kept, sign: Sign, *, latency_ms: float | None, at_ms: float, now_ms: int) -> None:
        """Take what a probe found; a pass renews an instance that probes keep."""
        passed = sign in (Sign.PASS, Sign.WARN)
        if latency_ms is not None:
            kept.group.measured(latency_ms)
        if passed and kept.kept_by != BY_HEARTBEAT:
            kept.kept_by, kept.ttl_ms = BY_PROBE, PROBE_KEPT_TTL_MS
            kept.renewed_ms = at_ms
            kept.leaving = None
            kept.silent_ms = -1.0
            self.leases.set(kept.lease, at_ms + kept.ttl_ms)
        self.judge(kept, observed(kept.standing, sign, now_ms=now_ms, at_ms=at_ms, latency_ms=latency_ms))

    def unprobeable(self, kept: Kept, now_ms: int) -> None:
        """Note that an address turned out not to be granted: heartbeats judge it, or it has an hour."""
        if kept.kept_by == BY_HEARTBEAT:
            self._aim(kept, None, 0.0)
            return
        if kept.kept_by == BY_PROBE:
            kept.kept_by, kept.ttl_ms = BY_NOTHING, UNPROBED_TTL_MS
            self.leases.set(kept.lease, kept.renewed_ms + kept.ttl_ms)
        if kept.standing.reason != REASON_NOT_GRANTED:
            self.judge(kept, msgspec.structs.replace(_unknown(kept.standing, now_ms), reason=REASON_NOT_GRANTED))

    def judge(self, kept: Kept, standing: Standing) -> None:
        """Take a standing; what differs from the journaled status is to be journaled."""
        shown = standing.protected is not kept.standing.protected
        if kept.judge(standing) or shown:
            for changed in self._changed:
                changed(kept.domain, kept.service)
        if standing.status is not kept.journaled or kept.leaving is not None:
            self.dirty[kept] = None
        else:
            self.dirty.pop(kept, None)

    # -- time -----------------------------------------------------------------------------------

    def look(self, *, limit: int) -> bool:
        """Look at the leases once; say whether there is more to do now.

        Args:
            limit: leases to touch at most.
        """
        at_ms, now_ms = self._clock.monotonic_ms(), self._clock.now_ms()
        gap_ms = at_ms - self._looked_ms
        self._looked_ms = at_ms
        if gap_ms >= PAUSE_MIN_MS:
            self.pauses += 1
            self._pauses.append((at_ms, gap_ms))
        ended, more = self.leases.advance(at_ms, limit)
        for timer in ended:
            self._ended(timer.key, at_ms, now_ms)
        return more

    def _ended(self, kept: Kept, at_ms: float, now_ms: int) -> None:
        # While the hub stood still nobody could renew: everyone who was kept then gets that time back.
        grace_ms = sum(length for end, length in self._pauses if end > kept.renewed_ms)
        until_ms = max(kept.renewed_ms, self._whole_from_ms) + kept.ttl_ms + grace_ms + self._slack_ms
        if until_ms > at_ms:
            self.leases.set(kept.lease, until_ms)
            return
        if not self._ownership.owns(WORK, kept.name):
            # Another hub judges it, or nobody can be sure to: while the store is away no hub knows what others hear.
            self.leases.set(kept.lease, at_ms + kept.ttl_ms)
            return
        if kept.silent_ms < 0:
            kept.silent_ms = at_ms
        if self._protects(kept, at_ms, now_ms):
            self.leases.set(kept.lease, at_ms + PROTECTION_RECHECK_MS)
            return
        failed = kept.kept_by == BY_PROBE
        kept.leaving = RemovalReason.PROBE_FAILED if failed else RemovalReason.LEASE_EXPIRED
        self.expired += 1
        self.judge(
            kept,
            msgspec.structs.replace(
                kept.standing,
                status=Status.UNHEALTHY,
                reason=REASON_EXPIRED if kept.kept_by == BY_HEARTBEAT else REASON_UNPROBED,
                since_ms=now_ms,
                protected=False,
                passes=0,
            ),
        )

    def _protects(self, kept: Kept, at_ms: float, now_ms: int) -> bool:
        silent_ms = at_ms - kept.silent_ms
        if kept.kept_by == BY_PROBE:
            return kept.standing.protected and silent_ms < PROTECTION_MAX_MS
        # A probe that says the same is a second opinion: then the silence is the instance's own.
        confirmed = kept.standing.fails > 0 or kept.standing.status is Status.UNHEALTHY
        if kept.kept_by != BY_HEARTBEAT or confirmed or silent_ms >= protection_ms(kept.ttl_ms):
            return False
        if not (_fell_silent(kept.group, at_ms) or _fell_silent(kept.group.domain, at_ms)):
            return False
        self.judge(kept, protected(kept.standing, REASON_MASS_SILENCE, now_ms=now_ms))
        return True

    # -- terms ------------------------------------------------------------------------------------

    def _terms(self, domain: DomainId, instance: Instance) -> tuple[str, float, bool]:
        """Return what keeps an instance, for how long at a time, and whether it is probed."""
        beats = instance.lease_ttl_s is not None
        wanted = (instance.probe or not beats) and instance.protocol not in UNPROBEABLE
        granted = wanted and self._probe.granted(domain, instance.host, instance.port)
        if instance.lease_ttl_s is not None:
            return BY_HEARTBEAT, instance.lease_ttl_s * 1_000, granted
        return (BY_PROBE, PROBE_KEPT_TTL_MS, True) if granted else (BY_NOTHING, UNPROBED_TTL_MS, False)

    @property
    def targets(self) -> int:
        """How many instances are probed."""
        return self._targets

    def terms_of(self, kept: Kept) -> LeaseTerms:
        """Return an instance's lease as a heartbeat is answered."""
        return LeaseTerms(ttl_s=kept.ttl_ms / 1_000, kept_by=kept.kept_by)

    def _aim(self, kept: Kept, target: ProbeTarget | None, at_ms: float) -> None:
        if target == kept.target:
            return
        if kept.probe is not None:
            self.probes.cancel(kept.probe)
        self._targets += (target is not None) - (kept.target is not None)
        kept.target = target
        kept.group.domain.heard(kept, None)
        if target is None:
            kept.probe = None
            return
        kept.probe = Timer(kept)
        self.schedule(kept, kept.probe, at_ms)

    def schedule(self, kept: Kept, probe: Timer[Kept], after_ms: float) -> None:
        """Set an instance's next probe: its next turn after a moment."""
        phase = phase_of(kept.domain, kept.service, kept.instance_id)
        self.probes.set(probe, next_probe_ms(after_ms, probe_interval_ms(self._targets), phase))


def _target(domain: DomainId, instance: Instance) -> ProbeTarget:
    return ProbeTarget(
        domain=domain,
        host=instance.host,
        port=instance.port,
        protocol=PROTOCOLS.get(instance.protocol, ProbeProtocol.TCP),
        path=instance.health_endpoint,
    )


def _initial(instance: Instance) -> Standing:
    if instance.status is Status.UNKNOWN:
        return UNJUDGED
    return Standing(status=instance.status, reason=instance.status_reason, since_ms=instance.status_since_ms)


def _unknown(standing: Standing, now_ms: int) -> Standing:
    return msgspec.structs.replace(
        standing, status=Status.UNKNOWN, reason="", since_ms=now_ms, protected=False, passes=0, fails=0, refusals=0
    )


def _fell_silent(group: Group | Domain, at_ms: float) -> bool:
    if group.late[0] >= 0 and at_ms - group.late[0] < LATE_REMEMBERED_MS:
        return group.late[1]
    beating = [kept for kept in group.sample() if kept.kept_by == BY_HEARTBEAT]
    late = sum(1 for kept in beating if is_late(at_ms - kept.renewed_ms, kept.gap_ms, kept.ttl_ms))
    verdict = is_mass_silence(late, len(beating))
    group.late = (at_ms, verdict)
    return verdict
