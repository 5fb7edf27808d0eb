"""What the client returns beside records: records with their versions, pages, sessions, jobs and reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from orbsite.client.errors import InvalidResponse
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.encoding.merge_patch import merged
from orbsite.storage.findings import ROOT
from orbsite.storage.records.decoder import Reader
from orbsite.storage.records.record import R, Record

T = TypeVar("T")


class Versioned(NamedTuple, Generic[R]):
    """A record with the ETag of its version and its address on the server."""

    record: R
    etag: str
    address: str


class Unreadable(msgspec.Struct, frozen=True):
    """A stored item that does not decode: its kind, its key, and what an operator has to do."""

    kind: str
    key: list[str]
    message: str


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """A session of a user, with the number of its reflections and the time of the newest one."""

    session_id: str
    reflections: int
    newest: datetime


class Job(msgspec.Struct, frozen=True, rename="camel"):
    """A long operation: its state is queued, running, done, failed or cancelled."""

    id: int
    operation: str
    arguments: dict[str, Any]
    state: str
    progress: int
    expected: int | None
    result: dict[str, Any] | None
    error: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in ("queued", "running")


class Exported(msgspec.Struct, frozen=True):
    """A line of a user's export: a record with its domain and kind, or at the end the number of records."""

    domain: str = ""
    kind: str = ""
    record: dict[str, Any] = {}
    end: bool = False
    records: int = 0
    unreadable: list[Unreadable] = []


class Page(msgspec.Struct, frozen=True):
    """A page of a list, and the address of the next one."""

    items: list[msgspec.Raw]
    next: str | None
    unreadable: list[Unreadable] = []


def decoded(kind: type[T], body: bytes | msgspec.Raw) -> T:
    """Return a value of a response. Raises InvalidResponse."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as problem:
        raise InvalidResponse(f"the response is no {kind.__name__}: {problem}") from problem


def record_in(kind: type[R], body: bytes | msgspec.Raw) -> R:
    """Return a record of a response; members that this version does not know are in `extra`. Raises InvalidResponse."""
    reading = Reader[R](kind).read(msgspec.Raw(body), ROOT)
    if reading.record is None:
        wrong = "; ".join(f"{one.path}: {one.message}" for one in reading.findings)
        raise InvalidResponse(f"the response is no {kind.__name__}: {wrong}")
    return reading.record


def same(sent: Record, stored: Record) -> bool:
    """Tell whether a stored record is the one that was sent."""
    return sent.as_json() == stored.as_json()


def has_changes(stored: R, changes: Mapping[str, Any]) -> bool:
    """Tell whether a stored record has what a JSON Merge Patch sets, so that applying it again changes nothing."""
    patched = Reader[R](type(stored)).read(msgspec.Raw(compact(merged(stored.as_json(), changes))), ROOT).record
    return patched is not None and same(patched, stored)
