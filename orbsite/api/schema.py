"""Generates the OpenAPI document. Its schemas are derived from the records; all operations share the same errors.

A resource declares its input and output:

    @extend_schema(operation_id="getProfile", responses={200: shape(Profile)})
    @extend_schema(operation_id="listReflections", parameters=PAGED, responses={200: page_of(Reflection)})
    @extend_schema(operation_id="saveProfile", request={"application/json": shape(Profile)}, ...)

`make openapi` writes the document to `docs/openapi.json`. A test fails if that file does not match the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from typing_extensions import override

from orbsite.api.pagination import MOST, MOST_UNREADABLE
from orbsite.api.problems import MEDIA_TYPE, TITLES
from orbsite.storage.encoding.json_printer import EXACT_INTEGERS
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Record, Value

_TEMPLATE = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 404, 405, 406, 429, 503)
_ALSO = {
    "GET": (409,),
    "POST": (408, 409, 411, 412, 413, 415, 422),
    "PUT": (408, 409, 411, 412, 413, 415, 428),
    "PATCH": (408, 409, 411, 412, 413, 415, 428),
    "DELETE": (409, 412, 428),
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_described: dict[str, dict[str, Any]] = {}
_DATE_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"

READ_AFTER = OpenApiParameter(
    "Orb-Position",
    {"type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"},
    "header",
    description="The last `Orb-Position` that a response told. With it, a read replica may answer that has reached it; "
    "without it, the primary answers.",
)
PAGED = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST}),
    OpenApiParameter("cursor", str, description="The cursor from `next` of the previous page."),
    READ_AFTER,
]


IDEMPOTENT = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "header",
    description="A creation that is sent again with the same key is executed once.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    "header",
    description="The ETag of the record to change. If the stored record has another one, the answer is 412.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match", str, "header", description="The ETag that the client has. If it is current, the answer is 304."
)
_CLEAN = {"pattern": r"^[^\u0000]*$"}
CLEAN_TEXT = {"type": "string"} | _CLEAN
"""The schema of a text that may be anything but must not hold a NUL, such as a query parameter."""
_ID = {"type": "string", "minLength": 1, "maxLength": 255} | _CLEAN
_FREE_REF = {"$ref": _TEMPLATE.format(name="Free")}
_FREE: dict[str, Any] = {
    "description": "Any JSON without NUL characters.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string"} | _CLEAN,
        {"type": "array", "items": _FREE_REF},
        {"type": "object", "propertyNames": _CLEAN, "additionalProperties": _FREE_REF},
    ],
}
_OPEN = {"propertyNames": _CLEAN, "additionalProperties": _FREE_REF}
_CLOSED = {"additionalProperties": False}


def shape(kind: type[Value] | str) -> dict[str, Any]:
    """Return the reference to the schema of a record class, or to a named schema such as Id."""
    return {"$ref": _TEMPLATE.format(name=kind if isinstance(kind, str) else kind.__name__)}


def described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Register a schema under a name, and return the reference to it."""
    _described[name] = schema
    return shape(name)


def fields_of(kind: type[Record], required: Iterable[str] = (), without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schema of an object with the fields of a record, some of them required."""
    schema = _schemas([kind])[kind.__name__]
    properties = {name: value for name, value in schema["properties"].items() if name not in set(without)}
    about = _OPEN if kind.takes_unknown_keys else _CLOSED
    return {"type": "object", "properties": properties, "required": list(required)} | about


def list_of(kind: type[Value] | str, most: int | None = None) -> dict[str, Any]:
    """Return the schema of a list of records, of `most` items at most."""
    return {"type": "array", "items": shape(kind)} | ({} if most is None else {"maxItems": most})


def page_of(kind: type[Value] | str) -> dict[str, Any]:
    """Return the schema of a page, as `PageRequest.page` writes it."""
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": list_of(kind, MOST),
            "next": {"type": ["string", "null"]},
            "unreadable": list_of("Unreadable", MOST_UNREADABLE),
        },
        "additionalProperties": False,
    }


described(
    "Unreadable",
    {
        "type": "object",
        "description": "A stored item that cannot be decoded. It was left out; repair or remove it.",
        "required": ["kind", "key", "message"],
        "properties": {
            "kind": {"type": "string"},
            "key": {"type": "array", "items": {"type": "string"}},
            "message": {"type": "string"},
        },
        "additionalProperties": False,
    },
)


class OrbSchema(AutoSchema):
    """Adds the possible errors and the required scope to each operation."""

    @override
    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            for status in sorted({*_ALWAYS, *_ALSO.get(self.method, ())}):
                operation["responses"].setdefault(str(status), _answer(status))
            view: Any = self.view
            scope = view.scopes[self.method]
            operation["x-required-scope"] = scope
            operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
            if any(one["name"] == "If-None-Match" for one in operation.get("parameters", ())):
                operation["responses"].setdefault("304", {"description": "The client has the current version"})
        return operation

    def get_tags(self) -> list[str]:
        """Return the tag of the operation: the part of the API that its path names."""
        words = [word for word in self.path.split("/") if word and not word.startswith("{")]
        return [words[2] if len(words) > 2 and words[2] != "users" else words[-1]]  # noqa: PLR2004 -- /api/v1/...


def finish(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the schemas to which the document refers: records, their parts, and problems."""
    kinds = [kind for domain in registered() for kind in domain.kinds]
    known = {"Problem": _PROBLEM, "Id": _ID, "Free": _FREE, **_described, **_schemas(kinds)}
    used = _closure(result["paths"], known)
    components = result.setdefault("components", {})
    components["schemas"] = {name: known[name] for name in sorted(used)} | components.get("schemas", {})
    return result


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes bearer tokens in the OpenAPI document."""

    target_class = "orbsite.api.authentication.TokenAuthentication"
    name = "token"

    @override
    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "A token from `manage.py create_orb_token`."}


def _answer(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _TEMPLATE.format(name="Problem")}}}
    return {"description": TITLES[status], "content": content}


def _schemas(kinds: Iterable[type[Record]]) -> dict[str, Any]:
    kinds = list(kinds)
    _, found = msgspec.json.schema_components(kinds, schema_hook=lambda _: {"type": "object"}, ref_template=_TEMPLATE)
    closed = {kind.__name__ for kind in kinds if not kind.takes_unknown_keys}
    return {name: _of_value(schema, is_open=name not in closed) for name, schema in found.items()}


def _of_value(schema: dict[str, Any], *, is_open: bool) -> dict[str, Any]:
    """Return msgspec's schema of a record without defaults and `extra`, and with the rule for unknown keys."""
    if "properties" not in schema:
        return schema
    properties = {
        name: field({key: value for key, value in one.items() if key != "default"})
        for name, one in schema["properties"].items()
        if name != "extra"
    }
    if is_open:  # an explicit null of an optional field is kept and returned
        required = schema.get("required", ())
        properties = {name: one if name in required else _or_null(one) for name, one in properties.items()}
    kept = {name: value for name, value in schema.items() if name != "additionalProperties"}
    return kept | {"properties": properties} | (_OPEN if is_open else _CLOSED)


def field(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field, with the limits of this API: no NUL in texts, integers that JavaScript can hold."""
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return {"type": "object"} | _OPEN
    if schema.get("format") == "date-time":
        return schema | {"pattern": _DATE_TIME}
    if schema.get("type") == "string":
        return schema | _CLEAN
    if schema.get("type") == "integer":
        return {"minimum": -EXACT_INTEGERS, "maximum": EXACT_INTEGERS} | schema
    parts = {name: field(schema[name]) for name in ("items",) if isinstance(schema.get(name), dict)}
    choices = {name: [field(one) for one in schema[name]] for name in ("anyOf",) if name in schema}
    return schema | parts | choices


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that may also be null."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _closure(part: Any, known: dict[str, Any]) -> set[str]:
    """Return the names of all schemas to which a part of the document refers, directly or through other schemas."""
    found: set[str] = set()
    pending = _references(part)
    while pending:
        name = pending.pop()
        if name in known and name not in found:
            found.add(name)
            pending |= _references(known[name])
    return found


def _references(part: Any) -> set[str]:
    return set(re.findall(r"'#/components/schemas/(\w+)'", repr(part)))
