"""What every OpenFeature provider is asked, and what it has to answer: flags, contexts, expectations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

Json = Any

ON_OFF: Final = {"on": True, "off": False}
VALUES: Final[dict[str, dict[str, Json]]] = {
    "boolean": {"low": False, "high": True},
    "string": {"low": "", "high": 'grün ✓ "quoted"'},
    "integer": {"low": -3, "high": 9_007_199_254_740_991},
    "number": {"low": 1.0, "high": 2.5},
    "object": {"low": {}, "high": {"a": [1, 2.5, None, {"b": True}], "c": "ä"}},
}
CODE_DEFAULTS: Final[dict[str, Json]] = {
    "boolean": False, "string": "code", "integer": 7, "number": 7.5, "object": {"code": True},
}  # fmt: skip
SEGMENTS: Final[dict[str, Json]] = {
    "listed": {"keys": ["vip"]},
    "adults": {"conditions": [{"attribute": "age", "operator": "gte", "values": [18]}]},
    "insiders": {"conditions": [
        {"attribute": "email", "operator": "ends_with", "values": ["@example.com"]},
        {"attribute": "groups", "operator": "contains", "values": ["staff"]},
    ]},
    "abroad": {"conditions": [{"attribute": "country", "operator": "not_in", "values": ["DE", "FR"]}]},
    "liars": {"conditions": [{"attribute": "tenant_id", "operator": "in", "values": ["globex"]}]},
    "whales": {"conditions": [{"attribute": "tier", "operator": "in", "values": ["enterprise"]}]},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One question: a flag, asked as a type with the code's default, in a context."""

    key: str
    type: str
    value: Json
    reason: str
    variant: str | None = None
    context: dict[str, Json] = field(default_factory=dict[str, Json])
    error: str | None = None

    @property
    def name(self) -> str:
        """How the test is called."""
        told = ",".join(f"{name}={value}" for name, value in self.context.items())
        return f"{self.key}-as-{self.type}-{told}"


def flags() -> dict[str, Json]:
    """Return every flag's definition by key."""
    made: dict[str, Json] = {}
    for kind, variants in VALUES.items():
        plain = {"type": kind, "variants": variants, "default": "low"}
        made |= {
            f"{kind}.plain": plain,
            f"{kind}.high": plain | {"default": "high"},
            f"{kind}.disabled": plain | {"state": "disabled", "rules": [{"variant": "high"}]},
            f"{kind}.mine": plain | {"rules": [{"variant": "high", "tenants": ["acme"]}]},
            f"{kind}.theirs": plain | {"rules": [{"variant": "high", "tenants": ["globex"]}]},
            f"{kind}.overridden": plain,
            f"{kind}.half": plain | {"rules": [{"variant": "high", "percentage": 50}]},
            f"{kind}.adults": plain | {"rules": [{"variant": "high", "segments": ["adults"]}]},
        }
    boolean = {"type": "boolean", "variants": ON_OFF, "default": "off"}
    for name, rules in {
        "pro": [{"variant": "on", "tiers": ["pro"]}],
        "enterprise": [{"variant": "on", "tiers": ["enterprise"]}],
        "staging": [{"variant": "on", "environments": ["staging"]}],
        "production": [{"variant": "on", "environments": ["production"]}],
        "vips": [{"variant": "on", "segments": ["listed"]}],
        "insiders": [{"variant": "on", "segments": ["insiders"]}],
        "abroad": [{"variant": "on", "segments": ["abroad"]}],
        "lies": [{"variant": "on", "segments": ["liars", "whales"]}],
        "everyone": [{"variant": "on", "percentage": 100}],
        "nobody": [{"variant": "on", "percentage": 0}],
        "first-wins": [{"variant": "off", "segments": ["adults"]}, {"variant": "on"}],
    }.items():
        made[name] = boolean | {"rules": rules}
    made["hidden"] = boolean | {"only_tenants": ["globex"]}
    made["archived"] = boolean | {"state": "archived"}
    return made


def cases() -> list[Case]:
    """Return what is asked of acme, a pro tenant, with a key of staging."""
    return [*_of_types(), *_of_mismatches(), *_of_targeting(), *_of_entitlements(), *_of_missing()]


def _of_types() -> list[Case]:
    made: list[Case] = []
    for kind, variants in VALUES.items():
        low, high = variants["low"], variants["high"]
        made += [
            Case(f"{kind}.plain", kind, low, "STATIC", "low"),
            Case(f"{kind}.high", kind, high, "STATIC", "high", {"targetingKey": "u"}),
            Case(f"{kind}.disabled", kind, low, "DISABLED", "low"),
            Case(f"{kind}.mine", kind, high, "TARGETING_MATCH", "high"),
            Case(f"{kind}.theirs", kind, low, "STATIC", "low"),
            Case(f"{kind}.overridden", kind, high, "TARGETING_MATCH", "high"),
            Case(f"{kind}.half", kind, high, "SPLIT", "high", {"targetingKey": place_of(kind, inside=True)}),
            Case(f"{kind}.half", kind, low, "SPLIT", "low", {"targetingKey": place_of(kind, inside=False)}),
            Case(f"{kind}.half", kind, CODE_DEFAULTS[kind], "ERROR", error="TARGETING_KEY_MISSING"),
            Case(f"{kind}.adults", kind, high, "TARGETING_MATCH", "high", {"age": 18}),
            Case(f"{kind}.adults", kind, low, "UNKNOWN", "low", {"age": 17}),
            Case(f"{kind}.adults", kind, low, "UNKNOWN", "low"),
        ]
    return made


def _of_mismatches() -> list[Case]:
    return [
        Case(f"{kind}.plain", asked, CODE_DEFAULTS[asked], "ERROR", error="TYPE_MISMATCH")
        for kind in VALUES
        for asked in VALUES
        if asked != kind
    ]


def _of_targeting() -> list[Case]:
    def on(key: str, reason: str = "TARGETING_MATCH", **context: Json) -> Case:
        return Case(key, "boolean", True, reason, "on", context)

    def off(key: str, reason: str = "UNKNOWN", **context: Json) -> Case:
        return Case(key, "boolean", False, reason, "off", context)

    return [
        on("pro"), off("enterprise", "STATIC"), on("staging"), off("production", "STATIC"),
        on("vips", targetingKey="vip"), off("vips", targetingKey="someone"),
        on("insiders", email="me@example.com", groups=["staff", "x"]), off("insiders", email="me@example.com"),
        off("insiders", groups=["staff"]), off("insiders", email="me@example.com.evil", groups=["staff"]),
        on("abroad", country="US"), off("abroad", country="DE"), off("abroad"),
        off("lies", tenant_id="globex"), off("lies", tier="enterprise"), off("lies", environment="production"),
        on("everyone", "SPLIT", targetingKey="anyone"), off("nobody", "SPLIT", targetingKey="anyone"),
        off("first-wins", "TARGETING_MATCH", age=40), on("first-wins", age=4),
        Case("vips", "boolean", False, "ERROR", error="TARGETING_KEY_MISSING"),
        Case("everyone", "boolean", False, "ERROR", error="TARGETING_KEY_MISSING", context={"age": 4}),
    ]  # fmt: skip


def _of_entitlements() -> list[Case]:
    return [
        Case("advanced_ai", "boolean", True, "TARGETING_MATCH", "granted"),
        Case("basic_analytics", "boolean", True, "TARGETING_MATCH", "granted", {"targetingKey": "u"}),
        Case("custom_models", "boolean", False, "TARGETING_MATCH", "denied"),
        Case("custom_models", "boolean", False, "TARGETING_MATCH", "denied", {"tier": "enterprise"}),
        Case("advanced_ai", "string", "code", "ERROR", error="TYPE_MISMATCH"),
    ]


def _of_missing() -> list[Case]:
    return [
        Case(key, kind, CODE_DEFAULTS[kind], "ERROR", error="FLAG_NOT_FOUND")
        for key, kind in (
            ("nothing", "boolean"), ("hidden", "boolean"), ("archived", "boolean"), ("Boolean.plain", "boolean"),
            ("nothing", "string"), ("x" * 200, "integer"), ("nothing", "number"), ("nothing", "object"),
            ("boolean.plain.", "boolean"),
        )
    ]  # fmt: skip


def place_of(kind: str, *, inside: bool) -> str:
    """Return a subject that half of a flag's subjects include, or one that they do not; written down, not computed."""
    return INSIDE[kind] if inside else OUTSIDE[kind]


INSIDE: Final = {"boolean": "u3", "string": "u6", "integer": "u0", "number": "u2", "object": "u0"}
OUTSIDE: Final = {"boolean": "u0", "string": "u0", "integer": "u2", "number": "u0", "object": "u4"}
