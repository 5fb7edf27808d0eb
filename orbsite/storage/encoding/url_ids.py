"""Ids in URLs: a plain id is its own path segment; any other is `~` and the unpadded base64url of its UTF-8 bytes.

Every id has exactly one segment, and every segment one id, including ids with slashes, dots, `%00` or emoji.
"""

from __future__ import annotations

import base64
import binascii
import re

_PLAIN = re.compile(r"[A-Za-z0-9_@.:-]+", re.ASCII)
_DOTS = (".", "..")


def segment(name: str) -> str:
    """Return the URL segment for an id. Raises ValueError for lone surrogates, which no id has."""
    if _is_plain(name):
        return name
    return "~" + base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def name_of(segment_: str) -> str:
    """Return the id for a URL segment. Raises ValueError if no id has this segment."""
    if not segment_.startswith("~"):
        if _is_plain(segment_):
            return segment_
        raise ValueError("no id has this segment")
    try:
        name = base64.b64decode(segment_[1:] + "=" * (-(len(segment_) - 1) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise ValueError("no id has this segment") from problem
    if segment(name) != segment_:  # another encoding of a plain id, or of the same bytes
        raise ValueError("the id has another segment")
    return name


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and name not in _DOTS
