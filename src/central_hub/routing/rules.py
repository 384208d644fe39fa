"""Decisions about offerings: which may be declared, and for whom one is. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Final

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.routing.model import (
    CONCURRENCY_MAX,
    MS_MAX,
    OFFERINGS_PER_DOMAIN_MAX,
    OFFERINGS_PER_INSTANCE_MAX,
    PRICE_MAX,
    QUALITIES_MAX,
    TENANTS_PER_OFFERING_MAX,
    UNITS_MAX,
    WORD_PATTERN,
    WORDS_MAX,
    Offering,
)

_WORD: Final = re.compile(WORD_PATTERN[:-1] + r"\Z")


def check_offerings(
    offerings: Sequence[Offering], *, shared: bool, rank_of: Callable[[str], int | None], features: Sequence[str]
) -> None:
    """Refuse offerings that cannot be declared.

    Args:
        offerings: all of an instance's.
        shared: whether its service is seen by all tenants; only then is one for some of them.
        rank_of: the rank of a tier, None for an unknown one.
        features: what plans know.

    Raises:
        HubError: `invalid_offering`, `unknown_tier`, `unknown_feature` (422).
    """
    if not 0 < len(offerings) <= OFFERINGS_PER_INSTANCE_MAX:
        raise _invalid(f"an instance has 1 to {OFFERINGS_PER_INSTANCE_MAX} offerings", "offerings")
    seen: set[str] = set()
    for offering in offerings:
        if offering.id in seen:
            raise _invalid(f"two of them have the id '{offering.id}'", "id")
        seen.add(offering.id)
        _check_words(offering)
        _check_numbers(offering)
        _check_entitlement(offering, shared=shared, rank_of=rank_of, features=features)


def room_for(count: int, added: int) -> None:
    """Refuse more offerings than a domain may have.

    Raises:
        HubError: `limit_reached` (429).
    """
    if count + added > OFFERINGS_PER_DOMAIN_MAX:
        raise HubError(
            "limit_reached", Kind.LIMIT, f"There are {OFFERINGS_PER_DOMAIN_MAX:,} offerings, which is the limit.",
            next_step="Withdraw offerings that are not needed.", retry_after_s=60,
            fields={"limit": OFFERINGS_PER_DOMAIN_MAX},
        )  # fmt: skip


def _check_words(offering: Offering) -> None:
    single = (("id", offering.id), ("model", offering.model), ("task", offering.task))
    optional = (
        ("version", offering.version), ("hardware", offering.hardware), ("precision", offering.precision),
        ("region", offering.region),
    )  # fmt: skip
    lists = (
        ("inputs", offering.inputs), ("outputs", offering.outputs), ("features", offering.features),
        ("data_sizes", offering.data_sizes),
    )  # fmt: skip
    for field, word in (*single, *((name, word) for name, word in optional if word)):
        if not _WORD.match(word):
            raise _invalid(f"'{field}' is a word of at most 128 characters that begins with a letter or digit", field)
    for field, words in lists:
        if len(words) > WORDS_MAX or not all(_WORD.match(word) for word in words):
            raise _invalid(f"'{field}' is at most {WORDS_MAX} words", field)


def _check_numbers(offering: Offering) -> None:
    for field, number, most in (
        ("input_max", offering.input_max, UNITS_MAX),
        ("output_max", offering.output_max, UNITS_MAX),
        ("concurrency", offering.concurrency, CONCURRENCY_MAX),
    ):
        if number is not None and not 1 <= number <= most:
            raise _invalid(f"'{field}' is from 1 to {most:,g}", field)
    if len(offering.quality) > QUALITIES_MAX:
        raise _invalid(f"an offering has at most {QUALITIES_MAX} qualities", "quality")
    for quality in offering.quality:
        if not _WORD.match(quality.metric) or not math.isfinite(quality.value):
            raise _invalid("a quality has a metric and a finite value", "quality")
    if offering.cost is not None:
        for price in (offering.cost.per_request, offering.cost.per_input, offering.cost.per_output):
            if not 0.0 <= price <= PRICE_MAX:
                raise _invalid(f"a price is from 0 to {PRICE_MAX:,g}", "cost")
    if offering.latency_ms is not None and not (
        0.0 < offering.latency_ms.p50 <= MS_MAX and 0.0 <= offering.latency_ms.p99 <= MS_MAX
    ):
        raise _invalid("'latency_ms' is above 0", "latency_ms")


def _check_entitlement(
    offering: Offering, *, shared: bool, rank_of: Callable[[str], int | None], features: Sequence[str]
) -> None:
    asked = offering.entitlement
    if asked is None:
        return
    if (asked.tenants or asked.denied) and not shared:
        raise _invalid("a tenant's own service is for that tenant alone, so it names no tenants", "entitlement")
    if len(asked.tenants) > TENANTS_PER_OFFERING_MAX or len(asked.denied) > TENANTS_PER_OFFERING_MAX:
        raise _invalid(f"an offering names at most {TENANTS_PER_OFFERING_MAX} tenants", "entitlement")
    if not all(is_name(one) for one in (*asked.tenants, *asked.denied)):
        raise _invalid("'tenants' and 'denied' are ids of tenants", "entitlement")
    if len(asked.tiers) > WORDS_MAX or len(asked.features) > WORDS_MAX:
        raise _invalid(f"an offering asks for at most {WORDS_MAX} tiers and features", "entitlement")
    for tier in asked.tiers:
        if rank_of(tier) is None:
            raise HubError(
                "unknown_tier", Kind.MALFORMED, f"There is no tier '{tier[:64]}'.",
                next_step="List the plans with GET /plans.", fields={"field": "entitlement.tiers"},
            )  # fmt: skip
    for feature in asked.features:
        if feature not in features:
            raise HubError(
                "unknown_feature", Kind.MALFORMED, f"No plan knows the feature '{feature[:64]}'.",
                next_step="List the plans with GET /plans.", fields={"field": "entitlement.features"},
            )  # fmt: skip


def _invalid(reason: str, field: str) -> HubError:
    return HubError(
        "invalid_offering", Kind.MALFORMED, f"The offerings are refused: {reason}.",
        next_step="Correct the offering and declare all of the instance's again.", fields={"field": field},
    )  # fmt: skip
