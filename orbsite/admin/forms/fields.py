"""Form fields that keep a value exactly as it was unless the user has changed it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from typing_extensions import override

from orbsite.storage.encoding import json_parser, timestamps
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.findings import ROOT
from orbsite.storage.records.digest import digest

UNKEPT = re.compile(r"[\r\n]")
"""The characters that browsers remove from the text of a one-line input."""


class ExactTextField(forms.CharField):
    """A text field that keeps white space; the CR LF that browsers send is read as LF."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "strip": False})

    def to_python(self, value: Any) -> Any:
        """Return the text. Raises ValidationError for NUL characters and lone surrogates."""
        text = super().to_python(value)
        if isinstance(text, str) and UNCLEAN.search(text):
            raise ValidationError("The text contains a NUL character or a lone surrogate. Remove that character.")
        return text.replace("\r\n", "\n") if isinstance(text, str) else text

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the user has changed the text; line ends are compared as LF."""
        return lines_of(initial) != lines_of(data)


class InstantField(forms.CharField):
    """A field for an instant, written as in the JSON files."""

    @override
    def prepare_value(self, value: Any) -> Any:
        return timestamps.spell(value) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> Any:
        """Return the instant, or None for empty text. Raises ValidationError."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            return timestamps.parse(text)[0]
        except ValueError as problem:
            raise ValidationError(f"The text {problem}.") from problem

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial) != data)


class TreeField(forms.JSONField):
    """A field for indented JSON, which is read by the same strict parser as files."""

    @override
    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return str(value)
        return json.dumps(value, ensure_ascii=False, indent=2)

    def to_python(self, value: Any) -> Any:
        """Return the parsed JSON. Raises ValidationError for invalid JSON and repeated keys."""
        if self.disabled or value in self.empty_values:
            return None if value in self.empty_values else value
        return _tree(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return the value to show again; invalid JSON is shown as it was sent."""
        if self.disabled:
            return initial
        try:
            return _tree(data)
        except ValidationError:
            return forms.fields.InvalidJSONInput(str(data).encode("utf-8", "replace").decode())

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return canonical(self.to_python(data)) != canonical(initial)
        except ValidationError:
            return True


class SuggestedInput(forms.TextInput):
    """A text input that suggests values and accepts others too."""

    template_name = "console/suggested_input.html"

    def __init__(self, suggestions: Callable[[], Iterable[str]], attrs: Any = None) -> None:
        super().__init__(attrs)
        self.suggestions = suggestions

    @override
    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["attrs"]["list"] = f"{context['widget']['attrs'].get('id', name)}-suggestions"
        context["widget"]["suggestions"] = self.suggestions()
        return context


class MetadataField(ExactTextField):
    """A field that is sent with a row's fields but does not change the row."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return False, because this field is not part of the row."""
        return False


class RecordForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of a row. A field that the user has not changed keeps its value exactly."""

    expect = MetadataField(required=False, widget=forms.HiddenInput)
    reason = MetadataField(
        required=False, max_length=200, label="Reason", help_text="Optional. The history of the record shows it."
    )

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._shown_digest = _digest(self.instance)
        for name, field in self.fields.items():
            if isinstance(field, ExactTextField) and UNKEPT.search(str(self.initial.get(name) or "")):
                field.widget = forms.Textarea({"rows": 2})
        self.initial["expect"] = self._shown_digest

    def clean(self) -> dict[str, Any] | None:
        """Keep the values of unchanged fields. Raises ValidationError if the row has changed since it was shown."""
        cleaned = super().clean()
        if cleaned is not None and self.instance.pk is not None:
            unchanged = self.initial.keys() & self.fields.keys() - {*self.changed_data, "expect"}
            cleaned |= {name: self.initial[name] for name in unchanged}
            if "expect" in self.data and cleaned.get("expect", "") != self._shown_digest:
                raise ValidationError(
                    "Nothing was saved, because this record was changed after you opened the page. Open the record in "
                    "a new tab, and repeat your changes there."
                )
        return cleaned


def _digest(row: Any) -> str:
    """Return the digest of a row's record; empty for a new row and for one that cannot be decoded."""
    record = None if row.pk is None or row._state.adding else row.reading().record
    return "" if record is None else digest(record)


def _tree(text: Any) -> Any:
    try:
        tree = json_parser.parse(str(text).encode())
    except (json_parser.MalformedJSON, UnicodeEncodeError) as problem:
        raise ValidationError(f"The text is not valid JSON: {problem}") from problem
    if findings := [*json_parser.problems(tree, ROOT), *json_parser.repetitions(tree)]:
        raise ValidationError([f"{finding.path}: {finding.message}" for finding in findings])
    return tree


def lines_of(text: Any) -> str:
    """Return a text with LF as its only line end, or empty text for None."""
    return "" if text is None else str(text).replace("\r\n", "\n").replace("\r", "\n")
