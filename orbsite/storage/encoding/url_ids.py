"""Ids in URLs: a segment is the id itself where that is plain, else `~` and the unpadded base64url of its UTF-8.

Each id has one segment and each segment one id, whatever the id holds: slashes, dots, `%00`, emoji.
"""

from __future__ import annotations

import base64
import binascii
import re

_PLAIN = re.compile(r"[A-Za-z0-9_@.:-]+", re.ASCII)


_DOTS = (".", "..")


def segment(name: str) -> str:
    """Return the segment of a URL that stands for an id. Raises ValueError for lone surrogates, which no id has."""
    if _is_plain(name):
        return name
    return "~" + base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def name_of(segment_: str) -> str:
    """Return the id that a segment stands for. Raises ValueError where it stands for none."""
    if not segment_.startswith("~"):
        if _is_plain(segment_):
            return segment_
        raise ValueError("no id has this segment")
    try:
        name = base64.b64decode(segment_[1:] + "=" * (-(len(segment_) - 1) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise ValueError("no id has this segment") from problem
    if segment(name) != segment_:  # another spelling of a plain id, or of the same bytes
        raise ValueError("the id has another segment")
    return name


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and name not in _DOTS
