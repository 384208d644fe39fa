"""Types of the registry's commands with the limits that their OpenAPI schemas show.

They are for readers only: `rules` checks the same limits, so that a refusal has its own code and sentence.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from central_hub.kernel.ids import INSTANCE_ID_PATTERN, LABEL_PATTERN, NAME_PATTERN
from central_hub.registry.model import (
    DEPENDS_ON_MAX,
    HEALTH_ENDPOINT_LENGTH_MAX,
    HOST_LENGTH_MAX,
    LEASE_TTL_S_MAX,
    LEASE_TTL_S_MIN,
    METADATA_KEYS_MAX,
    PORT_MAX,
    PORT_MIN,
    PROTOCOLS,
    REQUIREMENTS_MAX,
    RESOURCE_TIERS,
    TAGS_MAX,
    WEIGHT_MAX,
    WEIGHT_MIN,
)

_LABEL_OF_HOST: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_BYTE: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PATH_CHARACTERS: Final = r"A-Za-z0-9._~!$&'()*+,;=:@%"

HOST_PATTERN: Final = rf"^{_LABEL_OF_HOST}(\.{_LABEL_OF_HOST})*\.?$"
ENDS_IN_A_NUMBER_PATTERN: Final = r"(^|\.)(0[xX][0-9A-Fa-f]*|[0-9]+)\.?$"
IPV4_PATTERN: Final = rf"^({_BYTE}\.){{3}}{_BYTE}$"
PATH_PATTERN: Final = rf"^/([{_PATH_CHARACTERS}-][{_PATH_CHARACTERS}/-]*)?(\?[{_PATH_CHARACTERS}/?-]*)?$"
NAMESPACE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"

_HOST_FORMS: Final = [
    {"pattern": HOST_PATTERN, "not": {"pattern": ENDS_IN_A_NUMBER_PATTERN}},
    {"pattern": IPV4_PATTERN},
    {"format": "ipv6"},
]

Name = Annotated[str, Meta(extra_json_schema={"pattern": NAME_PATTERN})]
Host = Annotated[str, Meta(extra_json_schema={"anyOf": _HOST_FORMS, "maxLength": HOST_LENGTH_MAX})]
Port = Annotated[int, Meta(extra_json_schema={"minimum": PORT_MIN, "maximum": PORT_MAX})]
Protocol = Annotated[str, Meta(extra_json_schema={"enum": sorted(PROTOCOLS)})]
Path = Annotated[str, Meta(extra_json_schema={"pattern": PATH_PATTERN, "maxLength": HEALTH_ENDPOINT_LENGTH_MAX})]
Metadata = Annotated[dict[str, Any], Meta(extra_json_schema={"maxProperties": METADATA_KEYS_MAX})]  # Any: any JSON
Namespace = Annotated[str, Meta(extra_json_schema={"pattern": NAMESPACE_PATTERN})]
ResourceTier = Annotated[str, Meta(extra_json_schema={"enum": list(RESOURCE_TIERS)})]
InstanceId = Annotated[str, Meta(extra_json_schema={"pattern": INSTANCE_ID_PATTERN})]
Label = Annotated[str, Meta(extra_json_schema={"pattern": LABEL_PATTERN})]
LabelOrNone = Annotated[str, Meta(extra_json_schema={"pattern": f"^$|{LABEL_PATTERN}"})]
Weight = Annotated[int, Meta(extra_json_schema={"minimum": WEIGHT_MIN, "maximum": WEIGHT_MAX})]
LeaseTtl = Annotated[float, Meta(extra_json_schema={"minimum": LEASE_TTL_S_MIN, "maximum": LEASE_TTL_S_MAX})]
Tags = Annotated[tuple[Label, ...], Meta(extra_json_schema={"maxItems": TAGS_MAX})]
DependsOn = Annotated[tuple[Name, ...], Meta(extra_json_schema={"maxItems": DEPENDS_ON_MAX})]
Requirements = Annotated[tuple[str, ...], Meta(extra_json_schema={"maxItems": REQUIREMENTS_MAX})]
