"""Records changed by hand in the admin: every change goes through the ledger, and can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path, reverse

from orbsite.admin.base import url_converters as _  # noqa: F401 -- its converters
from orbsite.admin.base.messages import refused
from orbsite.admin.forms.list_field import ListField, ListItems
from orbsite.admin.records.bulk_actions import BulkActionsMixin, hand_of
from orbsite.operations.ledger.manual_changes import times_of
from orbsite.operations.records.edit import edit
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.record import Key, declared
from orbsite.storage.sql.models import JSONColumn, RecordRow
from orbsite.storage.sql.retry import TransactionRetry

UNLOCK = "unlock"


class EditingMixin(BulkActionsMixin):
    """Pages of one row: a form whose changes are remembered, its history, and its removal into the undo window."""

    change_form_template = "console/record_form.html"
    change_list_template = "console/record_list.html"
    locked: tuple[str, ...] = ()
    """What is read alone, unless somebody asks to edit it too."""

    def preset(self, record: Any) -> Any:
        """Return what a record begins with, where its app has something for it."""
        return None

    def get_urls(self) -> list[Any]:
        """Write primary keys in addresses so that no browser changes them."""
        return [
            path(str(one.pattern).replace("<path:", "<object:"), one.callback, one.default_args, one.name)
            for one in super().get_urls()
        ]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with the time that it is."""
        times = filter(None, {self.model.kind.time_field, *times_of(self.model.kind)})
        return dict.fromkeys(times, utc_now()) | super().get_changeform_initial_data(request)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Let lists be edited row by row."""
        items = None
        if isinstance(db_field, JSONColumn) and db_field.name in declared(self.model.kind):
            label = str(db_field.verbose_name).removesuffix("s")
            items = ListItems.of(declared(self.model.kind)[db_field.name], label)
        if items is not None:
            options |= {"form_class": ListField, "items": items}
        return super().formfield_for_dbfield(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Put the record that the form made, as an edit that the ledger remembers."""
        told, record = form.cleaned_data, obj.record()
        hand = hand_of(request, told.get("reason") or "")
        if change:
            is_timed = bool(times_of(type(record)) & {*form.changed_data})
            edit(self.store, record, hand=hand, expect=told.get("expect") or None, stamp=not is_timed)
            return
        edit(self.store, record, hand=hand, free=True)
        where = dict(zip(record.key_fields, record.key, strict=True))
        obj.pk = self.model._base_manager.values_list("pk", flat=True).get(**where)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Remove a row into the undo window."""
        self.remove(request, [_key(obj)], "")

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Remove rows into the undo window."""
        self.remove(request, list(queryset.values_list(*self.model.kind.key_fields)), "")

    def changeform_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        """Show a row's form, or save it; where that cannot be, say why."""
        return self._told(
            request, "saved", lambda: super(EditingMixin, self).changeform_view(request, *arguments, **named)
        )

    def delete_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        """Ask whether a row is to go, or remove it; where that cannot be, say why."""
        return self._told(
            request, "removed", lambda: super(EditingMixin, self).delete_view(request, *arguments, **named)
        )

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Send on to the record's own history."""
        row = self.get_object(request, unquote(object_id))
        if row is None or not all(_key(row)):  # a part of a key that is empty has no address
            return super().history_view(request, object_id, extra_context)
        return HttpResponseRedirect(reverse("admin:record_history", args=[*self.names, _key(row)]))

    def is_unlocked(self, request: HttpRequest) -> bool:
        """Tell whether somebody asks to edit everything."""
        return UNLOCK in request.GET

    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        """Tell the form which other pages the record has."""
        row = context.get("original")
        if row is not None and self.has_change_permission(request, row):
            record = row.reading().record
            if record is not None and self.preset(record) is not None:
                context["reset"] = reverse("admin:record_reset", args=[*self.names, _key(row)])
            if self.locked and not self.is_unlocked(request):
                query = request.GET.copy()
                query[UNLOCK] = "1"
                context |= {"unlock": f"?{query.urlencode()}", "locked": " and ".join(self.locked)}
        return super().render_change_form(request, context, *arguments, **options)

    def _told(self, request: HttpRequest, done: str, act: Callable[[], Any]) -> Any:
        try:  # Django has all of it in one transaction, which is tried again as a whole
            return TransactionRetry(self.store.using).run(act) if request.method == "POST" else act()
        except OrbError as problem:
            self.message_user(request, refused(done, problem), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _key(row: RecordRow) -> Key:
    return tuple(getattr(row, name) for name in row.kind.key_fields)
