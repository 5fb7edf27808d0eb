"""The ledger: runs of operations, the changes that they made, and the source items that they rejected."""

from __future__ import annotations

import json
import secrets
from typing import Any

import msgspec
from django.db import models
from django.db.models.functions import Left
from typing_extensions import override

from orbsite.models.sealed_text import SealedModel, SealedTextField
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Record, field_names
from orbsite.storage.records.sealed_columns import Unopened, open_values
from orbsite.storage.sql.models import StoredJSON

_RANDOM_BITS = 62
OF_CELLS = '"cells":1,'
"""Marks a tombstone that the database printed from a row, with the values as they are stored."""
_LENGTH = 40
_MARK = '"orb:'
_INDEXED = 600
"""How many characters of a source are indexed: PostgreSQL refuses more than 2,704 bytes."""


def new_uid() -> int:
    """Return a random number of 63 bits for a run. The highest bit is set, so that it is above every primary key."""
    return 1 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


class RunState(models.TextChoices):
    """The state of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"


class Run(models.Model):
    """One run of an operation that writes.

    Users name a run by its primary key, which another database or a new ledger may use again. Rows name the run that
    wrote them by its `uid`, which is unique across databases.
    """

    class Operation(models.TextChoices):
        """The operations that the ledger records."""

        MIGRATE = "migrate"
        IMPORT = "import"
        RETRY = "retry"
        VERIFY = "verify"
        ROLLBACK = "rollback"
        COMPACT = "compact"
        UNDO = "undo"
        SANITIZE = "sanitize"
        UPGRADE = "upgrade"
        EDIT = "edit"
        REMOVE = "remove"
        RESTORE = "restore"

    uid = models.BigIntegerField(unique=True, default=new_uid, editable=False)
    operation = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=RunState.choices, default=RunState.RUNNING)
    source = models.TextField(blank=True)
    source_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of everything that it reads.")
    sources = models.JSONField(default=dict, help_text="SHA-256 of each domain's part of the source.")
    backup = models.TextField(blank=True, help_text="Where files and database were kept before it.")
    cursor = models.JSONField(default=dict, help_text="How many entries of each domain it has dealt with.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict)
    verification = models.JSONField(null=True, blank=True)
    reverts = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="reverted_by")

    class Meta:
        db_table = "orb_runs"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["operation", "id"], name="orb_runs_operation"),
            models.Index(Left("source", _INDEXED), name="orb_runs_source"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.pk}"

    @classmethod
    def of_source(cls, source: str) -> models.QuerySet[Run]:
        """Return the runs over a source, which an index finds."""
        start = Left("source", _INDEXED)
        return cls.objects.alias(start_of_source=start).filter(start_of_source=source[:_INDEXED], source=source)


class Change(SealedModel):
    """A record that a run replaced or removed. A row that the run created carries the run's uid instead.

    A change with a reason is a tombstone. Tombstones are written in millions, so the database checks neither their run
    nor the uniqueness of their keys. A change by hand is recorded too, also of a new record, and its time is that of
    its run.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="changes", db_constraint=False)
    domain = models.CharField(max_length=40)
    kind = models.CharField(max_length=40)
    key = models.TextField(help_text="The record's key, as a JSON list.")
    before = SealedTextField(help_text="What was replaced, as a step of a journal.")
    before_run = models.BigIntegerField(null=True, help_text="The uid of the run that had written what was replaced.")
    before_position = models.IntegerField(null=True)
    after = models.CharField(
        max_length=64, help_text="The digest of what the run left, or, of what it removed, the one that the row had."
    )
    actor = models.TextField(blank=True, default="", help_text="Who wanted it.")
    at = models.DateTimeField(null=True, blank=True, help_text="When retention removed it; else its run says when.")
    reason = models.TextField(blank=True, default="", help_text="Why; empty for what was replaced.")

    class Meta:
        db_table = "orb_changes"
        constraints = [
            models.UniqueConstraint(
                fields=["run", "domain", "kind", "key"], condition=models.Q(reason=""), name="orb_changes_once"
            )
        ]
        indexes = [
            models.Index(fields=["key"], condition=models.Q(at=None), name="orb_changes_history")  # not for tombstones
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} by run {self.run_id}"

    @property
    def owner(self) -> str | None:
        """The user whose record was changed, None if its key names none."""
        return owner_in_key(_kind(self.kind), self.key)

    @override
    def sealed_place(self) -> tuple[str, str] | None:
        kind = _kind(self.kind)
        if kind is None or not kind.private_fields:
            return None
        return owner_in_key(kind, self.key) or "", f"changes|{self.run_id}|{self.kind}|{self.key}"

    @override
    def plain_text(self, text: str, *, refuses_plain: bool) -> str | None:
        """Return a text; a tombstone that the database printed from a row has the row's columns opened."""
        is_of_cells = OF_CELLS in text[: 2 * _LENGTH]
        if is_of_cells and not refuses_plain and _MARK not in text:
            return text.replace(OF_CELLS, "", 1)
        kind = _kind(self.kind) if is_of_cells else None
        step = None if kind is None else _step_in(text)
        if kind is None or step is None:
            return super().plain_text(text, refuses_plain=refuses_plain)
        return _opened_step(kind, step, self._state.db or "default", refuses_plain=refuses_plain)


class Reject(SealedModel):
    """A source item that a run could not import, with its original JSON."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="rejects")
    domain = models.CharField(max_length=40)
    kind = models.CharField(max_length=40)
    path = models.TextField()
    reason = models.TextField()
    original = SealedTextField(help_text="Its JSON, as it was read.")
    owner = models.TextField(blank=True, default="", help_text="The user whose it is, where that can be told.")
    settled_by = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="settled")

    class Meta:
        db_table = "orb_rejects"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["domain", "settled_by"], name="orb_rejects_open"),
            models.Index(fields=["domain", "id"], name="orb_rejects_domain"),
        ]

    def __str__(self) -> str:
        return f"{self.path} left by run {self.run_id}"

    @override
    def sealed_place(self) -> tuple[str, str]:
        return self.owner[:255], f"rejects|{self.run_id}|{self.domain}|{self.path}"


def owner_in_key(kind: type[Record] | None, key: str) -> str | None:
    """Return the user whom a key in the ledger names, None if it names none."""
    try:
        parts = msgspec.json.decode(key, type=list[str])
    except msgspec.DecodeError:
        return None
    if kind is None or len(parts) != len(kind.key_fields) or "user_id" not in kind.key_fields:
        return None
    return parts[kind.key_fields.index("user_id")]


def _kind(name: str) -> type[Record] | None:
    return next((kind for domain in registered() for kind in domain.kinds if kind.plural == name), None)


def _step_in(text: str) -> dict[str, Any] | None:
    """Return the step of a tombstone that the database printed from a row, None for other texts."""
    try:
        step = json.loads(text, cls=StoredJSON)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(step, dict) and step.pop("cells", None) == 1 and isinstance(step.get("record"), dict)
    return step if is_one else None


def _opened_step(kind: type[Record], step: dict[str, Any], using: str, *, refuses_plain: bool) -> str:
    """Return a step with the stored values of its record opened, or in parentheses why one cannot be."""
    record, attributes = step["record"], {name: attribute for attribute, name in field_names(kind)}
    values = {attributes[name]: value for name, value in record.items() if name in attributes}
    values |= {"extra": step["extra"]} if "extra" in step else {}
    opened = open_values(kind, values, using, refuses_plain=refuses_plain)
    failed = next((one.reason for one in opened.values() if isinstance(one, Unopened)), None)
    if failed is not None:
        return f"({failed})"
    found = {**step, "record": {name: opened.get(attributes.get(name, ""), value) for name, value in record.items()}}
    return json.dumps(found | ({"extra": opened["extra"]} if "extra" in step else {}))
