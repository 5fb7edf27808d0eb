"""The settings of the OpenAPI document."""

from __future__ import annotations

from typing import Any

SPECTACULAR: dict[str, Any] = {
    "TITLE": "Orb persistence",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "Preferences and reflections of a personal assistant's users, and operations on them.",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "pattern": "^~?[A-Za-z0-9_@.:-]+$"}},
    "POSTPROCESSING_HOOKS": ["orbsite.api.schema.finish"],
}
