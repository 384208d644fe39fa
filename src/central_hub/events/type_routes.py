"""The routes of types of events: the hub's, those that services report, and those that a tenant describes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.events.contract import SCHEMA_PATH, example_of
from central_hub.events.contract import schema_of as schema_of_kind
from central_hub.events.describing import OwnTypes, Wanted, schema_of
from central_hub.events.model import SCHEMA_BYTES_MAX, SCOPE_ADMIN, SCOPE_READ, TypeVersion
from central_hub.events.schemas import (
    DescribedAnswer,
    EventPolicy,
    EventTypeAnswer,
    EventTypeBody,
    EventTypeList,
    EventTypeQuery,
    EventTypeShown,
    Teller,
    TypeVersionAnswer,
    TypeVersionList,
    VersionQuery,
)
from central_hub.kernel.clock import rfc3339
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import EventType, EventTypes, ReportedType

TAG: Final = "events"
SCHEMA_MEDIA_TYPE: Final = "application/schema+json"
BODY_BYTES_MAX: Final = 2 * SCHEMA_BYTES_MAX
OWN_CATEGORY: Final = "domain"
OWN_ORDER: Final = "the event's own subject, or its source"


@dataclass(slots=True, kw_only=True)
class EventTypeRoutes:
    """Answers about types of events."""

    types: EventTypes
    own: OwnTypes

    async def list_event_types(self, call: Call) -> Reply:
        """Answer GET /events/types."""
        shown = [EventTypeAnswer(**_described(one)) for one in self.types.described()]
        shown += [EventTypeAnswer(**_own(name, versions[-1])) for name, versions in self.own.all(call.ctx.domain)]
        return Reply(EventTypeList(types=sorted(shown, key=lambda one: one.type)))

    async def get_event_type(self, call: Call) -> Reply:
        """Answer GET /events/types/{event_type}."""
        found = self._find(call)
        if isinstance(found, TypeVersion):
            members, schema, example = _own(call.path["event_type"], found), schema_of(found), None
        else:
            members, schema, example = _described(found), schema_of_kind(found), example_of(found)
        return Reply(EventTypeShown(**members, json_schema=schema, example=example))

    async def get_event_schema(self, call: Call) -> Reply:
        """Answer GET /events/types/{event_type}/schema."""
        query: VersionQuery = call.query
        found = self._find(call, query.version or 0)
        if isinstance(found, TypeVersion):
            name = SCHEMA_PATH.format(name=call.path["event_type"]) + f"?version={found.version}"
            schema = {**schema_of(found), "$id": name}
        else:
            schema = schema_of_kind(found)
        return Reply(msgspec.json.encode(schema), media_type=SCHEMA_MEDIA_TYPE)

    async def list_event_type_versions(self, call: Call) -> Reply:
        """Answer GET /events/types/{event_type}/versions."""
        name = call.path["event_type"]
        versions = dict(self.own.all(call.ctx.domain)).get(name)
        if versions is None:
            raise self._missing(call)
        return Reply(TypeVersionList(type=name, versions=[_version(one) for one in versions]))

    async def describe_event_type(self, call: Call) -> Reply:
        """Answer PUT /events/types/{event_type}."""
        body: EventTypeBody = call.body
        query: EventTypeQuery = call.query
        wanted = Wanted(
            type=call.path["event_type"],
            schema=body.json_schema,
            compatibility=body.compatibility,
            description=body.description,
        )
        version, is_new = await self.own.describe(
            call.ctx, call.ctx.domain, wanted, dry_run=query.dry_run, key=call.idempotency_key
        )
        answer = DescribedAnswer(type=wanted.type, version=version, is_new=is_new, dry_run=query.dry_run)
        return Reply(answer, status=201 if is_new and not query.dry_run else 200)

    async def retire_event_type(self, call: Call) -> Reply:
        """Answer DELETE /events/types/{event_type}."""
        await self.own.retire(call.ctx, call.ctx.domain, call.path["event_type"])
        return Reply()

    async def get_event_policy(self, call: Call) -> Reply:
        """Answer GET /events/policy."""
        return Reply(EventPolicy(unknown_types=self.own.policy(call.ctx.domain)))

    async def set_event_policy(self, call: Call) -> Reply:
        """Answer PUT /events/policy."""
        body: EventPolicy = call.body
        await self.own.set_policy(call.ctx, call.ctx.domain, body.unknown_types)
        return Reply(EventPolicy(unknown_types=self.own.policy(call.ctx.domain)))

    def _find(self, call: Call, version: int = 0) -> EventType | ReportedType | TypeVersion:
        name = call.path["event_type"]
        found = self.types.find(name) or self.own.find(call.ctx.domain, name, version)
        if found is None or (version > 1 and not isinstance(found, TypeVersion)):
            raise self._missing(call)
        return found

    def _missing(self, call: Call) -> HubError:
        name = call.path["event_type"]
        words = [word for one in self.types.described() for word in (one.name, one.title)]
        words += [own for own, _ in self.own.all(call.ctx.domain)]
        near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near and near[0] != name else ""
        return HubError(
            "event_type_not_found", Kind.NOT_FOUND, f"There is no such type of event, or no such version of it.{hint}",
            next_step="GET /events/types lists those there are.",
        )  # fmt: skip


def _described(kind: EventType | ReportedType) -> dict[str, Any]:  # Any: members of an answer
    return {
        "type": kind.name,
        "name": kind.title,
        "category": kind.category,
        "version": kind.version,
        "told_by": Teller.HUB if isinstance(kind, EventType) else Teller.SERVICES,
        "order": kind.order,
        "summary": kind.summary,
    }


def _own(name: str, version: TypeVersion) -> dict[str, Any]:  # Any: members of an answer
    return {
        "type": name,
        "name": "",
        "category": OWN_CATEGORY,
        "version": version.version,
        "told_by": Teller.TENANT,
        "order": OWN_ORDER,
        "summary": version.description,
    }


def _version(version: TypeVersion) -> TypeVersionAnswer:
    return TypeVersionAnswer(
        version=version.version,
        json_schema=schema_of(version),
        compatibility=version.compatibility,
        description=version.description,
        registered_at=rfc3339(version.registered_at_ms),
        registered_by=version.registered_by,
    )


def operations(routes: EventTypeRoutes) -> tuple[Operation, ...]:
    """Return the rows of types."""
    path = "/events/types/{event_type}"
    read: dict[str, Any] = {"tag": TAG, "scope": SCOPE_READ, "method": "GET"}  # Any: Operation's own types
    write: dict[str, Any] = {"tag": TAG, "scope": SCOPE_ADMIN, "needs_tenant": True}  # Any: as above
    missing = ("event_type_not_found",)
    return (
        Operation(
            id="list_event_types", path="/events/types", handler=routes.list_event_types, answer=EventTypeList,
            summary="List the types of events: the hub's, those that services report in its shape, the tenant's own.",
            **read,
        ),
        Operation(
            id="get_event_type", path=path, handler=routes.get_event_type, answer=EventTypeShown, problems=missing,
            summary="Show a type of event: the JSON Schema of its data, and an example.", **read,
        ),
        Operation(
            id="get_event_schema", path=f"{path}/schema", handler=routes.get_event_schema, query=VersionQuery,
            media_type=SCHEMA_MEDIA_TYPE, problems=missing,
            summary="Return the JSON Schema of a type's data, as a document.", **read,
        ),
        Operation(
            id="list_event_type_versions", path=f"{path}/versions", handler=routes.list_event_type_versions,
            answer=TypeVersionList, problems=missing, summary="List the versions of one of the tenant's own types.",
            **read,
        ),
        Operation(
            id="describe_event_type", method="PUT", path=path, handler=routes.describe_event_type, body=EventTypeBody,
            body_bytes_max=BODY_BYTES_MAX, query=EventTypeQuery, answer=DescribedAnswer, statuses=(201,),
            problems=("invalid_event_type", "invalid_event_schema", "incompatible_schema", "limit_reached"),
            summary="Describe one of the tenant's own types by a JSON Schema, or give it a new version.",
            description="From then on what is published of it has to be of its newest version, or of the one that "
            "`dataschema` names (`/events/types/{type}/schema?version=2`). A new version keeps its word to all "
            "before it, as `compatibility` says.", **write,
        ),
        Operation(
            id="retire_event_type", method="DELETE", path=path, handler=routes.retire_event_type, status=204,
            summary="Take one of the tenant's own types away; what was published of it stays.", **write,
        ),
        Operation(
            id="get_event_policy", path="/events/policy", handler=routes.get_event_policy, answer=EventPolicy,
            summary="Show what becomes of events of types that the tenant has not described.", **read,
        ),
        Operation(
            id="set_event_policy", method="PUT", path="/events/policy", handler=routes.set_event_policy,
            body=EventPolicy, answer=EventPolicy,
            summary="Say whether events of types that the tenant has not described are allowed.", **write,
        ),
    )  # fmt: skip
