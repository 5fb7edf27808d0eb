"""The opaque cursor of keyset pagination: unpadded base64url of a JSON list with the `order` of the last record."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.record import Record


def encode(order: Iterable[Any], *prefix: str) -> str:
    """Return the cursor for a position; the texts of `prefix` have to be given again to decode it."""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in order]
    return base64.urlsafe_b64encode(msgspec.json.encode([*prefix, *parts])).decode().rstrip("=")


def decode(cursor: str, kind: type[Record], *prefix: str) -> tuple[Any, ...]:
    """Return the position that a cursor encodes. Raises ValueError if it is not a cursor of this kind and prefix."""
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    try:
        parts = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[str])
        about, order = parts[: len(prefix)], parts[len(prefix) :]
        if about != [*prefix] or len(order) != len(kind.order_fields) or any(map(UNCLEAN.search, order)):
            raise ValueError("the cursor belongs to another search")
        named = zip(kind.order_fields, order, strict=True)
        return tuple(_moment(part) if name == kind.time_field else part for name, part in named)
    except (OverflowError, msgspec.DecodeError) as problem:
        raise ValueError("the cursor is malformed") from problem


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no time zone")
    return moment.astimezone(UTC)
