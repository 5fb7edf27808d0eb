"""Editing records in the admin: the ledger keeps every change, and every change can be reverted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path, reverse

from orbsite.admin.base import url_converters as _  # noqa: F401 -- its converters
from orbsite.admin.base.cells import user_address
from orbsite.admin.base.messages import refused
from orbsite.admin.forms.list_field import ListField, ListItems
from orbsite.admin.forms.values_in_use import values_in_use
from orbsite.admin.records.bulk_actions import BulkActionsMixin, actor_of
from orbsite.operations.ledger.manual_changes import times_of
from orbsite.operations.records.edit import edit
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.record import Key, declared
from orbsite.storage.sql.models import JSONColumn, RecordRow
from orbsite.storage.sql.retry import TransactionRetry

UNLOCK = "unlock"


class EditingMixin(BulkActionsMixin):
    """Pages of one row: its form, its history and its removal. The ledger keeps all changes."""

    change_form_template = "console/record_form.html"
    change_list_template = "console/record_list.html"
    locked: tuple[str, ...] = ()
    """The fields that are read-only until the user unlocks them."""
    brief: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By list of objects, the fields that its rows show; the others are under their details."""
    suggested: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By list of objects, the fields whose inputs suggest the values that are in use."""

    def preset(self, record: Any) -> Any:
        """Return the preset that a record can be reset to, or None if its app has none."""
        return None

    def get_urls(self) -> list[Any]:
        """Use the path converter `object`, so that browsers do not change primary keys in URLs."""
        return [
            path(str(url.pattern).replace("<path:", "<object:"), url.callback, url.default_args, url.name)
            for url in super().get_urls()
        ]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill the time fields of a new record with the current time."""
        times = filter(None, {self.model.kind.time_field, *times_of(self.model.kind)})
        return dict.fromkeys(times, utc_now()) | super().get_changeform_initial_data(request)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Use a form field with one row per item for lists."""
        items, name = None, db_field.name
        if isinstance(db_field, JSONColumn) and name in declared(self.model.kind):
            items = ListItems.of(
                declared(self.model.kind)[name],
                str(db_field.verbose_name).removesuffix("s"),
                brief=self.brief.get(name, ()),
                suggestions=lambda: values_in_use(self.model, name, self.suggested.get(name, ())),
            )
        if items is not None:
            options |= {"form_class": ListField, "items": items}
        return super().formfield_for_dbfield(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the record of the form as an edit in the ledger."""
        data, record = form.cleaned_data, obj.record()
        actor = actor_of(request, data.get("reason") or "")
        if change:
            is_timed = bool(times_of(type(record)) & {*form.changed_data})
            edit(self.store, record, hand=actor, expect=data.get("expect") or None, stamp=not is_timed)
            return
        edit(self.store, record, hand=actor, free=True)
        where = dict(zip(record.key_fields, record.key, strict=True))
        obj.pk = self.model._base_manager.values_list("pk", flat=True).get(**where)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Remove a record; it can be restored during the undo window."""
        self.remove(request, [_key(obj)], "")

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Remove records; they can be restored during the undo window."""
        self.remove(request, list(queryset.values_list(*self.model.kind.key_fields)), "")

    def changeform_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        """Show or save a row's form; if saving fails, show the error and the form again."""
        return self._report_errors(
            request, "saved", lambda: super(EditingMixin, self).changeform_view(request, *arguments, **named)
        )

    def delete_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        """Ask for a confirmation, or remove the row; if that fails, show the error and the page again."""
        return self._report_errors(
            request, "removed", lambda: super(EditingMixin, self).delete_view(request, *arguments, **named)
        )

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Redirect to the record's history in the ledger."""
        row = self.get_object(request, unquote(object_id))
        if row is None or not all(_key(row)):  # a key with an empty part has no URL
            return super().history_view(request, object_id, extra_context)
        return HttpResponseRedirect(reverse("admin:record_history", args=[*self.names, _key(row)]))

    def is_unlocked(self, request: HttpRequest) -> bool:
        """Return whether the request unlocks the locked fields."""
        return UNLOCK in request.GET

    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        """Add the links to the user's page, to reset the record, and to unlock its locked fields."""
        row = context.get("original")
        if row is not None and row.user_id:
            context["user_page"] = user_address(row.user_id)
        if row is not None and self.has_change_permission(request, row):
            record = row.reading().record
            if record is not None and self.preset(record) is not None:
                context["reset"] = reverse("admin:record_reset", args=[*self.names, _key(row)])
            if self.locked and not self.is_unlocked(request):
                query = request.GET.copy()
                query[UNLOCK] = "1"
                context |= {"unlock": f"?{query.urlencode()}", "locked": " and ".join(self.locked)}
        return super().render_change_form(request, context, *arguments, **options)

    def _report_errors(self, request: HttpRequest, done: str, act: Callable[[], Any]) -> Any:
        try:  # Django runs the view in one transaction, which is retried as a whole
            return TransactionRetry(self.store.using).run(act) if request.method == "POST" else act()
        except OrbError as problem:
            self.message_user(request, refused(done, problem), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _key(row: RecordRow) -> Key:
    return tuple(getattr(row, name) for name in row.kind.key_fields)
