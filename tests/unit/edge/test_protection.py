"""The hub's own limits: a burst, a sustained rate, and one tenant apart from another."""

import pytest

from central_hub.edge.protection import RateProtection
from central_hub.edge.shares import BURST_S, Bucket
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId, TenantId


def _ctx(tenant: str) -> TenantContext:
    principal = Principal(id="k", kind=PrincipalKind.KEY, home=DomainId(tenant), scopes=frozenset())
    return TenantContext(principal=principal, tenant_id=TenantId(tenant), tier="free", rank=0)


def test_a_bucket_grants_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(10.0, burst_s=1.0)
    granted = sum(bucket.take(1_000.0) == 0.0 for _ in range(50))
    assert granted == 11  # ten in the burst and the one that conforms anyway
    assert bucket.take(1_000.0) == pytest.approx(100.0)
    assert bucket.take(1_100.0) == 0.0


def test_a_tenant_over_its_rate_is_refused_and_another_is_not() -> None:
    clock = ManualClock()
    protection = RateProtection(clock, reads_per_s=1.0)
    for _ in range(int(BURST_S) + 1):  # the burst, and the one that conforms anyway
        protection.admit(_ctx("a"), writes=False)
    with pytest.raises(HubError) as refused:
        protection.admit(_ctx("a"), writes=False)
    assert refused.value.kind is Kind.LIMIT
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    protection.admit(_ctx("b"), writes=False)
    protection.admit(_ctx("a"), writes=True)
    clock.advance(refused.value.retry_after_s * 1_000)
    protection.admit(_ctx("a"), writes=False)
