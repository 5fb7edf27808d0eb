"""The path converter `id`, for ids in URLs that are encoded by `url_ids`.

Importing this file registers the converter. A URL pattern such as

    path("users/<id:user>/profiles/<id:mode>", ProfileView.as_view())

passes the decoded ids to the view; `reverse` encodes them.
"""

from __future__ import annotations

from django.urls import register_converter

from orbsite.storage.encoding.url_ids import name_of, segment


class IdConverter:
    """Converts between an id and its URL path segment."""

    regex = r"~?[A-Za-z0-9_@.:-]+"

    def to_python(self, value: str) -> str:
        """Return the id that a path segment encodes."""
        return name_of(value)

    def to_url(self, value: str) -> str:
        """Return the path segment that encodes an id."""
        return segment(value)


register_converter(IdConverter, "id")
