"""Offerings as a caller sees them, by page."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.routing.deciding import Router
from central_hub.routing.schemas import Offered, OfferingsAnswer, OfferingsPage
from central_hub.routing.table import rows_in

SEPARATOR: Final = "/"


def page_of(router: Router, ctx: TenantContext, page: OfferingsPage) -> OfferingsAnswer:
    """Return up to `limit` offerings after the cursor, in order of service, instance and id."""
    found: list[tuple[tuple[str, str, str], Offered]] = []
    services = (page.service,) if page.service else ()
    for offered in router.reachable(ctx):
        table, fleet = offered.table, offered.fleet
        seen = router.visible(ctx, offered, services)
        for field, word in (("task", page.task), ("model", page.model)):
            if word is not None:
                seen &= table.bits(field, word)
        for place, row in zip(rows_in(seen).tolist(), table.at(rows_in(seen)), strict=True):
            key = (row.service, row.instance_id, row.offering.id)
            if page.cursor is None or SEPARATOR.join(key) > page.cursor:
                model = fleet.models[row.kind]
                shown = Offered(
                    service_name=row.service, instance_id=row.instance_id, endpoint=row.endpoint,
                    takes_work=not table.out >> place & 1,
                    offering={
                        name: value
                        for name, value in msgspec.to_builtins(row.offering).items()
                        if name != "entitlement"
                    },
                    outcomes=model.samples,
                    typical_ms=round(model.mean_s * 1_000, 3) if fleet.known[row.kind] else None,
                )  # fmt: skip
                found.append((key, shown))
    found.sort(key=lambda one: SEPARATOR.join(one[0]))
    more = SEPARATOR.join(found[page.limit - 1][0]) if len(found) > page.limit else None
    return OfferingsAnswer(offerings=[one for _, one in found[: page.limit]], next_cursor=more)
