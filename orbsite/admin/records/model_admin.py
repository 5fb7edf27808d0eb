"""What the admin pages of all records share, and the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db import models
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orbsite.admin.base.changelist import ModelAdmin, QuickAdmin, domains, known, runs
from orbsite.admin.base.permissions import may_see
from orbsite.admin.forms.fields import ExactTextField, InstantField, RecordForm, TreeField
from orbsite.admin.links import Link, Linked, to_operation
from orbsite.admin.records.editing import EditingMixin
from orbsite.admin.records.operation_actions import OperationActionsMixin
from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.statistics import Growth
from orbsite.operations.migration.rollback import REVERSIBLE
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.domain import registered
from orbsite.storage.sql.models import RecordRow

__all__ = ["LedgerAdmin", "ModelAdmin", "QuickAdmin", "RecordAdmin", "excerpt", "pretty"]


class RecordAdmin(OperationActionsMixin, EditingMixin, QuickAdmin):
    """Pages for the rows of one kind of record. The record's own rules hold for its forms."""

    former_address: ClassVar[str] = ""
    """The field that addresses of an earlier version name a row by, where it is the primary key no more."""
    form = RecordForm
    formfield_overrides = {
        models.JSONField: {"form_class": TreeField},
        models.CharField: {"form_class": ExactTextField},
        models.TextField: {"form_class": ExactTextField},
        models.DateTimeField: {"form_class": InstantField, "widget": AdminTextInputWidget},
    }

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A row's key and owner never change once it is there."""
        kept = ("unknown_keys", "written_by", "digest")
        locked = () if self.is_unlocked(request) else self.locked
        return kept if obj is None else ("user_id", *_without_owner(obj.kind.key_fields), *locked, *kept)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The record's fields, then what the row remembers."""
        model: type[RecordRow] = self.model
        fields = [name for name in model.kind.__struct_fields__ if name != "extra"]
        asked = ("reason", "expect") if obj is not None and self.has_change_permission(request, obj) else ()
        return [*fields, *asked, *(() if obj is None else ("unknown_keys", "written_by", "digest"))]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Tell no text from empty text."""
        if isinstance(db_field, models.TextField) and db_field.null:
            options["empty_value"] = None
        return super().formfield_for_dbfield(db_field, request, **options)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a whole id, code point by code point: ids are opaque, and an index answers that."""
        term = request.GET.get(SEARCH_VAR, "")
        if not term:
            return queryset, False
        if UNCLEAN.search(term):
            return queryset.none(), False
        return queryset.filter(reduce(or_, (Q(**{name: term}) for name in self.search_fields))), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row; an id that nothing can have has none, and a former address leads on where it names one row."""
        if UNCLEAN.search(object_id):
            return None
        row = super().get_object(request, object_id, from_field)
        if row is None and self.former_address:
            found = list(self.get_queryset(request).filter(**{self.former_address: object_id})[:2])
            return found[0] if len(found) == 1 else None
        return row

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Refuse conditions that no database can be asked."""
        if any(UNCLEAN.search(value) for values in request.GET.lists() for value in values[1]):
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    @admin.display(description="unknown keys")
    def unknown_keys(self, row: RecordRow) -> SafeString:
        """Keys that this version does not know, kept for whoever wrote them."""
        return pretty(row.extra)

    @admin.display(description="run")
    def written_by(self, row: RecordRow) -> str:
        """The run that was the last to write the row."""
        return _run_named(row.run_id)


class LedgerAdmin(Linked, QuickAdmin):
    """A part of the ledger, to read: operations write it, and nobody takes anything out."""

    sortable_by: ClassVar[tuple[str, ...]] = ("id",)
    contents: ClassVar[tuple[str, ...]] = ()
    """What holds texts of users, and is for those alone who may see the rows that it is about."""

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show what somebody may see of a row."""
        fields = super().get_fields(request, obj)
        if obj is None or not self.contents or _may_read(request.user, obj):
            return fields
        return [name for name in fields if name not in self.contents]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Operations write the ledger."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Operations write the ledger."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The ledger keeps what happened."""
        return False


@admin.register(Run)
class RunAdmin(LedgerAdmin):
    """What ran, when, over what, and how it ended."""

    list_display = ("id", "operation", "state", "source", "started_at", "finished_at")
    list_filter = (known("operation", runs), "state", "started_at")

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Lead to the migration, and from a run that can be undone to its rollback."""
        if row is None:
            yield from to_operation(request, "Migrate", "migrate")
        elif row.operation in REVERSIBLE and row.state != Run.State.ROLLED_BACK:
            yield from to_operation(request, "Roll back", "rollback", run=row.pk)


@admin.register(Change)
class ChangeAdmin(LedgerAdmin):
    """What runs put in the place of something else."""

    list_display = ("id", "run", "domain", "kind", "key")
    contents = ("before",)
    list_filter = ()  # there may be millions, of which an index finds those of one run
    list_select_related = ("run",)
    readonly_fields = ("replaced_run",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Name the run before by its number for people."""
        return [name for name in super().get_fields(request, obj) if name != "before_run"]

    @admin.display(description="run before")
    def replaced_run(self, change: Change) -> str:
        """The run that had written what was replaced."""
        return _run_named(change.before_run)


@admin.register(Growth)
class GrowthAdmin(LedgerAdmin):
    """How much there was, day by day."""

    list_display = ("day", "domain", "store", "size", "counts")
    list_filter = (known("domain", domains), known("store", lambda: ("sql", "file", "memory")), "day")
    sortable_by = ("day",)


@admin.register(Reject)
class RejectAdmin(LedgerAdmin):
    """What runs had to leave; open until a later run has settled it."""

    list_display = ("id", "run", "domain", "path", "reason", "settled_by")
    contents = ("original",)
    list_filter = (known("domain", domains), ("settled_by", admin.EmptyFieldListFilter))
    list_select_related = ("run", "settled_by")

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Lead to where what is open is tried again."""
        if row is None or row.settled_by_id is None:
            only = {} if row is None else {"only": [row.domain]}
            yield from to_operation(request, "Try again what was rejected", "migrate", only_rejected=True, **only)


def pretty(value: Any) -> SafeString:
    """Return JSON as a page shows it."""
    if value is None:
        return format_html("{}", "-")
    return format_html("<pre>{}</pre>", json.dumps(value, ensure_ascii=False, indent=2))


def excerpt(text: str, length: int = 80) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _run_named(uid: int | None) -> str:
    """Return what a page says of a run that a row names by its uid."""
    if uid is None:
        return "-"
    run = Run.objects.filter(uid=uid).first()
    return "a run of another database" if run is None else f"{run.pk} ({run.operation})"


def _may_read(user: Any, obj: Any) -> bool:
    """Tell whether somebody may see the rows that a part of the ledger is about; of an unknown kind, all rows."""
    every = [(one.name, kind.plural, model) for one in registered() for kind, model in one.models.items()]
    about = [model for domain, kind, model in every if (domain, kind) == (obj.domain, obj.kind)]
    return all(may_see(user, model) for model in about or [model for _, _, model in every])


def _without_owner(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "user_id")
