"""Names, ids and positions."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.clock import ManualClock, rfc3339
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import check_instance_id, check_name, uuid7
from central_hub.kernel.seq import HubSeq, StreamId, parse_stream_id


@pytest.mark.parametrize("name", ["a", "risk-management", "company_abc", "0", "a" * 63])
def test_a_good_name_passes(name: str) -> None:
    assert check_name(name, "service") == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "a b", "a" * 64, "a.b", "a\n", "é"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(HubError, match="invalid_name"):
        check_name(name, "service")


@pytest.mark.parametrize("name", ["shared", "platform", "global", "hub", "hub-1", "hubert"])
def test_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(HubError, match="reserved_name"):
        check_name(name, "tenant")


@pytest.mark.parametrize("text", ["", "a/b", "a" * 129, "a\n", "-a", "a b"])
def test_a_bad_instance_id_is_refused(text: str) -> None:
    with pytest.raises(HubError, match="invalid_instance_id"):
        check_instance_id(text)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ids_are_uuids_of_version_seven_that_carry_their_time(now_ms: int, random: bytes) -> None:
    parsed = uuid.UUID(uuid7(now_ms, random))
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == now_ms


def test_newer_ids_sort_after_older_ones() -> None:
    assert uuid7(1, b"\xff" * 10) < uuid7(2, bytes(10))


@given(st.integers(0, 10**17), st.integers(0, 10**17), st.integers(0, 10**17))
def test_a_stream_id_reads_back(tenant: int, shared: int, epoch: int) -> None:
    position = StreamId(HubSeq("abc", tenant, shared), epoch)
    assert parse_stream_id(position.format()) == position


@given(st.text(max_size=120))
def test_a_foreign_stream_id_is_refused_or_parsed_never_a_crash(text: str) -> None:
    try:
        code = parse_stream_id(text) and "parsed"
    except HubError as error:
        code = error.code
    assert code in ("parsed", "invalid_position")


def test_times_are_rfc3339_in_utc_to_the_millisecond() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_705_746_600_123) == "2024-01-20T10:30:00.123Z"


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(now_ms=5, monotonic_ms=1.0)
    clock.advance(10)
    clock.jump_wall(-100)
    assert (clock.now_ms(), clock.monotonic_ms()) == (-85, 11.0)
