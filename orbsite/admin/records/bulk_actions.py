"""Bulk actions on the selected rows of a list: adding and removing tags, and removing records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.response import TemplateResponse

from orbsite.admin.base import audit
from orbsite.admin.base.changelist import ModelAdmin
from orbsite.admin.base.messages import refused
from orbsite.admin.forms.fields import ExactTextField
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit_each
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.url_ids import name_of, segment
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.record import Key
from orbsite.storage.sql.store import SqlStore

MOST = 10_000
"""The number of rows that one action changes in one transaction; retention policies remove any number."""
_LISTED = 20
_ENCODED = "orb-id:"
_BOX = ModelAdmin.action_checkbox


class ReasonForm(forms.Form):
    """A form for the reason of a change."""

    reason = ExactTextField(
        required=False, max_length=200, label="Reason", help_text="Optional. The history of each record shows it."
    )


class TagsForm(ReasonForm):
    """A form for tags and the reason of a change."""

    tags = ExactTextField(
        widget=forms.Textarea({"rows": 4}),
        label="Tags",
        help_text="One tag per line, spelled exactly as in the records.",
    )
    field_order = ("tags", "reason")

    def clean_tags(self) -> tuple[str, ...]:
        """Return the tags without duplicates. Raises ValidationError if there are none."""
        tags = tuple(dict.fromkeys(tag for tag in self.cleaned_data["tags"].split("\n") if tag))
        if not tags:
            raise forms.ValidationError("Enter at least one tag.")
        return tags


class BulkActionsMixin(ModelAdmin):
    """A list of records with bulk actions on the selected rows."""

    actions: tuple[str, ...] = ("delete_selected",)

    @property
    def domain(self) -> Domain:
        """The domain that the rows belong to."""
        return next(domain for domain in registered() if self.model in domain.models.values())

    @property
    def store(self) -> SqlStore:
        """The store over the tables that these pages show."""
        return SqlStore(self.domain)

    @property
    def names(self) -> tuple[str, str]:
        """The name of the domain and the plural name of the kind of record."""
        return self.domain.name, self.model.kind.plural

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Decode the primary keys of the selected rows, and drop values that cannot be primary keys."""
        if request.method == "POST":
            posted = request.POST.copy()
            keys, across = map(_decoded_key, posted.getlist(ACTION_CHECKBOX_NAME)), posted.get("select_across") == "1"
            posted.setlist(ACTION_CHECKBOX_NAME, [key for key in keys if across or self._is_key(key)])
            request.POST = posted  # type: ignore[assignment]
        return super().changelist_view(request, extra_context)

    def _is_key(self, text: str) -> bool:
        """Return whether a text is a valid primary key; an open page of an earlier version may send other values."""
        try:
            self.model._meta.pk.to_python(text)
        except ValidationError:
            return False
        return True

    @admin.display(description=getattr(_BOX, "short_description", ""))
    def action_checkbox(self, obj: Any) -> Any:
        """Return the checkbox that selects a row; it also works for ids with line ends, which browsers change."""
        box = forms.CheckboxInput({"class": "action-select", "aria-label": f"Select this row for an action: {obj}"})
        box.check_test = lambda value: False  # noqa: ARG005 -- Django's own signature
        return box.render(ACTION_CHECKBOX_NAME, _encoded_key(str(obj.pk)))

    @admin.action(description="Remove selected %(verbose_name_plural)s", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Any) -> Any:
        """Remove the selected rows after a confirmation page; they can be restored during the undo window."""

        def act(keys: list[Key], data: dict[str, Any]) -> str:
            number = self.remove(request, keys, data["reason"])
            return f"Removed {number} records. To restore them, open “Removed records” before the undo window ends."

        return self.asked(request, queryset, ReasonForm, act, "Remove")

    @admin.action(description="Add tags to selected %(verbose_name_plural)s", permissions=["change"])
    def tag(self, request: HttpRequest, queryset: Any) -> Any:
        """Append tags to the tags of the selected rows."""
        return self._retag(request, queryset, "Add tags", lambda old, new: tuple(dict.fromkeys((*old, *new))))

    @admin.action(description="Remove tags from selected %(verbose_name_plural)s", permissions=["change"])
    def untag(self, request: HttpRequest, queryset: Any) -> Any:
        """Remove tags from the selected rows."""
        return self._retag(
            request, queryset, "Remove tags", lambda old, removed: tuple(tag for tag in old if tag not in removed)
        )

    def asked(
        self,
        request: HttpRequest,
        queryset: Any,
        form: type[forms.Form],
        act: Callable[[list[Key], dict[str, Any]], str],
        title: str,
    ) -> Any:
        """Show a confirmation page; when it is submitted, run `act` on the selected rows.

        `act` gets the keys and the form's data, and returns the success message. If the number of selected rows has
        changed since the page was shown, nothing is done and the page is shown again.
        """
        keys = list(queryset.values_list(*self.model.kind.key_fields)[: MOST + 1])
        if len(keys) > MOST:
            message = (
                f"Nothing was changed, because more than {MOST} rows are selected. Select fewer rows. "
                "To remove any number of records, use a retention policy."
            )
            self.message_user(request, message, messages.ERROR)
            return None
        is_sent = "apply" in request.POST
        is_same = is_sent and request.POST.get("number") == str(len(keys))
        bound = form(request.POST if is_sent else None)
        if not is_same or not bound.is_valid():
            context = self._confirmation_context(request, keys, bound, title) | {"is_other": is_sent and not is_same}
            return TemplateResponse(request, "console/selected.html", context)
        try:
            self.message_user(request, act(keys, bound.cleaned_data), messages.SUCCESS)
        except OrbError as problem:
            self.message_user(request, refused("changed", problem), messages.ERROR)
        return None

    def remove(self, request: HttpRequest, keys: Sequence[Key], reason: str) -> int:
        """Remove records, write it to the audit log, and return how many there were; they can be restored later."""
        report = remove(self.store, self.model.kind, keys, hand=actor_of(request, reason))
        number = _total(report, "removed")
        audit.note(request, "records removed", subject="/".join(self.names), run=report.run, records=number)
        return number

    def _confirmation_context(
        self, request: HttpRequest, keys: list[Key], form: forms.Form, title: str
    ) -> dict[str, Any]:
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        return self.admin_site.each_context(request) | {
            "title": f"{title}: {len(keys)} {self.opts.verbose_name_plural}",
            "button": title,
            "form": form,
            "opts": self.opts,
            "number": len(keys),
            "listed": [", ".join(key) for key in keys[:_LISTED]],
            "more": max(0, len(keys) - _LISTED),
            "box": ACTION_CHECKBOX_NAME,
            "selected": list(map(_encoded_key, selected)),
            "action": request.POST.getlist("action")[0],
            "across": request.POST.get("select_across", "0"),
        }

    def _retag(
        self, request: HttpRequest, queryset: Any, title: str, made: Callable[[tuple[str, ...], Any], tuple[str, ...]]
    ) -> Any:
        kind, name = self.model.kind, str(self.model.kind.tag_field)

        def act(keys: list[Key], data: dict[str, Any]) -> str:
            def change(record: Any) -> Any:
                if isinstance(getattr(record, name), dict):  # a JSON object in place of the list holds no tags
                    return record
                return msgspec.structs.replace(record, **{name: made(getattr(record, name), data["tags"])})

            report = edit_each(self.store, kind, keys, change, hand=actor_of(request, data["reason"]))
            changed, unchanged = _total(report, "changed"), _total(report, "unchanged")
            return f"Changed {changed} records; {unchanged} records needed no change."

        return self.asked(request, queryset, TagsForm, act, title)


def actor_of(request: HttpRequest, reason: str) -> Actor:
    """Return the signed-in user as the actor of a change made now."""
    return Actor(actor=request.user.get_username(), at=utc_now(), reason=" ".join(reason.split()))


def _total(report: Report, what: str) -> int:
    return sum(section.total(what) for section in report.domains.values())


def _encoded_key(pk: str) -> str:
    """Return a primary key as a form value; keys with line ends are encoded, because browsers change line ends."""
    return _ENCODED + segment(pk) if "\n" in pk or "\r" in pk or pk.startswith(_ENCODED) else pk


def _decoded_key(value: str) -> str:
    if not value.startswith(_ENCODED):
        return value
    try:
        return name_of(value.removeprefix(_ENCODED))
    except ValueError:
        return value
