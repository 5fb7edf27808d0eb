"""What is done to the rows that are chosen in a list: tags, and removal into the undo window."""

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
"""So many rows are changed at once, in one transaction; more is a matter of policies."""
_LISTED = 20
_ENCODED = "orb-id:"
_BOX = ModelAdmin.action_checkbox


class ReasonForm(forms.Form):
    """Why something is done."""

    reason = ExactTextField(
        required=False, max_length=200, label="Why", help_text="May stay empty; the history of each record shows it."
    )


class TagsForm(ReasonForm):
    """Tags, and why."""

    tags = ExactTextField(
        widget=forms.Textarea({"rows": 4}), label="Tags", help_text="One a line, letter by letter as in the records."
    )
    field_order = ("tags", "reason")

    def clean_tags(self) -> tuple[str, ...]:
        """Return the tags, each once."""
        tags = tuple(dict.fromkeys(one for one in self.cleaned_data["tags"].split("\n") if one))
        if not tags:
            raise forms.ValidationError("Write at least one tag.")
        return tags


class BulkActionsMixin(ModelAdmin):
    """A list whose rows are records, and what can be done to those that are chosen."""

    actions: tuple[str, ...] = ("delete_selected",)

    @property
    def domain(self) -> Domain:
        """The domain that the rows belong to."""
        return next(one for one in registered() if self.model in one.models.values())

    @property
    def store(self) -> SqlStore:
        """The store over the tables that these pages show."""
        return SqlStore(self.domain)

    @property
    def names(self) -> tuple[str, str]:
        """The names of the domain and of the kind of record."""
        return self.domain.name, self.model.kind.plural

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Read which rows were chosen, as the boxes of the list tell it."""
        if request.method == "POST":
            posted = request.POST.copy()
            chosen, across = map(_chosen, posted.getlist(ACTION_CHECKBOX_NAME)), posted.get("select_across") == "1"
            posted.setlist(ACTION_CHECKBOX_NAME, [one for one in chosen if across or self._is_key(one)])
            request.POST = posted  # type: ignore[assignment]
        return super().changelist_view(request, extra_context)

    def _is_key(self, text: str) -> bool:
        """Tell whether a row can have this primary key: a page of an earlier version may hold others."""
        try:
            self.model._meta.pk.to_python(text)
        except ValidationError:
            return False
        return True

    @admin.display(description=getattr(_BOX, "short_description", ""))
    def action_checkbox(self, obj: Any) -> Any:
        """Return the box that chooses a row, also one whose id holds line ends, which browsers change."""
        box = forms.CheckboxInput({"class": "action-select", "aria-label": f"Select this row for an action: {obj}"})
        box.check_test = lambda value: False  # noqa: ARG005 -- Django's own signature
        return box.render(ACTION_CHECKBOX_NAME, _choice(str(obj.pk)))

    @admin.action(description="Remove selected %(verbose_name_plural)s", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Any) -> Any:
        """Remove rows into the undo window, once somebody has seen how many they are."""

        def act(keys: list[Key], told: dict[str, Any]) -> str:
            number = self.remove(request, keys, told["reason"])
            return f"{number} were removed. They can be brought back while they are under “What was removed”."

        return self.asked(request, queryset, ReasonForm, act, "Remove")

    @admin.action(description="Add tags to selected %(verbose_name_plural)s", permissions=["change"])
    def tag(self, request: HttpRequest, queryset: Any) -> Any:
        """Add tags to rows, after those that they have."""
        return self._retag(request, queryset, "Add tags", lambda old, new: tuple(dict.fromkeys((*old, *new))))

    @admin.action(description="Take tags from selected %(verbose_name_plural)s", permissions=["change"])
    def untag(self, request: HttpRequest, queryset: Any) -> Any:
        """Take tags away from rows."""
        return self._retag(
            request, queryset, "Take tags", lambda old, gone: tuple(one for one in old if one not in gone)
        )

    def asked(
        self,
        request: HttpRequest,
        queryset: Any,
        form: type[forms.Form],
        act: Callable[[list[Key], dict[str, Any]], str],
        title: str,
    ) -> Any:
        """Ask what is to be done with the chosen rows, and do it to as many as were shown, or ask again.

        `act` gets the keys and what the form says, and returns what to say of it.
        """
        keys = list(queryset.values_list(*self.model.kind.key_fields)[: MOST + 1])
        if len(keys) > MOST:
            said = f"More than {MOST} rows are chosen, and nothing was done. Choose fewer; a policy removes any number."
            self.message_user(request, said, messages.ERROR)
            return None
        is_sent = "apply" in request.POST
        is_same = is_sent and request.POST.get("number") == str(len(keys))
        bound = form(request.POST if is_sent else None)
        if not is_same or not bound.is_valid():
            context = self._asking(request, keys, bound, title) | {"is_other": is_sent and not is_same}
            return TemplateResponse(request, "console/selected.html", context)
        try:
            self.message_user(request, act(keys, bound.cleaned_data), messages.SUCCESS)
        except OrbError as problem:
            self.message_user(request, refused("changed", problem), messages.ERROR)
        return None

    def remove(self, request: HttpRequest, keys: Sequence[Key], reason: str) -> int:
        """Remove records into the undo window, note it in the trail, and return how many there were."""
        report = remove(self.store, self.model.kind, keys, hand=hand_of(request, reason))
        number = _total(report, "removed")
        audit.note(request, "records removed", subject="/".join(self.names), run=report.run, records=number)
        return number

    def _asking(self, request: HttpRequest, keys: list[Key], form: forms.Form, title: str) -> dict[str, Any]:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        return self.admin_site.each_context(request) | {
            "title": f"{title}: {len(keys)} {self.opts.verbose_name_plural}",
            "button": title,
            "form": form,
            "opts": self.opts,
            "number": len(keys),
            "listed": [", ".join(key) for key in keys[:_LISTED]],
            "more": max(0, len(keys) - _LISTED),
            "box": ACTION_CHECKBOX_NAME,
            "chosen": list(map(_choice, chosen)),
            "action": request.POST.getlist("action")[0],
            "across": request.POST.get("select_across", "0"),
        }

    def _retag(
        self, request: HttpRequest, queryset: Any, title: str, made: Callable[[tuple[str, ...], Any], tuple[str, ...]]
    ) -> Any:
        kind, name = self.model.kind, str(self.model.kind.tag_field)

        def act(keys: list[Key], told: dict[str, Any]) -> str:
            def change(record: Any) -> Any:
                if isinstance(getattr(record, name), dict):  # a JSON object has no tags to change
                    return record
                return msgspec.structs.replace(record, **{name: made(getattr(record, name), told["tags"])})

            report = edit_each(self.store, kind, keys, change, hand=hand_of(request, told["reason"]))
            return f"{_total(report, 'changed')} were changed; {_total(report, 'unchanged')} needed no change."

        return self.asked(request, queryset, TagsForm, act, title)


def hand_of(request: HttpRequest, reason: str) -> Actor:
    """Return who does something in the admin, now."""
    return Actor(actor=request.user.get_username(), at=utc_now(), reason=" ".join(reason.split()))


def _total(report: Report, what: str) -> int:
    return sum(section.total(what) for section in report.domains.values())


def _choice(pk: str) -> str:
    """Return what stands for a row in a form; browsers change line ends, so that such ids are written otherwise."""
    return _ENCODED + segment(pk) if "\n" in pk or "\r" in pk or pk.startswith(_ENCODED) else pk


def _chosen(choice: str) -> str:
    """Return the primary key that was chosen."""
    if not choice.startswith(_ENCODED):
        return choice
    try:
        return name_of(choice.removeprefix(_ENCODED))
    except ValueError:
        return choice
