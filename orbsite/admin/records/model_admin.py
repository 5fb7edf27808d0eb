"""The base of the admin pages of all kinds of records, and the pages of the ledger."""

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
from typing_extensions import override

from orbsite.admin.base.cells import user_cell
from orbsite.admin.base.changelist import ModelAdmin, QuickAdmin, domains, known, runs
from orbsite.admin.base.permissions import may_see
from orbsite.admin.forms.fields import ExactTextField, InstantField, RecordForm, TreeField
from orbsite.admin.jobs import story
from orbsite.admin.jobs.story import Story
from orbsite.admin.jobs.story_page import StoryMixin
from orbsite.admin.links import Link, LinksMixin, to_operation
from orbsite.admin.records.columns import ColumnsMixin
from orbsite.admin.records.editing import EditingMixin
from orbsite.admin.records.filters import TypedFilter
from orbsite.admin.records.operation_actions import OperationActionsMixin
from orbsite.admin.records.record_list import RecordList
from orbsite.admin.records.trash import may_look
from orbsite.models.ledger import Change, Reject, Run, RunState
from orbsite.models.statistics import Growth
from orbsite.operations.migration.rollback import REVERSIBLE
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.domain import registered
from orbsite.storage.sql.models import RecordRow

__all__ = ["LedgerAdmin", "ModelAdmin", "QuickAdmin", "RecordAdmin", "pretty"]


class RecordAdmin(ColumnsMixin, OperationActionsMixin, EditingMixin, QuickAdmin):
    """Pages for the rows of one kind of record. Its forms apply the record's own validation rules."""

    search_label: ClassVar[str] = "Find a complete id"
    """The label of the search field of the list."""
    former_address: ClassVar[str] = ""
    """The former primary key, with which URLs of earlier versions identify a row; empty if it has not changed."""
    form = RecordForm
    formfield_overrides = {
        models.JSONField: {"form_class": TreeField},
        models.CharField: {"form_class": ExactTextField},
        models.TextField: {"form_class": ExactTextField},
        models.DateTimeField: {"form_class": InstantField, "widget": AdminTextInputWidget},
    }

    @override
    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        return RecordList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow the lookups that the search form has fields for."""
        typed = {
            one.parameter_name for one in self.list_filter if isinstance(one, type) and issubclass(one, TypedFilter)
        }
        return lookup in typed or super().lookup_allowed(lookup, value, request)

    @admin.display(description="user", ordering="user_id")
    def shown_user(self, row: Any) -> SafeString:
        """The user, with a link to the page about the user."""
        return user_cell(row.user_id)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the fields that cannot be edited; the key and the owner of an existing row are among them."""
        computed = ("unknown_keys", "written_by", "digest")
        locked = () if self.is_unlocked(request) else self.locked
        return computed if obj is None else ("user_id", *_without_owner(obj.kind.key_fields), *locked, *computed)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields of the record, then those of the edit, then the row's metadata."""
        model: type[RecordRow] = self.model
        fields = [name for name in model.kind.__struct_fields__ if name != "extra"]
        of_edit = ("reason", "expect") if obj is not None and self.has_change_permission(request, obj) else ()
        return [*fields, *of_edit, *(() if obj is None else ("unknown_keys", "written_by", "digest"))]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Store an empty input of a nullable text field as None."""
        if isinstance(db_field, models.TextField) and db_field.null:
            options["empty_value"] = None
        return super().formfield_for_dbfield(db_field, request, **options)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a complete id, compared exactly: ids are opaque, and an index answers the query."""
        term = request.GET.get(SEARCH_VAR, "")
        if not term:
            return queryset, False
        if UNCLEAN.search(term):
            return queryset.none(), False
        return queryset.filter(reduce(or_, (Q(**{name: term}) for name in self.search_fields))), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row by its primary key, or by its former primary key if exactly one row has it."""
        if UNCLEAN.search(object_id):
            return None
        row = super().get_object(request, object_id, from_field)
        if row is None and self.former_address:
            matches = list(self.get_queryset(request).filter(**{self.former_address: object_id})[:2])
            row = matches[0] if len(matches) == 1 else None
        if row is not None:
            row.open_columns()
        return row

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Drop query parameters with characters that a database refuses, such as NUL."""
        if any(UNCLEAN.search(value) for values in request.GET.lists() for value in values[1]):
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    @admin.display(description="unknown keys")
    def unknown_keys(self, row: RecordRow) -> SafeString:
        """The keys that this version does not know; they are kept for the program that wrote them."""
        return pretty(row.extra)

    @admin.display(description="run")
    def written_by(self, row: RecordRow) -> str:
        """The last run that wrote the row."""
        return _run_label(row.run_id)


class LedgerAdmin(LinksMixin, QuickAdmin):
    """Read-only pages of a ledger table: operations write its rows, and no user adds, changes or deletes them."""

    sortable_by: ClassVar[tuple[str, ...]] = ("id",)
    contents: ClassVar[tuple[str, ...]] = ()
    """The fields that hold users' texts; only users who may view the records see them."""

    @override
    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave out the column of users, whose links lead to a page that the viewer may not open."""
        names = tuple(map(str, self.list_display))
        return names if may_look(self.admin_site, request) else tuple(name for name in names if name != "shown_user")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out the fields with users' texts if the user may not view the records."""
        fields = super().get_fields(request, obj)
        if obj is None or not self.contents or _may_read(request.user, obj):
            return fields
        return [name for name in fields if name not in self.contents]

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(StoryMixin, LedgerAdmin):
    """Pages of runs: their operation, state, source and times."""

    list_display = ("id", "operation", "state", "source", "started_at", "finished_at")
    list_filter = (known("operation", runs), "state", "started_at")

    @override
    def story(self, request: HttpRequest, row: Run) -> Story:
        return story.of_run(row, request.user)

    @override
    def counts(self, row: Run) -> dict[str, Any]:
        counts: dict[str, Any] = row.counts
        return counts

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link the list to the migration form, and a reversible run to its rollback form."""
        if row is None:
            yield from to_operation(request, "Migrate", "migrate")
        elif row.operation in REVERSIBLE and row.state != RunState.ROLLED_BACK:
            yield from to_operation(request, "Roll back", "rollback", run=row.pk)


@admin.register(Change)
class ChangeAdmin(LedgerAdmin):
    """Pages of changes: the records that runs replaced or removed."""

    list_display = ("id", "run", "domain", "kind", "shown_user", "key")
    contents = ("before",)
    list_filter = ()  # the table may have millions of rows, and its index only finds the changes of one run
    list_select_related = ("run",)
    readonly_fields = ("replaced_run",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show `replaced_run` instead of the internal id in `before_run`."""
        return [name for name in super().get_fields(request, obj) if name != "before_run"]

    @admin.display(description="user")
    def shown_user(self, change: Change) -> SafeString:
        """The user whose record was changed, with a link to the page about the user."""
        return user_cell(change.owner or "")

    @admin.display(description="run before")
    def replaced_run(self, change: Change) -> str:
        """The run that wrote the replaced version."""
        return _run_label(change.before_run)


@admin.register(Growth)
class GrowthAdmin(LedgerAdmin):
    """Pages of daily statistics: the size and the record counts of each store."""

    list_display = ("day", "domain", "store", "size", "counts")
    list_filter = (known("domain", domains), known("store", lambda: ("sql", "file", "memory")), "day")
    sortable_by = ("day",)


@admin.register(Reject)
class RejectAdmin(LedgerAdmin):
    """Pages of rejected records; a reject is open until a later run settles it."""

    list_display = ("id", "run", "domain", "shown_user", "path", "reason", "settled_by")
    contents = ("original",)
    list_filter = (known("domain", domains), ("settled_by", admin.EmptyFieldListFilter))
    list_select_related = ("run", "settled_by")

    @admin.display(description="user")
    def shown_user(self, reject: Reject) -> SafeString:
        """The user whose record it is, where that is known, with a link to the page about the user."""
        return user_cell(reject.owner)

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link the list and open rejects to the migration form that retries rejected records."""
        if row is None or row.settled_by_id is None:
            only = {} if row is None else {"only": [row.domain]}
            yield from to_operation(request, "Retry rejected records", "migrate", only_rejected=True, **only)


def pretty(value: Any) -> SafeString:
    """Return a value as indented JSON in a `pre` element, or a dash for None."""
    if value is None:
        return format_html("{}", "-")
    return format_html("<pre>{}</pre>", json.dumps(value, ensure_ascii=False, indent=2))


def _run_label(uid: int | None) -> str:
    """Return the number and operation of the run with a uid, as a page shows them."""
    if uid is None:
        return "-"
    run = Run.objects.filter(uid=uid).first()
    return "a run of another database" if run is None else f"{run.pk} ({run.operation})"


def _may_read(user: Any, obj: Any) -> bool:
    """Return whether the user may view the records of a ledger row; for an unknown kind, all records."""
    every = [(domain.name, kind.plural, model) for domain in registered() for kind, model in domain.models.items()]
    matching = [model for domain, kind, model in every if (domain, kind) == (obj.domain, obj.kind)]
    return all(may_see(user, model) for model in matching or [model for _, _, model in every])


def _without_owner(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "user_id")
