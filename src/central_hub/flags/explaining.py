"""Why a flag says what it says: each step in order, whether it decided, and what it turned on. Pure.

The operator sees every rule. A tenant sees the rules that can hold for it, by their place among those: rules
that name other tenants, and how many of them there are, are not its to know.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from central_hub.flags.conditions import Attributes, all_hold
from central_hub.flags.evaluation import Asker, applies
from central_hub.flags.model import Definition, Override, Rule, Segment, State
from central_hub.flags.preparing import PLACES, TARGETING_KEY, Reason, concerns, place, places_of

SegmentOf = Callable[[str], Segment | None]


class ExplainedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step: what was asked, whether it decided, and why (not)."""

    step: str
    decided: bool
    because: str
    rule: int | None = None
    name: str = ""
    variant: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer with the way to it; `reason` DEFAULT reads UNKNOWN over OFREP, `place` is of 100."""

    key: str
    tenant_id: str
    tier: str
    environment: str
    variant: str
    value: object
    reason: str
    steps: list[ExplainedStep]
    place: float | None = None
    error: str = ""


class _Verdict(msgspec.Struct, frozen=True):
    """Whether a rule held, None when that cannot be told; `left_out` when a percentage stopped it."""

    held: bool | None
    because: str
    left_out: bool = False


class Walk:
    """One walk along a flag's rules, as evaluation goes.

    Args:
        flag: the definition, visible to the asker.
        segment_of: segments by name.
        asker: for whom.
        context: with the hub's own attributes.
    """

    def __init__(self, flag: Definition, segment_of: SegmentOf, asker: Asker, context: Attributes) -> None:
        self._flag = flag
        self._segment_of = segment_of
        self._asker = asker
        self._context = context
        self._subject = context.get(TARGETING_KEY)
        self._place = place(flag.key, self._subject) if self._subject else None
        self._steps: list[ExplainedStep] = []

    def explain(self, override: Override | None, *, whole: bool) -> Explanation:
        """Say what a flag answers and why.

        Args:
            override: the tenant's own.
            whole: whether rules that cannot hold for this tenant are shown too (the operator).
        """
        flag = self._flag
        if flag.state is not State.ENABLED:
            self._note("state", "the flag is not enabled: everyone gets its default", variant=flag.default)
            return self._told(flag.default, Reason.DISABLED)
        if override is not None and self._overridden(override):
            return self._told(override.variant, Reason.TARGETING_MATCH)
        return self._along_rules(whole=whole)

    def _overridden(self, override: Override) -> bool:
        decided = applies(override, self._flag, self._asker.environment)
        if decided:
            because = "the tenant has a variant of its own"
        elif override.variant not in self._flag.variants:
            because = "the tenant's override names a variant that the flag no longer has"
        else:
            because = "the tenant's override is for another environment"
        self._note("override", because, decided=decided, variant=override.variant)
        return decided

    def _along_rules(self, *, whole: bool) -> Explanation:
        flag, asker = self._flag, self._asker
        shown, concerned, left_out = 0, False, False
        for number, rule in enumerate(flag.rules, start=1):
            mine = concerns(rule, tenant_id=asker.domain, tier=asker.tier, environment=asker.environment)
            if not mine and not whole:
                continue
            shown += 1
            verdict = self._verdict(rule) if mine else _Verdict(False, self._unconcerned(rule))
            self._note(
                "rule", verdict.because, decided=bool(verdict.held), rule=number if whole else shown,
                name=rule.name if whole else "", variant=rule.variant,
            )  # fmt: skip
            if verdict.held is None:
                return self._told(flag.default, Reason.ERROR, error="TARGETING_KEY_MISSING")
            if verdict.held:
                return self._told(rule.variant, Reason.TARGETING_MATCH if rule.percentage is None else Reason.SPLIT)
            concerned = concerned or mine
            left_out = left_out or verdict.left_out
        self._note("default", "no rule held" if concerned else "no rule is about this tenant", variant=flag.default)
        return self._told(flag.default, Reason.SPLIT if left_out else Reason.DEFAULT if concerned else Reason.STATIC)

    def _verdict(self, rule: Rule) -> _Verdict:
        if rule.segments:
            segments = [one for one in map(self._segment_of, rule.segments) if one is not None]
            if not any(self._is_in(segment) for segment in segments):
                if not self._subject and any(segment.keys for segment in segments):
                    return _Verdict(None, "its segment lists targeting keys, and the context has none")
                return _Verdict(False, "the context is in none of its segments")
        if rule.percentage is None:
            return _Verdict(True, "everything it names holds")
        if self._place is None:
            return _Verdict(None, "it is for a percentage, and the context has no targeting key")
        inside = self._place < places_of(rule.percentage)
        at = self._place * 100 / PLACES
        because = f"the subject's place is {at:.3f} of 100, and the rule covers the first {rule.percentage:g}"
        return _Verdict(inside, because, left_out=not inside)

    def _is_in(self, segment: Segment) -> bool:
        holds = all_hold(segment)
        return self._subject in segment.keys or (holds is not None and holds(self._context))

    def _unconcerned(self, rule: Rule) -> str:
        if rule.tenants and self._asker.domain not in rule.tenants:
            return "it names other tenants"
        if rule.tiers and self._asker.tier not in rule.tiers:
            return "it names other tiers"
        return "it names other environments"

    def _note(
        self,
        step: str,
        because: str,
        *,
        decided: bool = True,
        rule: int | None = None,
        name: str = "",
        variant: str = "",
    ) -> None:
        self._steps.append(
            ExplainedStep(step=step, decided=decided, because=because, rule=rule, name=name, variant=variant)
        )

    def _told(self, variant: str, reason: str, *, error: str = "") -> Explanation:
        return Explanation(
            key=self._flag.key, tenant_id=self._asker.domain, tier=self._asker.tier,
            environment=self._asker.environment, variant=variant, value=self._flag.variants[variant], reason=reason,
            steps=self._steps, place=None if self._place is None else self._place * 100 / PLACES, error=error,
        )  # fmt: skip
