"""The operations table: finding, refusing ambiguity, and the names it reserves."""

import pytest

from central_hub.edge.operations import Call, Operation, Reply, Table


async def _handler(call: Call) -> Reply:
    return Reply(body={"id": call.operation.id})


def _operation(method: str, path: str, name: str = "") -> Operation:
    return Operation(
        id=name or f"{method} {path}", method=method, path=path, handler=_handler, summary="", tag="t", public=True
    )


def _table(*pairs: tuple[str, str]) -> Table:
    return Table([_operation(method, path) for method, path in pairs])


def test_a_literal_segment_wins_over_a_parameter() -> None:
    table = _table(("GET", "/services/{service_name}"), ("GET", "/services/discover"))
    found = table.find("GET", "/services/discover")
    assert found is not None
    assert found[0].path == "/services/discover"


def test_a_parameter_is_tried_when_the_literal_leads_nowhere() -> None:
    table = _table(("GET", "/services/discover"), ("GET", "/services/{service_name}/instances"))
    found = table.find("GET", "/services/discover/instances")
    assert found is not None
    assert found[1] == {"service_name": "discover"}


def test_a_trailing_slash_is_a_path_of_its_own() -> None:
    table = _table(("GET", "/services/"))
    assert table.find("GET", "/services/") is not None
    assert table.find("GET", "/services") is None


def test_an_empty_segment_never_fills_a_parameter() -> None:
    assert _table(("GET", "/tenants/{tenant_id}")).find("GET", "/tenants/") is None


def test_head_finds_get_and_other_methods_are_listed() -> None:
    table = _table(("GET", "/a"), ("POST", "/a"))
    assert table.find("HEAD", "/a") is not None
    assert table.find("PUT", "/a") is None
    assert table.methods("/a") == ("GET", "HEAD", "POST")
    assert table.methods("/b") == ()


def test_reserved_words_are_the_literals_beside_parameters() -> None:
    table = _table(
        ("POST", "/services/register"), ("GET", "/services/{service_name}"), ("GET", "/tenants/{tenant_id}/keys")
    )
    words = table.reserved_words()
    assert {"register", "shared", "platform", "global"} <= words
    assert "keys" not in words


def test_an_operation_declares_a_scope_or_is_public_never_both() -> None:
    with pytest.raises(ValueError, match="scope"):
        Operation(id="x", method="GET", path="/x", handler=_handler, summary="", tag="t")
    with pytest.raises(ValueError, match="scope"):
        Operation(id="x", method="GET", path="/x", handler=_handler, summary="", tag="t", scope="a", public=True)


def test_two_operations_may_not_share_method_and_path_or_id() -> None:
    with pytest.raises(ValueError, match="answer"):
        Table([_operation("GET", "/a/{x}", "one"), _operation("GET", "/a/{y}", "two")])
    with pytest.raises(ValueError, match="called"):
        Table([_operation("GET", "/a", "one"), _operation("GET", "/b", "one")])
