"""Probes that the hub leases to a process: who needs them, and that none is made twice."""

from __future__ import annotations

from central_hub.breakers.leases import Leases


def test_a_verdict_of_one_tenant_governs_that_tenants_probes_only() -> None:
    leases = Leases()
    assert leases.is_empty
    leases.tenants.add("acme")
    assert (leases.is_empty, leases.govern("acme", 1.0), leases.govern("globex", 1.0)) == (False, True, False)
    leases.everyone = True
    assert leases.govern("globex", 1.0)
    leases.end(None)
    assert (leases.govern("acme", 1.0), leases.govern("globex", 1.0)) == (True, False)
    leases.end("acme")
    assert leases.is_empty


def test_while_the_hub_is_away_local_rules_hold() -> None:
    leases = Leases()
    leases.everyone = True
    leases.local_until_s = 5.0
    assert [leases.govern("acme", at_s) for at_s in (4.9, 5.0)] == [False, True]


def test_each_probe_is_made_once_and_in_time() -> None:
    leases = Leases()
    leases.everyone = True
    assert not leases.take("acme", 1.0)
    assert leases.wanted == {"acme"}
    leases.grant("acme", 2, 11.0, again_s=0.0)
    assert leases.wanted == set()
    assert not leases.take("globex", 1.0)
    assert [leases.take("acme", at_s) for at_s in (1.0, 10.9, 10.9)] == [True, True, False]
    leases.grant("acme", 1, 11.0, again_s=0.0)
    assert not leases.take("acme", 11.0), "too late"


def test_asking_again_waits_until_it_makes_sense() -> None:
    leases = Leases()
    assert leases.may_ask("acme", 1.0)
    leases.grant("acme", 0, 0.0, again_s=3.0)
    assert [leases.may_ask("acme", at_s) for at_s in (2.9, 3.0)] == [False, True]


def test_what_was_granted_ends_with_the_verdict() -> None:
    leases = Leases()
    leases.tenants.add("acme")
    leases.grant("acme", 1, 100.0, again_s=0.0)
    leases.end("acme")
    leases.tenants.add("acme")
    assert not leases.take("acme", 1.0)
