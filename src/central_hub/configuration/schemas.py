"""What HTTP adds to the model of configuration: bodies, queries and answers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from central_hub.configuration.model import CHANGES_PER_SET_MAX, HISTORY_MAX, PATCH_OPERATIONS_MAX, REASON_LENGTH_MAX
from central_hub.kernel.ids import INSTANCE_ID_PATTERN, NAME_PATTERN

WAIT_S_MAX = 60.0

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Reason = Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ConfigQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instance of which service in which environment asks; and for how long to wait, with If-None-Match, for
    another value.

    An instance is told what a rollout has it try out; without one, what everybody has.
    """

    service: Name | None = None
    environment: Name | None = None
    instance: Annotated[str, msgspec.Meta(pattern=INSTANCE_ID_PATTERN)] | None = None
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0


class ConfigAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's effective configuration."""

    tenant_id: str
    subscription_tier: str
    config: dict[str, Any]  # Any: JSON


class ExplainQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instance of which service in which environment asks."""

    service: Name | None = None
    environment: Name | None = None
    instance: Annotated[str, msgspec.Meta(pattern=INSTANCE_ID_PATTERN)] | None = None


class ExplainedValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value, the layer it is from, that layer's revision and its author; and the layer that locks or limits it.

    A reference to a secret is shown as it is; it is `unresolved` when there is no such secret any more.
    """

    value: Any  # Any: JSON
    layer: str
    revision: int
    author: str
    locked: str = ""
    limited: str = ""
    unresolved: bool = False


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where every value of a tenant's effective configuration came from, by JSON pointer, and the order of layers.

    `rollouts` are those whose values whoever asks has instead: no layer says these before everyone has them.
    """

    tenant_id: str
    subscription_tier: str
    layers: list[str]
    values: dict[str, ExplainedValue]
    rollouts: list[str] = []


class LayerQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which exact combination is meant, when a service or an environment is named too."""

    service: Name | None = None
    environment: Name | None = None


class ChangeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which exact combination is meant; with `dry_run` nothing is written and the answer says what would change."""

    service: Name | None = None
    environment: Name | None = None
    dry_run: bool = False
    reason: Reason = ""


class DiffQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Two revisions of the layer; `to` is the newest when left out."""

    from_: Number
    to: Number | None = None
    service: Name | None = None
    environment: Name | None = None


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the history, newest first: `cursor` is the revision to go on before."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=HISTORY_MAX)] = HISTORY_MAX
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,16}$")] | None = None
    service: Name | None = None
    environment: Name | None = None


class ValueChange(msgspec.Struct, frozen=True, kw_only=True):
    """A value that would change, and for how many tenants; null where there is none."""

    path: str
    before: Any  # Any: JSON
    after: Any  # Any: JSON
    tenants: int


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a change reaches: tenants whose effective value changes, their services, and the instances of these."""

    tenants: int
    services: int
    instances: int
    changes: list[ValueChange]
    truncated: bool = False


class RevisionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One revision of a layer: who made it, when and why."""

    revision: int
    etag: str
    author: str
    changed_at: str
    reason: str = ""
    restores: int = 0
    change_set: str = ""


class LayerAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A layer's document; revision 0 is one that nobody wrote. `blast_radius` is a dry run's."""

    layer: str
    revision: int
    etag: str
    document: dict[str, Any]  # Any: JSON
    author: str = ""
    changed_at: str = ""
    reason: str = ""
    restores: int = 0
    dry_run: bool = False
    blast_radius: BlastRadius | None = None


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions, newest first."""

    layer: str
    revisions: list[RevisionAnswer]
    next_cursor: str | None = None


class DocumentChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What differs at one place; a side that says nothing is left out."""

    path: str
    before: Any = msgspec.UNSET  # Any: JSON
    after: Any = msgspec.UNSET  # Any: JSON


class DiffAnswer(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What differs between two revisions of a layer."""

    layer: str
    from_: int
    to: int
    changes: list[DocumentChange]


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The revision to go back to, and why."""

    to_revision: Number
    reason: Reason = ""


class PatchOperation(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One operation of a JSON patch."""

    op: str
    path: str
    from_: str | msgspec.UnsetType = msgspec.UNSET
    value: Any = msgspec.UNSET  # Any: JSON


Operations = Annotated[list[PatchOperation], msgspec.Meta(max_length=PATCH_OPERATIONS_MAX)]
LayerBody = dict[str, Any] | Operations  # Any: JSON
"""A document or merge patch; a list is a JSON patch."""


class LayerName(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer by what it is about; nothing named is everyone."""

    tier: Name | None = None
    tenant: Name | None = None
    service: Name | None = None
    environment: Name | None = None


class LayerChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of one layer in a set: exactly one of a whole document, a merge patch or a JSON patch."""

    layer: LayerName
    if_match: Tag
    document: dict[str, Any] | None = None  # Any: JSON
    merge_patch: dict[str, Any] | None = None  # Any: JSON
    json_patch: Operations | None = None


class ChangeSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of many layers that are made together or not at all."""

    changes: Annotated[list[LayerChange], msgspec.Meta(min_length=1, max_length=CHANGES_PER_SET_MAX)]
    reason: Reason = ""
    dry_run: bool = False


class ChangeSetAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The layers as they are now, in the order of the changes; or what a dry run found."""

    layers: list[LayerAnswer]
    dry_run: bool = False
    blast_radius: BlastRadius | None = None


class TemplateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A template: its parameters with their schemas, and its document."""

    template: str
    parameters: dict[str, dict[str, Any]]  # Any: JSON
    document: dict[str, Any]  # Any: JSON


class TemplateList(msgspec.Struct, frozen=True, kw_only=True):
    """Every template."""

    templates: list[TemplateAnswer]
    next_cursor: str | None = None


class ApplyTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The layer that becomes what the template says with these parameters, for the revision that is named."""

    layer: LayerName
    if_match: Tag
    parameters: dict[str, Any] = {}  # Any: JSON
    reason: Reason = ""
    dry_run: bool = False


class SectionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A section and its schema; a built-in one comes from the tiers."""

    section: str
    json_schema: dict[str, Any]  # Any: JSON
    built_in: bool


class SectionList(msgspec.Struct, frozen=True, kw_only=True):
    """Every section that may be configured."""

    sections: list[SectionAnswer]
    next_cursor: str | None = None
