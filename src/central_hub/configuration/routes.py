"""The rows of configuration and their handlers, which only translate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from central_hub.configuration.announcing import Announcements
from central_hub.configuration.impact import Impact
from central_hub.configuration.in_force import InForce
from central_hub.configuration.merging import json_patch, merge_patch
from central_hub.configuration.model import (
    CONFIG_READ,
    SCOPE_ADMIN,
    SCOPE_WRITE,
    Document,
    Json,
    Layer,
    Template,
)
from central_hub.configuration.reading import ConfigurationReading, config_answer, diff_answer
from central_hub.configuration.rules import check_environment, check_layer, etag_of
from central_hub.configuration.schemas import (
    ApplyTemplate,
    ChangeQuery,
    ChangeSet,
    ChangeSetAnswer,
    ConfigAnswer,
    ConfigQuery,
    DiffAnswer,
    DiffQuery,
    ExplainAnswer,
    ExplainQuery,
    HistoryAnswer,
    HistoryQuery,
    LayerAnswer,
    LayerBody,
    LayerChange,
    LayerName,
    LayerQuery,
    PatchOperation,
    Rollback,
    SectionAnswer,
    SectionList,
    TemplateAnswer,
    TemplateList,
)
from central_hub.configuration.sections import Sections
from central_hub.configuration.templates import Templates, rendered
from central_hub.configuration.usecases import Configuration, Edit, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.edge.authenticate import Authenticate
from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId

TAG: Final = "configuration"
KINDS: Final = ("tier", "service", "environment")
BODY_BYTES_MAX: Final = 262_144
CHANGE_SET_BYTES_MAX: Final = 2_097_152
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRoutes:
    """The handlers and what they hand calls to."""

    configuration: Configuration
    reading: ConfigurationReading
    in_force: InForce
    impact: Impact
    announcements: Announcements
    sections: Sections
    templates: Templates
    view: ConfigurationView
    authenticate: Authenticate

    async def get_config(self, call: Call) -> Reply:
        """Show a tenant's effective configuration."""
        query: ConfigQuery = call.query
        ctx, domain = call.ctx, DomainId(call.path["tenant_id"])
        variant = (query.service or "", _environment(ctx, query.environment))
        instance = query.instance or ""
        given = call.headers.get("if-none-match")
        if query.wait_s and given is not None:
            await self.announcements.wait(ctx, variant, given, query.wait_s, instance=instance)
        value = self.in_force.of(domain, *variant, claimed=ctx.tier, instance=instance)
        headers = (("etag", value.etag),)
        if given is not None and value.etag in [tag.strip().removeprefix("W/") for tag in given.split(",")]:
            return Reply(status=304, headers=headers)
        return Reply(body=config_answer(domain, value, self.in_force.encoded(value)), headers=headers)

    async def explain_config(self, call: Call) -> Reply:
        """Say where every value came from."""
        query: ExplainQuery = call.query
        environment = _environment(call.ctx, query.environment)
        domain = DomainId(call.path["tenant_id"])
        service = query.service or ""
        answer = self.reading.explain(call.ctx, domain, service, environment)
        tried = self.in_force.tried(domain, answer.subscription_tier, service, query.instance or "")
        return Reply(body=msgspec.structs.replace(answer, rollouts=tried))

    async def get_layer(self, call: Call) -> Reply:
        """Show a layer."""
        answer = self.reading.layer(call.ctx, self._layer(call))
        return Reply(body=answer, headers=(("etag", answer.etag),))

    async def put_layer(self, call: Call) -> Reply:
        """Replace a layer's document."""
        body: Json = call.body
        return await self._change(call, lambda _: msgspec.to_builtins(body))

    async def patch_layer(self, call: Call) -> Reply:
        """Change a layer's document by a merge patch or a JSON patch."""
        return await self._change(call, _patch(call))

    async def layer_history(self, call: Call) -> Reply:
        """List a layer's revisions."""
        query: HistoryQuery = call.query
        before = None if query.cursor is None else int(query.cursor)
        return Reply(body=self.reading.history(call.ctx, self._layer(call), before=before, limit=query.limit))

    async def layer_diff(self, call: Call) -> Reply:
        """Compare two revisions of a layer."""
        query: DiffQuery = call.query
        layer = self._layer(call)
        newest = self.view.current(layer.domain, layer)
        one = self.configuration.revision(layer, query.from_)
        other = newest if query.to is None else self.configuration.revision(layer, query.to)
        return Reply(body=diff_answer(layer, one, other))

    async def roll_back_layer(self, call: Call) -> Reply:
        """Go back to an earlier revision, as a new one."""
        body: Rollback = call.body
        query: ChangeQuery = call.query
        layer = self._layer(call)
        wish = self.configuration.restoring(layer, body.to_revision, call.headers.get("if-match"))
        return await self._made(call, wish, body.reason, dry_run=query.dry_run)

    async def change_layers(self, call: Call) -> Reply:
        """Change many layers together."""
        body: ChangeSet = call.body
        wishes = [self.wish(call.ctx, each) for each in body.changes]
        self.configuration.check(call.ctx, wishes)
        if body.dry_run:
            radius = await self.impact.of(wishes)
            shown = [self.reading.layer(call.ctx, wish.layer) for wish in wishes]
            return Reply(body=ChangeSetAnswer(layers=shown, dry_run=True, blast_radius=radius))
        made = await self.configuration.change(call.ctx, wishes, reason=body.reason, key=call.idempotency_key)
        pairs = zip(wishes, made, strict=True)
        return Reply(
            body=ChangeSetAnswer(layers=[self.reading.layer(call.ctx, wish.layer, each) for wish, each in pairs])
        )

    async def list_sections(self, call: Call) -> Reply:
        """List what may be configured."""
        built_in = self.sections.built_in
        schemas = {**self.view.schemas(PLATFORM), **built_in}
        return Reply(
            body=SectionList(
                sections=[
                    SectionAnswer(section=name, json_schema=schemas[name], built_in=name in built_in)
                    for name in sorted(schemas)
                ]
            )
        )

    async def describe_section(self, call: Call) -> Reply:
        """Say what a section may hold."""
        schema: Document = call.body
        section = call.path["section"]
        await self.configuration.describe(call.ctx, section, schema, key=call.idempotency_key)
        return Reply(body=SectionAnswer(section=section, json_schema=schema, built_in=False))

    async def remove_section(self, call: Call) -> Reply:
        """Take a section away."""
        await self.configuration.describe(call.ctx, call.path["section"], None)
        return Reply()

    async def list_templates(self, call: Call) -> Reply:
        """List the templates."""
        known = self.view.templates(PLATFORM)
        return Reply(body=TemplateList(templates=[_template(name, known[name]) for name in sorted(known)]))

    async def put_template(self, call: Call) -> Reply:
        """Keep a template."""
        template: Template = call.body
        await self.templates.put(call.ctx, call.path["template"], template, key=call.idempotency_key)
        return Reply(body=_template(call.path["template"], template))

    async def remove_template(self, call: Call) -> Reply:
        """Take a template away; what it made stays."""
        await self.templates.put(call.ctx, call.path["template"], None)
        return Reply()

    async def apply_template(self, call: Call) -> Reply:
        """Make a layer of a template."""
        body: ApplyTemplate = call.body
        document = rendered(self.templates.get(call.path["template"]), body.parameters)
        wish = Wish(layer=self._named(call.ctx, body.layer), if_match=body.if_match, edit=lambda _: document)
        return await self._made(call, wish, body.reason, dry_run=body.dry_run)

    def _layer(self, call: Call) -> Layer:
        """Read the layer from the path, and from the query what makes it an exact combination."""
        query: LayerQuery = call.query
        names = {"service": query.service or "", "environment": query.environment or ""}
        path = call.path
        if "tenant_id" in path:
            names["tenant"] = path["tenant_id"]
        elif "kind" in path:
            kind = path["kind"]
            if kind not in KINDS:
                raise HubError(
                    "no_such_path",
                    Kind.NOT_FOUND,
                    "There is no such kind of layer.",
                    next_step="Use /config/layers/global, tier, tenant, service or environment.",
                )
            if names.get(kind):
                raise _twice(kind)
            names[kind] = path["name"]
        elif any(names.values()):
            raise HubError(
                "invalid_query",
                Kind.INVALID,
                "The global layer is about everyone, not about one service or environment.",
                next_step="Use /config/layers/service/{name} or /config/layers/environment/{name}.",
            )
        layer = Layer(**names)
        check_environment(call.ctx.principal, layer.environment or call.ctx.principal.environment)
        return check_layer(layer, self.configuration.tiers)

    async def _change(self, call: Call, edit: Edit) -> Reply:
        query: ChangeQuery = call.query
        wish = Wish(layer=self._layer(call), if_match=call.headers.get("if-match"), edit=edit)
        return await self._made(call, wish, query.reason, dry_run=query.dry_run)

    async def _made(self, call: Call, wish: Wish, reason: str, *, dry_run: bool) -> Reply:
        self.configuration.check(call.ctx, [wish])
        if dry_run:
            radius = await self.impact.of([wish])
            shown = msgspec.structs.replace(self.reading.layer(call.ctx, wish.layer), dry_run=True, blast_radius=radius)
            return Reply(body=shown, headers=(("etag", shown.etag),))
        made = await self.configuration.change(call.ctx, [wish], reason=reason, key=call.idempotency_key)
        return Reply(body=self.reading.layer(call.ctx, wish.layer, made[0]), headers=(("etag", etag_of(made[0])),))

    def wish(self, ctx: TenantContext, change: LayerChange) -> Wish:
        """Read one change of a set; a tenant that the caller may not act for is as good as missing."""
        layer = self._named(ctx, change.layer)
        edits: list[Edit] = []
        if change.document is not None:
            document = change.document
            edits.append(lambda _: document)
        if change.merge_patch is not None:
            patch = change.merge_patch
            edits.append(lambda before: merge_patch(before, patch))
        if change.json_patch is not None:
            operations = _builtins(change.json_patch)
            edits.append(lambda before: json_patch(before, operations))
        if len(edits) != 1:
            raise HubError(
                "invalid_change_set",
                Kind.MALFORMED,
                "A change is exactly one of document, merge_patch and json_patch.",
                next_step="Choose one for each layer.",
            )
        return Wish(layer=layer, if_match=change.if_match, edit=edits[0])

    def _named(self, ctx: TenantContext, name: LayerName) -> Layer:
        layer = Layer(**{kind: value for kind, value in msgspec.to_builtins(name).items() if value})
        if layer.tenant and layer.tenant != ctx.tenant_id:
            self.authenticate.assume(ctx, layer.tenant)
        return layer


def _template(name: str, template: Template) -> TemplateAnswer:
    return TemplateAnswer(template=name, parameters=template.parameters, document=template.document)


def _environment(ctx: TenantContext, given: str | None) -> str:
    environment = given or ctx.principal.environment
    check_environment(ctx.principal, environment)
    return environment


def _patch(call: Call) -> Edit:
    """Return what a PATCH makes of a document, by its media type."""
    media = (call.headers.get("content-type") or "").partition(";")[0].strip().lower()
    body: Json = call.body
    is_list = isinstance(body, list)
    if media not in (MERGE_PATCH, JSON_PATCH, "application/json"):
        raise HubError(
            "unsupported_media_type",
            Kind.UNSUPPORTED,
            "A patch is a merge patch or a JSON patch.",
            next_step=f"Send 'content-type: {MERGE_PATCH}' or '{JSON_PATCH}'.",
        )
    if is_list != (media == JSON_PATCH):
        raise HubError(
            "invalid_patch",
            Kind.MALFORMED,
            "A merge patch is an object and a JSON patch a list; the body is not what its media type says.",
            next_step=f"Send the object as '{MERGE_PATCH}', the list as '{JSON_PATCH}'.",
        )
    if is_list:
        operations = _builtins(cast(list[PatchOperation], body))
        return lambda document: json_patch(document, operations)
    return lambda document: merge_patch(document, body)


def _builtins(operations: list[PatchOperation]) -> list[Mapping[str, Json]]:
    return cast(list[Mapping[str, Json]], msgspec.to_builtins(operations))


def _twice(kind: str) -> HubError:
    return HubError(
        "invalid_query", Kind.INVALID, f"The {kind} is named in the path already.",
        next_step=f"Leave {kind} out of the query.",
    )  # fmt: skip


REFUSED: Final = (
    "precondition_required",
    "revision_moved",
    "locked",
    "out_of_bounds",
    "environment_denied",
    "unknown_key",
    "invalid_value",
    "invalid_document",
    "invalid_guard",
    "invalid_patch",
    "patch_test_failed",
    "type_changed",
    "unknown_secret",
    "secret_literal",
    "unknown_tier",
    "layer_in_rollout",
    "limit_reached",
    "document_too_large",
    "contended",
)


def operations(routes: ConfigurationRoutes) -> tuple[Operation, ...]:
    """Return the rows of configuration."""
    return (*_reading(routes), *_layers(routes), *_sections(routes))


def _reading(routes: ConfigurationRoutes) -> tuple[Operation, ...]:
    own: dict[str, Any] = {"tag": TAG, "scope": CONFIG_READ, "tenant_param": "tenant_id"}  # Any: Operation's own types
    return (
        Operation(
            id="get_config", method="GET", path="/config/{tenant_id}", handler=routes.get_config, query=ConfigQuery,
            answer=ConfigAnswer, statuses=(304,), hot=True, cross_origin=True,
            problems=("environment_denied", "too_many_waiters"),
            summary="Show a tenant's effective configuration; with If-None-Match and wait_s, once it is another.",
            **own,
        ),
        Operation(
            id="explain_config", method="GET", path="/config/{tenant_id}/explain", handler=routes.explain_config,
            cross_origin=True, query=ExplainQuery, answer=ExplainAnswer, problems=("environment_denied",),
            summary="Say for every value which layer, revision and author it is from, and what locks or limits it.",
            **own,
        ),
    )  # fmt: skip


def _layers(routes: ConfigurationRoutes) -> tuple[Operation, ...]:
    rows: list[Operation] = []
    platform: dict[str, Any] = {"tag": TAG, "platform": True}  # Any: Operation's own types
    own: dict[str, Any] = {"tag": TAG, "tenant_param": "tenant_id"}  # Any: as above
    for name, path, what, row, admin in (
        ("global_layer", "/config/layers/global", "the layer of everyone", platform, SCOPE_ADMIN),
        ("layer", "/config/layers/{kind}/{name}", "the layer of a tier, service or environment", platform, SCOPE_ADMIN),
        ("tenant_layer", "/config/layers/tenant/{tenant_id}", "a tenant's own layer", own, SCOPE_WRITE),
    ):
        read: dict[str, Any] = {"scope": CONFIG_READ if row is own else admin, **row}  # Any: as above
        write: dict[str, Any] = {"scope": admin, **row}  # Any: as above
        rows += [
            Operation(
                id=f"get_{name}", method="GET", path=path, handler=routes.get_layer, query=LayerQuery,
                answer=LayerAnswer, summary=f"Show {what}.", **read,
            ),
            Operation(
                id=f"put_{name}", method="PUT", path=path, handler=routes.put_layer, query=ChangeQuery,
                body=dict[str, Any], body_bytes_max=BODY_BYTES_MAX, answer=LayerAnswer, problems=REFUSED, hot=True,
                summary=f"Replace {what}, or with dry_run say what that would change.", **write,
            ),
            Operation(
                id=f"patch_{name}", method="PATCH", path=path, handler=routes.patch_layer, query=ChangeQuery,
                body=cast(type, LayerBody), body_bytes_max=BODY_BYTES_MAX, answer=LayerAnswer, problems=REFUSED,
                hot=True,
                summary=f"Change {what} by a merge patch or JSON patch, or say what that would change.", **write,
            ),
            Operation(
                id=f"{name}_history", method="GET", path=path + "/history", handler=routes.layer_history,
                query=HistoryQuery, answer=HistoryAnswer, summary=f"List the revisions of {what}, newest first.",
                **read,
            ),
            Operation(
                id=f"{name}_diff", method="GET", path=path + "/diff", handler=routes.layer_diff, query=DiffQuery,
                answer=DiffAnswer, problems=("revision_not_found",),
                summary=f"Compare two revisions of {what}.", **read,
            ),
            Operation(
                id=f"roll_back_{name}", method="POST", path=path + "/rollback", handler=routes.roll_back_layer,
                query=ChangeQuery, body=Rollback, answer=LayerAnswer, problems=(*REFUSED, "revision_not_found"),
                summary=f"Go back to an earlier revision of {what}; it becomes a new one.", **write,
            ),
        ]  # fmt: skip
    rows.append(
        Operation(
            id="change_layers", method="POST", path="/config/changes", handler=routes.change_layers, body=ChangeSet,
            body_bytes_max=CHANGE_SET_BYTES_MAX, answer=ChangeSetAnswer, scope=SCOPE_ADMIN,
            problems=(*REFUSED, "invalid_change_set"),
            summary="Change many layers, all of them or none; or say what that would change.", **platform,
        )
    )  # fmt: skip
    return tuple(rows)


def _sections(routes: ConfigurationRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": TAG, "platform": True, "scope": SCOPE_ADMIN}  # Any: Operation's own types
    path = "/config/schemas/{section}"
    return (
        Operation(
            id="list_config_schemas", method="GET", path="/config/schemas", handler=routes.list_sections,
            answer=SectionList, tag=TAG, scope=CONFIG_READ, summary="List what may be configured, with its schemas.",
        ),
        Operation(
            id="put_config_schema", method="PUT", path=path, handler=routes.describe_section, body=dict[str, Any],
            body_bytes_max=BODY_BYTES_MAX, answer=SectionAnswer,
            problems=("invalid_schema", "built_in_section", "schema_breaks_layers", "limit_reached"),
            summary="Say by a JSON Schema what a section of configuration may hold.", **row,
        ),
        Operation(
            id="delete_config_schema", method="DELETE", path=path, handler=routes.remove_section, status=204,
            problems=("built_in_section", "schema_breaks_layers"),
            summary="Take a section away that no layer uses.", **row,
        ),
        *_templates(routes),
    )  # fmt: skip


def _templates(routes: ConfigurationRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": TAG, "platform": True, "scope": SCOPE_ADMIN}  # Any: Operation's own types
    path = "/config/templates/{template}"
    return (
        Operation(
            id="list_config_templates", method="GET", path="/config/templates", handler=routes.list_templates,
            answer=TemplateList, summary="List the templates with their parameters.", **row,
        ),
        Operation(
            id="put_config_template", method="PUT", path=path, handler=routes.put_template, body=Template,
            body_bytes_max=BODY_BYTES_MAX, answer=TemplateAnswer, problems=("invalid_template", "limit_reached"),
            summary="Keep a document with typed parameters under a name.", **row,
        ),
        Operation(
            id="delete_config_template", method="DELETE", path=path, handler=routes.remove_template, status=204,
            summary="Take a template away; layers that were made of it stay.", **row,
        ),
        Operation(
            id="apply_config_template", method="POST", path=path + "/apply", handler=routes.apply_template,
            body=ApplyTemplate, answer=LayerAnswer, problems=(*REFUSED, "template_not_found", "parameter_missing"),
            summary="Make a layer of a template and its parameters, or say what that would change.", **row,
        ),
    )  # fmt: skip
