"""What one process makes of the hub's verdicts, and what it reports; without a hub, with a clock that a test turns."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.breakers.model import State
from central_hub.sdk.circuits import BreakerOpen, Circuits
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import HubProtocol
from central_hub.sdk.sharing import GRACE_S, Verdict


class Process:
    """The breakers of one process of acme."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        link = HubLink(HubProtocol("http://127.0.0.1:1", tenant_id="acme", mint=lambda: "m"))
        self.circuits = Circuits(link, "acme", now_s=lambda: self.now_s)

    def told(self, state: str, *, of: str = "tenant", left_s: float = 0.0, route_class: str = "") -> None:
        verdict = Verdict("risk", route_class, of, state, "failures", int(left_s * 1_000), 6, 6)
        self.circuits.sharing.told("breaker", msgspec.json.encode(verdict))

    def all_told(self, *verdicts: Verdict) -> None:
        self.circuits.sharing.told("breakers", msgspec.json.encode({"breakers": verdicts}))

    def call(self, tenant: str = "acme", *, ok: bool = True) -> str:
        try:
            breaker, permit = self.circuits.enter("risk", "", tenant)
        except BreakerOpen as refused:
            return refused.circuit.state
        self.circuits.answered(breaker, permit, self.now_s, 200 if ok else 500)
        return "made"

    def leased(self, tenant: str, count: int) -> None:
        leases = self.circuits._table.pool("risk", "").leases
        assert leases is not None
        leases.grant(tenant, count, self.now_s + 10, again_s=0.0)


def test_a_verdict_of_the_tenants_opens_its_breaker_and_no_others() -> None:
    process = Process()
    assert process.call() == "made"
    process.told("OPEN", left_s=5)
    assert process.circuits.state("risk", "acme", None) == "OPEN"
    assert (process.call(), process.call("globex")) == ("OPEN", "made")
    (circuit,) = process.circuits.circuits("acme")
    assert (circuit.reason, circuit.evidence.failures) == ("shared", 6)
    process.told("CLOSED")
    assert process.call() == "made"
    assert process.circuits._table.pool("risk", "").leases is None


def test_when_its_time_is_over_only_leased_probes_are_made() -> None:
    process = Process()
    process.told("OPEN", left_s=5)
    process.now_s += 5
    assert [process.call() for _ in range(3)] == ["HALF_OPEN"] * 3
    process.leased("acme", 2)
    assert [process.call() for _ in range(3)] == ["made", "made", "HALF_OPEN"]
    process.told("CLOSED")
    assert process.call() == "made"


def test_a_tenant_that_rarely_calls_is_protected_by_what_holds_for_everyone() -> None:
    process = Process()
    process.told("OPEN", of="everyone", left_s=10)
    assert process.circuits.state("risk", "acme", None) == "OPEN", "before it has called at all"
    assert (process.call(), process.call("globex")) == ("OPEN", "OPEN")
    process.now_s += 10
    assert process.circuits.state("risk", "acme", None) == "HALF_OPEN"
    assert process.call("initech") == "HALF_OPEN", "nobody tries without leave, who calls for the first time neither"
    process.leased("initech", 1)
    assert process.call("initech") == "made"
    process.told("CLOSED", of="everyone")
    assert [process.call(tenant) for tenant in ("acme", "globex", "initech")] == ["made"] * 3


def test_who_was_just_answered_goes_on_whatever_holds_for_everyone() -> None:
    process = Process()
    assert process.call() == "made"
    process.told("OPEN", of="everyone", left_s=10)
    assert (process.call(), process.call("globex")) == ("made", "OPEN")


def test_a_verdict_that_nothing_more_is_heard_of_is_not_believed_for_ever() -> None:
    process = Process()
    process.told("OPEN", of="everyone", left_s=10)
    process.now_s += 10 + GRACE_S
    assert process.call() == "made"


def test_while_the_hub_is_away_probes_are_local() -> None:
    process = Process()
    process.told("OPEN", left_s=5)
    process.now_s += 5
    assert process.call() == "HALF_OPEN"
    leases = process.circuits._table.pool("risk", "").leases
    assert leases is not None
    leases.local_until_s = process.now_s + 5
    assert [process.call() for _ in range(5)] == ["made"] * 5
    assert process.circuits.state("risk", "acme", None) == "CLOSED"


def test_a_stream_that_begins_anew_puts_right_what_was_missed() -> None:
    process = Process()
    process.told("OPEN", left_s=50)
    process.told("OPEN", of="everyone", left_s=50)
    process.all_told(Verdict("risk", "", "everyone", "OPEN", "endpoint", 50_000))
    assert process.call() == "OPEN"
    process.all_told()
    assert process.call() == "made"
    process.all_told(Verdict("risk", "", "tenant", "OPEN", "failures", 50_000))
    assert process.call() == "OPEN"


def test_what_somebody_forced_stays() -> None:
    process = Process()
    process.circuits.force("risk", State.DISABLED, "", "acme")
    process.told("OPEN", left_s=5)
    assert process.call() == "made"
    process.circuits.force("risk", State.FORCED_OPEN, "", "acme")
    process.told("CLOSED")
    assert process.call() == "OPEN"


def test_a_policy_that_shares_nothing_takes_no_notice() -> None:
    process = Process()
    process.circuits.tune("risk", None, {"shares": False})
    process.told("OPEN", left_s=5)
    assert process.call() == "made"


def test_what_is_no_verdict_is_said() -> None:
    with pytest.raises(msgspec.DecodeError):
        Process().circuits.sharing.told("breaker", b'{"service": 1}')


async def test_answers_of_before_the_first_failure_are_told_with_their_age() -> None:
    process = Process()
    sharing = process.circuits.sharing
    sharing.open()
    try:
        for ok in (True, True, False, True, False):
            process.now_s += 1
            process.call(ok=ok)
        (tally,) = sharing._tallies.values()
        before, since = tally.rows(process.now_s + 1)
        assert before == {"calls": 2, "age_ms": 4_000}
        assert since == {"calls": 3, "failures": 2, "slow": 0}
    finally:
        await sharing.close()
