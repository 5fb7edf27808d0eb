"""Record keys in the admin's URLs. Importing this module registers the path converters `key` and `object`.

`key` writes a key as the API writes ids, separated by commas: `ana,mars`. `object` quotes a primary key as Django does,
and also quotes the characters that would be lost: browsers remove `.` and `..`, Django's redirects remove tabs and CR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.urls import register_converter
from django.urls.converters import PathConverter
from typing_extensions import override

from orbsite.storage.encoding.url_ids import name_of, segment
from orbsite.storage.records.record import Key

_QUOTED = {".": "_2E", "\t": "_09", "\r": "_0D"}
_REMOVED = re.compile(r"[\t\r]|\A\.{1,2}\Z")
_ESCAPES = re.compile("|".join(_QUOTED.values()))
_CHARACTERS = {quoted: character for character, quoted in _QUOTED.items()}


def quoted(key: Iterable[str]) -> str:
    """Return a key as a URL segment."""
    return ",".join(map(segment, key))


def key_of(text: str) -> Key:
    """Return the key that a URL segment encodes. Raises ValueError if it encodes none."""
    return tuple(map(name_of, text.split(",")))


class KeyConverter:
    """The path converter `key`; `reverse` accepts a key, or text that is already quoted."""

    regex = r"~?[A-Za-z0-9_@.:-]+(?:,~?[A-Za-z0-9_@.:-]+)*"

    def to_python(self, value: str) -> Key:
        """Return the key that a URL segment encodes; a ValueError makes Django try the next URL pattern."""
        return key_of(value)

    def to_url(self, value: Key | str) -> str:
        """Return the URL segment of a key."""
        return value if isinstance(value, str) else quoted(value)


class ObjectConverter(PathConverter):
    """The path converter `object`: quoted primary keys that keep all their characters.

    Django quotes underscores too, so that the escapes written here are unambiguous.
    """

    @override
    def to_python(self, value: str) -> str:
        return _ESCAPES.sub(lambda match: _CHARACTERS[match[0]], value)

    @override
    def to_url(self, value: str | int) -> str:
        return _REMOVED.sub(lambda match: "".join(_QUOTED[one] for one in match[0]), str(value))


register_converter(KeyConverter, "key")
register_converter(ObjectConverter, "object")
