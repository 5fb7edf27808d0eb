"""The path converter `id`, for ids in URLs as `url_ids` spells them.

Importing this file registers it; a resource writes

    path("users/<id:user>/profiles/<id:mode>", ProfileView.as_view())

and gets the ids, decoded, as arguments; `reverse` goes the other way.
"""

from __future__ import annotations

from django.urls import register_converter

from orbsite.storage.encoding.url_ids import name_of, segment


class IdConverter:
    """Django's path converter `id`."""

    regex = r"~?[A-Za-z0-9_@.:-]+"

    def to_python(self, value: str) -> str:
        """Return the id."""
        return name_of(value)

    def to_url(self, value: str) -> str:
        """Return the segment."""
        return segment(value)


register_converter(IdConverter, "id")
