"""Templates: typed values for whole places, and nothing that could be an expression."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.configuration.merging import encoded
from central_hub.configuration.model import Template
from central_hub.configuration.templates import check_template, rendered
from central_hub.kernel.errors import HubError

START = Template(
    parameters={
        "depth": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "mode": {"type": "string", "enum": ["strict", "loose"]},
        "hosts": {"type": "array", "items": {"type": "string"}, "default": []},
    },
    document={"risk": {"depth": "${depth}", "mode": "${mode}", "hosts": ["a", "${hosts}"], "fixed": 1}},
)


def test_a_parameter_becomes_its_value_with_its_type() -> None:
    assert rendered(check_template(START), {"mode": "strict", "depth": 5}) == {
        "risk": {"depth": 5, "mode": "strict", "hosts": ["a", []], "fixed": 1}
    }
    assert rendered(START, {"mode": "loose"})["risk"]["depth"] == 3


@pytest.mark.parametrize(
    ("given_values", "code"),
    [
        ({}, "parameter_missing"),
        ({"mode": None}, "parameter_missing"),
        ({"mode": "other"}, "invalid_value"),
        ({"mode": "strict", "depth": 10}, "invalid_value"),
        ({"mode": "strict", "depth": "3"}, "invalid_value"),
        ({"mode": "strict", "dept": 3}, "unknown_key"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(given_values: dict[str, Any], code: str) -> None:
    with pytest.raises(HubError) as refused:
        rendered(START, given_values)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("parameters", "document"),
    [
        ({}, {"a": "${x}"}),
        ({"x": {"type": "string"}}, {"a": "b-${x}"}),
        ({"x": {"type": "string"}}, {"a": "${x}${x}"}),
        ({"x": {"type": "string"}}, {"a": "${x.y}"}),
        ({"x": {"type": "string"}}, {"a": "${ x }"}),
        ({"x": {"type": "string"}}, {"a": "${x"}),
        ({"x": {"type": "string"}}, {"a": "nothing"}),
        ({"x": {}}, {"a": "${x}"}),
        ({"x": {"type": "string", "pattern": "(?=a)"}}, {"a": "${x}"}),
        ({"x": {"type": "integer", "default": "one"}}, {"a": "${x}"}),
        ({"x": {"type": "integer"}}, {"a": "${x}", "$secret": 1}),
    ],
)
def test_a_template_that_is_more_than_values_is_refused(parameters: dict[str, Any], document: dict[str, Any]) -> None:
    with pytest.raises(HubError) as refused:
        check_template(Template(parameters=parameters, document=document))
    assert refused.value.code == "invalid_template"


@given(st.text(max_size=30))
def test_a_value_is_never_read_again(text: str) -> None:
    template = Template(parameters={"x": {"type": "string"}}, document={"a": "${x}", "b": ["${x}"]})
    assert encoded(rendered(template, {"x": text})) == encoded({"a": text, "b": [text]})
    assert rendered(template, {"x": "${x}"}) == {"a": "${x}", "b": ["${x}"]}
