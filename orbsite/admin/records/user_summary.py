"""What there is of one user, read in bounded time: the newest records of each kind, sessions, changes, and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import label_for_field, quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orbsite.admin.base.cells import time_cell
from orbsite.admin.base.changelist import AtLeast
from orbsite.admin.records.history import WORDS
from orbsite.admin.records.record_list import COUNTED_ROWS, rows_for_list
from orbsite.admin.records.session_view import ConversingAdmin
from orbsite.admin.records.trash import visible_kinds
from orbsite.models.ledger import Change, Run, owner_in_key
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.text_search import contains, spellings
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.storage.findings import printable
from orbsite.storage.records.record import Key, Record, is_ordered_by_time
from orbsite.storage.sql.filters import can_be_stored

ROWS, SESSIONS, CHANGES, USERS = 10, 10, 10, 30
"""The number of records of a kind, of sessions, and of changes that the page shows; of users to choose from."""
LEDGER_ROWS = 10_000
"""The number of the newest changes of all users among which those of the user are searched."""
OF_USER = 500
"""The number of changes of the user that are read, the newest first."""


@dataclass(frozen=True, slots=True)
class Session:
    """A group of records, such as a session, with its number of records among the newest of the user."""

    name: str
    number: int
    newest: SafeString
    """When its newest record was made."""
    address: str
    """The URL of the page that shows it as a conversation; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one kind."""

    name: str
    """The plural name of the kind."""
    title: str
    number: int
    labels: list[str]
    rows: list[list[SafeString]]
    """The cells of the first rows, the first one of each with a link to its page."""
    all: str
    """The URL of the list of all of them."""
    keys: list[str]
    """The keys of the rows, as the ledger stores them."""
    add: str = ""
    """The URL of the form for a new record; empty if the user may not add any."""
    sessions: Sequence[Session] = ()
    has_sessions: bool = False
    is_single: bool = False
    """Whether a user has at most one record of the kind."""


@dataclass(frozen=True, slots=True)
class ChangeOfUser:
    """A change of a record of the user in the ledger."""

    what: str
    at: SafeString
    who: str
    reason: str
    record: str
    """The kind of the record, and its key without the user."""
    address: str
    """The URL of the history of the record; empty for a key with an empty part, which has none."""


@dataclass(frozen=True, slots=True)
class UserSummary:
    """The stored data of a user that the signed-in person may view."""

    parts: list[Part]
    changes: list[ChangeOfUser]
    removed: list[ChangeOfUser]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not (any(part.number for part in self.parts) or self.changes or self.removed)


def summary_of(user: str, site: AdminSite, request: HttpRequest, now: datetime) -> UserSummary:
    """Return what there is of a user. The number of queries and of rows that are read does not depend on the user."""
    visible = visible_kinds(site, request)
    parts = [_part(user, site.get_model_admin(domain.models[kind]), request, now) for domain, kind in visible]
    parts.sort(key=lambda part: (part.has_sessions, -part.is_single))
    kinds = {(domain.name, kind.plural): kind for domain, kind in visible}
    removed, changes = _Ledger(user, kinds, now).found([key for part in parts for key in part.keys])
    return UserSummary(parts, changes, removed)


def some_users(site: AdminSite, request: HttpRequest) -> list[str]:
    """Return the users of the newest records, the latest first, then some of the others."""
    found: dict[str, None] = {}
    kinds = visible_kinds(site, request)
    for domain, kind in sorted(kinds, key=lambda one: not is_ordered_by_time(one[1])):
        sign = "-" if is_ordered_by_time(kind) else ""
        rows = domain.models[kind]._base_manager.order_by(*(sign + name for name in kind.order_fields))
        found |= dict.fromkeys(rows.values_list("user_id", flat=True)[: COUNTED_ROWS if sign else USERS])
    return list(found)[:USERS]


def _part(user: str, admin: Any, request: HttpRequest, now: datetime) -> Part:
    kind: type[Record] = admin.model.kind
    rows = admin.model._base_manager.filter(user_id=user)
    number = rows.order_by()[: COUNTED_ROWS + 1].count()
    names = [name for name in admin.get_list_display(request) if name != "shown_user"]
    sign = "-" if is_ordered_by_time(kind) else ""
    ordered = rows.order_by(*(sign + name for name in kind.order_fields))
    shown = rows_for_list(ordered[:ROWS], {name.removeprefix("shown_") for name in names})
    base = f"{admin.admin_site.name}:{admin.opts.app_label}_{admin.opts.model_name}"
    query = urlencode({"user_id": user})
    return Part(
        name=kind.plural,
        title=str(admin.opts.verbose_name if number == 1 else admin.opts.verbose_name_plural),
        number=AtLeast(COUNTED_ROWS) if number > COUNTED_ROWS else number,
        labels=[str(label_for_field(name, admin.model, admin)) for name in names],
        rows=[list(_cells(admin, row, names, f"{base}_change")) for row in shown],
        all=f"{reverse(f'{base}_changelist')}?{query}",
        keys=[key_text(_key(row, kind)) for row in shown],
        add=f"{reverse(f'{base}_add')}?{query}" if admin.has_add_permission(request) else "",
        sessions=_sessions(ordered, user, admin, now) if kind.group_field else (),
        has_sessions=kind.group_field is not None,
        is_single=kind.key_fields == ("user_id",),
    )


def _cells(admin: Any, row: Any, names: list[str], address: str) -> Iterator[SafeString]:
    for at, name in enumerate(names):
        value = getattr(admin, name)(row) if hasattr(admin, name) else getattr(row, name)
        link = reverse(address, args=[quote(row.pk)])
        yield format_html('<a href="{}">{}</a>', link, value) if at == 0 else format_html("{}", value)


def _key(row: Any, kind: type[Record]) -> Key:
    return tuple(getattr(row, name) for name in kind.key_fields)


def _sessions(newest: QuerySet[Any], user: str, admin: Any, now: datetime) -> list[Session]:
    """Return the groups of the newest rows, the latest first."""
    kind: type[Record] = admin.model.kind
    pairs = list(newest.values_list(str(kind.group_field), str(kind.time_field))[: COUNTED_ROWS + 1])
    numbers = Counter(group for group, _ in pairs)
    latest = {group: at for group, at in reversed(pairs) if isinstance(at, datetime)}
    has_more = len(pairs) > COUNTED_ROWS
    has_page = isinstance(admin, ConversingAdmin)
    return [
        Session(
            name=printable(group),
            number=AtLeast(number) if has_more else number,
            newest=time_cell(latest.get(group), now),
            address=reverse("admin:session", args=[quote(user), quote(group)]) if has_page and _is_id(group) else "",
        )
        for group, number in list(numbers.items())[:SESSIONS]
    ]


def _is_id(group: Any) -> bool:
    return bool(group) and can_be_stored(group)


class _Ledger:
    """The changes of a user's records in the ledger, which has an index of keys and none of users."""

    def __init__(self, user: str, kinds: dict[tuple[str, str], type[Record]], now: datetime) -> None:
        self._user, self._kinds, self._now = user, kinds, now

    def found(self, keys: list[str]) -> tuple[list[ChangeOfUser], list[ChangeOfUser]]:
        """Return the removed records and the other changes: those of some keys, and some of the newest of all users."""
        rows = Change.objects.order_by("-pk")
        newest = rows.values_list("pk", flat=True).first() or 0
        recent = rows.filter(contains("key", spellings(self._user)), pk__gt=newest - LEDGER_ROWS)
        of_keys = rows.filter(key__in=keys, at=None)
        found = {row["pk"]: row for some in (recent, of_keys) for row in self._own(some)}
        runs = Run.objects.only("operation", "started_at").in_bulk({row["run_id"] for row in found.values()})
        removed, changes = list[ChangeOfUser](), list[ChangeOfUser]()
        for pk in sorted(found, reverse=True):
            row, run = found[pk], runs.get(found[pk]["run_id"])
            if run is not None:
                is_removed = run.operation in REMOVALS and row["key"] not in keys
                (removed if is_removed else changes).append(self._as_change(row, run))
        return removed[:CHANGES], changes[:CHANGES]

    def _own(self, rows: QuerySet[Change]) -> list[dict[str, Any]]:
        """Return those of the first changes that are of the user, and of kinds that may be viewed."""
        found: Any = rows.values("pk", "domain", "kind", "key", "actor", "reason", "at", "run_id")[:OF_USER]
        return [
            row
            for row in found
            if owner_in_key(self._kinds.get((row["domain"], row["kind"])), row["key"]) == self._user
        ]

    def _as_change(self, row: dict[str, Any], run: Run) -> ChangeOfUser:
        kind = self._kinds[row["domain"], row["kind"]]
        key = tuple(msgspec.json.decode(row["key"], type=list[str]))
        rest = ", ".join(part for name, part in zip(kind.key_fields, key, strict=True) if name != "user_id")
        address = reverse("admin:record_history", args=[row["domain"], row["kind"], key]) if all(key) else ""
        return ChangeOfUser(
            what=WORDS.get(run.operation, run.operation),
            at=time_cell(row["at"] or run.started_at, self._now),
            who=row["actor"] or f"run {run.pk}",
            reason=row["reason"],
            record=f"{row['kind'].replace('_', ' ')} {rest}".strip(),
            address=f"{address}?tombstone={row['pk']}" if address and run.operation in REMOVALS else address,
        )
