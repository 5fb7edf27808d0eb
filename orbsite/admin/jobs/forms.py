"""Forms for the arguments of operations, made from their declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError

from orbsite.admin.forms.fields import UNKEPT, ExactTextField
from orbsite.conf import app_settings
from orbsite.models.ledger import Run, RunState
from orbsite.models.retention import RetentionPolicy, domains_with_retention
from orbsite.operations.backup import uploads
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import Request, type_of
from orbsite.operations.migration.rollback import REVERSIBLE
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered

_MOST = 100
"""So many there are to choose from; older ones are started by their number, from their own page."""


class ArgumentsForm(forms.Form):
    """The arguments of one operation."""

    def __init__(
        self, kind: type[Request], data: Any = None, *, files: Any = None, given: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(data, files, label_suffix="")
        self.kind = kind
        for field, told in kind.arguments().values():
            made = _field(kind, field)
            if made is not None:
                made.label, made.help_text = told.label, told.help
                self.fields[field.encode_name] = made
        self.order_fields([*(self.field_order or ()), *(name for name in self.fields if name != "only")])
        for name, value in (given or {}).items():
            if name in self.fields:
                self.initial[name] = _initial(self.fields[name], value)
                if isinstance(self.fields[name], ExactTextField) and UNKEPT.search(value):
                    self.fields[name].widget = forms.Textarea({"rows": 2})  # a one-line input loses line ends

    def clean(self) -> dict[str, Any]:
        """Refuse what the operation itself would refuse."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                catalog.read(self.kind.name, self.arguments)
            except OrbError as problem:
                raise ValidationError(str(problem)) from problem
        return cleaned

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as a job keeps them: those that say something else than the operation assumes."""
        found = {name: _plain(self.fields[name], value) for name, value in self.cleaned_data.items()}
        if sorted(found.get("only") or ()) == _domains(self.kind):
            found.pop("only")
        defaults = {one.encode_name: one.default for one in msgspec.structs.fields(self.kind)}
        return {name: value for name, value in found.items() if value not in (None, "", [], defaults.get(name))}


def _field(kind: type[Request], field: msgspec.structs.FieldInfo) -> forms.Field | None:
    """Return the form's field for an argument; none for what the buttons say."""
    name, required = field.encode_name, field.required
    if name in _OF_BUTTONS:
        return None
    if name == "only":
        names = _domains(kind)
        boxes = forms.CheckboxSelectMultiple
        return forms.MultipleChoiceField(choices=[(one, one) for one in names], initial=names, widget=boxes)
    if name in _CHOSEN:
        choices, of = _CHOSEN[name]
        return forms.TypedChoiceField(
            choices=choices, coerce=of, empty_value=None, required=required and name != "upload"
        )
    if name in _LISTED:
        return Lines(is_json=name == "keys", required=required, widget=forms.Textarea(attrs={"rows": 3, "cols": 60}))
    return _plainly(field)


def _plainly(field: msgspec.structs.FieldInfo) -> forms.Field:
    """Return the field for an argument that is asked for as its type says."""
    default = None if field.default is msgspec.NODEFAULT else field.default
    if type_of(field) is bool:
        return forms.BooleanField(required=False, initial=default)
    if type_of(field) is float:
        return forms.FloatField(min_value=0, initial=default)
    return ExactTextField(required=field.required, initial=default, max_length=255)


class Lines(ExactTextField):
    """Texts, one on each line."""

    def __init__(self, *, is_json: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.is_json = is_json
        """Whether each line is JSON; the page shows the field only on request."""

    def to_python(self, value: Any) -> Any:
        """Return the lines that are not empty."""
        text = super().to_python(value)
        return [line for line in text.split("\n") if line] if isinstance(text, str) else text


def _plain(field: forms.Field, value: Any) -> Any:
    return list(value) if isinstance(field, forms.MultipleChoiceField | Lines) else value


def _initial(field: forms.Field, value: str) -> Any:
    if isinstance(field, forms.BooleanField):
        return value in ("1", "true", "on")
    return value.split(",") if isinstance(field, forms.MultipleChoiceField) else value


def _domains(kind: type[Request]) -> list[str]:
    return domains_with_retention() if kind.name == "maintain" else [domain.name for domain in registered()]


def _runs() -> list[tuple[str, str]]:
    runs = Run.objects.filter(operation__in=REVERSIBLE).exclude(state=RunState.ROLLED_BACK).order_by("-id")[:_MOST]
    return [
        (str(run.pk), f"{run.pk}: {run.operation} of {run.started_at:%Y-%m-%d %H:%M} UTC, {run.state}") for run in runs
    ]


def _policies() -> list[tuple[str, str]]:
    policies = RetentionPolicy.objects.order_by("name")[:_MOST]
    return [("", "-"), *((str(one.pk), f"{one.name} ({one.domain}, {one.store})") for one in policies)]


def _versions() -> list[tuple[str, str]]:
    newest = max((domain.versions.newest for domain in registered() if domain.versions is not None), default=0)
    return [("", "-"), *((str(one), str(one)) for one in range(newest + 1))]


def _uploads() -> list[tuple[str, str]]:
    return [("", "-"), *((name, name) for name in uploads.names(app_settings.backup_directory()))]


def _kinds() -> list[tuple[str, str]]:
    return [("", "all"), *((kind.plural, kind.plural) for domain in registered() for kind in domain.kinds)]


_OF_BUTTONS = ("dry_run", "apply")
_LISTED = ("remove", "keys")
_CHOSEN: dict[str, tuple[Callable[[], list[tuple[str, str]]], type[int] | type[str]]] = {
    "run": (_runs, int),
    "policy": (_policies, int),
    "upload": (_uploads, str),
    "schema_version": (_versions, int),
    "kind": (_kinds, str),
}
"""What is chosen among what there is, and its type."""
