"""Form fields that change nothing but what a person changed."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from orbsite.storage.encoding import json_parser, timestamps
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.findings import ROOT
from orbsite.storage.records.digest import digest

UNKEPT = re.compile(r"[\r\n]")
"""What browsers take out of a text in one line."""


class ExactTextField(forms.CharField):
    """Text with its white space; browsers send CR LF at line ends, which is taken as LF."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "strip": False})

    def to_python(self, value: Any) -> Any:
        """Return the text. Raises ValidationError for what no record may hold."""
        text = super().to_python(value)
        if isinstance(text, str) and UNCLEAN.search(text):
            raise ValidationError("The text holds a NUL character or a lone surrogate.")
        return text.replace("\r\n", "\n") if isinstance(text, str) else text

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether a person changed the text."""
        return lines_of(initial) != lines_of(data)


class InstantField(forms.CharField):
    """An instant, spelled as in the files."""

    def prepare_value(self, value: Any) -> Any:
        """Return the instant as text."""
        return timestamps.spell(value) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> Any:
        """Return the instant. Raises ValidationError."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            return timestamps.parse(text)[0]
        except ValueError as problem:
            raise ValidationError(f"The text {problem}.") from problem

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether a person changed the instant."""
        return bool(self.prepare_value(initial) != data)


class TreeField(forms.JSONField):
    """JSON over several lines, read by the same strict loader as files."""

    def prepare_value(self, value: Any) -> Any:
        """Return the value as indented text."""
        if isinstance(value, forms.fields.InvalidJSONInput):
            return str(value)
        return json.dumps(value, ensure_ascii=False, indent=2)

    def to_python(self, value: Any) -> Any:
        """Return the parsed value. Raises ValidationError."""
        if self.disabled or value in self.empty_values:
            return None if value in self.empty_values else value
        return _tree(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what to show again: the text as it was sent, where it was sent."""
        if self.disabled:
            return initial
        try:
            return _tree(data)
        except ValidationError:
            return forms.fields.InvalidJSONInput(str(data).encode("utf-8", "replace").decode())

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether a person changed the value."""
        try:
            return canonical(self.to_python(data)) != canonical(initial)
        except ValidationError:
            return True


class AsideField(ExactTextField):
    """What is sent beside a row's fields, and is no change of it."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell that nothing of the row was changed by it."""
        return False


class RecordForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form of a row: whatever nobody changed keeps its value to the last space."""

    expect = AsideField(required=False, widget=forms.HiddenInput)
    reason = AsideField(
        required=False, max_length=200, label="Why", help_text="May stay empty; the history of the record shows it."
    )

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._there = _digest(self.instance)
        for name, field in self.fields.items():
            if isinstance(field, ExactTextField) and UNKEPT.search(str(self.initial.get(name) or "")):
                field.widget = forms.Textarea({"rows": 2})
        self.initial["expect"] = self._there

    def clean(self) -> dict[str, Any] | None:
        """Put the row's own values back where nothing was changed; refuse where somebody else changed it meanwhile."""
        cleaned = super().clean()
        if cleaned is not None and self.instance.pk is not None:
            unchanged = self.initial.keys() & self.fields.keys() - {*self.changed_data, "expect"}
            cleaned |= {name: self.initial[name] for name in unchanged}
            if "expect" in self.data and cleaned.get("expect", "") != self._there:
                raise ValidationError(
                    "Somebody else has changed this since the page was opened, and nothing was saved. Open it again "
                    "beside this page, see what is there now, and make your change to that."
                )
        return cleaned


def _digest(row: Any) -> str:
    """Return the digest of what a row says; empty where it says nothing that can be read."""
    record = None if row.pk is None or row._state.adding else row.reading().record
    return "" if record is None else digest(record)


def _tree(text: Any) -> Any:
    try:
        tree = json_parser.parse(str(text).encode())
    except (json_parser.MalformedJSON, UnicodeEncodeError) as problem:
        raise ValidationError(f"This is not valid JSON: {problem}") from problem
    if found := [*json_parser.problems(tree, ROOT), *json_parser.repetitions(tree)]:
        raise ValidationError([f"{finding.path}: {finding.message}" for finding in found])
    return tree


def lines_of(text: Any) -> str:
    """Return a text with the line ends that are kept, whatever a browser has made of them."""
    return "" if text is None else str(text).replace("\r\n", "\n").replace("\r", "\n")
