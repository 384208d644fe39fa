"""Documents that describe what this hub offers, served as they are checked in below `contracts/`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from central_hub.edge.operations import Call, Operation, Reply


def served(text: Callable[[], str], *, operation: str, path: str, summary: str) -> Operation:
    """Return the row that serves a document; public, since what there is to ask for is no secret.

    Args:
        text: makes it; asked in a thread, at the first request only.
        operation: the row's id.
        path: where the document is.
        summary: of the row.
    """
    kept: list[bytes] = []

    async def get_document(call: Call) -> Reply:
        if not kept:
            kept.append((await asyncio.to_thread(text)).encode())
        return Reply(kept[0])

    return Operation(
        id=operation, method="GET", path=path, handler=get_document, answer=dict[str, object], summary=summary,
        tag="contracts", public=True,
    )  # fmt: skip
