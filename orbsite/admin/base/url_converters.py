"""Records' keys in the addresses of the console; importing this file registers the path converters `key` and `object`.

`key` is a key as the API writes ids, with commas between them: `ana,mars`. `object` is Django's own way to write a
row's primary key, but for what is taken out of addresses: `.` and `..` by browsers, tabs and CR by Django's redirects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.urls import register_converter
from django.urls.converters import PathConverter

from orbsite.storage.encoding.url_ids import name_of, segment
from orbsite.storage.records.record import Key

_QUOTED = {".": "_2E", "\t": "_09", "\r": "_0D"}
_LOST = re.compile(r"[\t\r]|\A\.{1,2}\Z")
_SPELLED = re.compile("|".join(_QUOTED.values()))
_MEANT = {quoted: character for character, quoted in _QUOTED.items()}


def quoted(key: Iterable[str]) -> str:
    """Return a key as an address has it."""
    return ",".join(map(segment, key))


def key_of(text: str) -> Key:
    """Return the key that a part of an address stands for. Raises ValueError where it stands for none."""
    return tuple(map(name_of, text.split(",")))


class KeyConverter:
    """Django's path converter `key`: `reverse` takes a key, or one that is quoted already."""

    regex = r"~?[A-Za-z0-9_@.:-]+(?:,~?[A-Za-z0-9_@.:-]+)*"

    def to_python(self, value: str) -> Key:
        """Return the key."""
        return key_of(value)

    def to_url(self, value: Key | str) -> str:
        """Return the part of the address."""
        return value if isinstance(value, str) else quoted(value)


class ObjectConverter(PathConverter):
    """Django's path converter `path`, for quoted primary keys, of which nothing gets lost on the way.

    Django quotes an underscore too, so that what this writes stands for nothing else.
    """

    def to_python(self, value: str) -> str:
        """Return the quoted primary key."""
        return _SPELLED.sub(lambda match: _MEANT[match[0]], value)

    def to_url(self, value: str | int) -> str:
        """Return the part of the address."""
        return _LOST.sub(lambda match: "".join(_QUOTED[one] for one in match[0]), str(value))


register_converter(KeyConverter, "key")
register_converter(ObjectConverter, "object")
