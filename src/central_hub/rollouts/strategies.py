"""From the strategies that people name to the stages that a rollout goes through. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.rollouts.model import Gates, Stage
from central_hub.rollouts.rules import EVERYONE, invalid
from central_hub.rollouts.schemas import GatesBody, Strategy

CANARY_PERCENT: Final = 10.0
LINEAR_STEPS: Final = 4


def stages_of(strategy: Strategy) -> tuple[Stage, ...]:
    """Return the stages of a strategy.

    Raises:
        HubError: `invalid_rollout` (422).
    """
    named = bool(strategy.instances or strategy.tenants or strategy.tiers)
    _check_members(strategy, named=named)
    everyone = Stage(percent=EVERYONE, bake_s=strategy.bake_s)
    match strategy.kind:
        case "all_at_once":
            return (everyone,)
        case "linear":
            steps = strategy.steps or LINEAR_STEPS
            return tuple(Stage(percent=EVERYONE * step / steps, bake_s=strategy.bake_s) for step in range(1, steps + 1))
        case "canary":
            share = strategy.percent if strategy.percent is not None else 0.0 if named else CANARY_PERCENT
            first = Stage(
                percent=share, instances=strategy.instances, tenants=strategy.tenants, tiers=strategy.tiers,
                bake_s=strategy.bake_s,
            )  # fmt: skip
            return (first, everyone)
        case "stages":
            return tuple(
                Stage(
                    percent=each.percent, instances=each.instances, tenants=each.tenants, tiers=each.tiers,
                    bake_s=strategy.bake_s if each.bake_s is None else each.bake_s,
                )
                for each in strategy.stages
            )  # fmt: skip


def gates_of(gates: GatesBody) -> Gates:
    """Return the gates that a body describes."""
    return Gates(**msgspec.structs.asdict(gates))


def _check_members(strategy: Strategy, *, named: bool) -> None:
    """Refuse a member that the kind has no use for, rather than leave it out in silence."""
    allowed = {
        "all_at_once": frozenset[str](),
        "linear": frozenset({"steps"}),
        "canary": frozenset({"share"}),
        "stages": frozenset({"stages"}),
    }[strategy.kind]
    given = {
        "steps": strategy.steps is not None,
        "share": named or strategy.percent is not None,
        "stages": bool(strategy.stages),
    }
    for member, is_given in given.items():
        if is_given and member not in allowed:
            words = "percent, instances, tenants or tiers" if member == "share" else member
            raise invalid(f"a strategy of the kind '{strategy.kind}' takes no {words}")
