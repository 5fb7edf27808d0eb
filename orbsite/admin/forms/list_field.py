"""Form fields for lists: a row of inputs for each item, and the whole list as JSON for advanced edits.

Rows work without scripts: there are empty rows at the end, a number sets the order, and a checkbox removes a row. Each
row carries its original item, so that unchanged items keep their unknown keys and their form. Scripts add buttons to
the rows of objects, and make chips of the rows of a list of texts; they send the same inputs.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import msgspec
from django import forms
from django.forms.widgets import Script
from typing_extensions import override

from orbsite.admin.forms.fields import TreeField, lines_of
from orbsite.storage.encoding import json_parser
from orbsite.storage.findings import ROOT
from orbsite.storage.records.record import Value, declared, list_form

MOST_ROWS = 500
"""Longer lists are edited only as JSON, because the server limits the number of inputs in a request."""
_LAST = 1_000_000
_TEXT, _OBJECT, _OTHER = "text", "object", "other"
_LINES = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a row: a field of an object, or a whole item that is text."""

    name: str
    label: str
    form: str
    """`text`, `check`, or `lines` for one text per line."""
    value: Any = ""
    optional: bool = False
    is_suggested: bool = False
    """Whether the page suggests values that are in use."""

    @property
    def is_long(self) -> bool:
        """Whether the input needs several lines, because browsers remove line ends from one-line inputs."""
        return self.form == "lines" or (isinstance(self.value, str) and re.search(r"[\r\n]", self.value) is not None)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """The inputs of one item."""

    number: str
    form: str
    inputs: list[Input]
    details: list[Input] = field(default_factory=list)
    """The inputs that are hidden until the user asks for them."""
    was: str | None = None
    """The original item as JSON; None for an empty row."""
    others: str = ""
    """The keys of the item that have no input, as JSON."""
    shown: int | str = ""
    """The position of the item, counted from 1."""
    is_plain: bool = False
    """Whether all items of the list are texts, so that a row needs no visible label."""

    @property
    def summary(self) -> str:
        """The details that have a value, on one line."""
        shown = ((one.label, " ".join(str(one.value).split())) for one in self.details if one.value)
        return ", ".join(f"{label} {value}" for label, value in shown)


@dataclass(frozen=True, slots=True)
class ListItems:
    """The item types of a list: texts, objects of one kind, or both."""

    texts: bool
    kind: type[Value] | None
    label: str
    fields: list[tuple[Input, Any]] = field(default_factory=list)
    """The inputs of an object, each with its initial value."""
    brief: tuple[str, ...] = ()
    """The names of the inputs that are shown in the row of an object; all of them if empty."""
    suggestions: Callable[[], Mapping[str, list[str]]] = dict
    """Returns the values that inputs suggest, by name."""

    @classmethod
    def of(cls, declaration: Any, label: str, **options: Any) -> ListItems | None:
        """Return the item types of a declared field, or None if rows of inputs cannot edit it."""
        inner = typing.get_args(list_form(declaration))
        if len(inner) != 2 or inner[1] is not Ellipsis:  # noqa: PLR2004
            return None
        kinds = typing.get_args(inner[0]) or (inner[0],)
        values = [item_type for item_type in kinds if isinstance(item_type, type) and issubclass(item_type, Value)]
        if any(item_type is not str and item_type not in values for item_type in kinds) or len(values) > 1:
            return None
        kind = values[0] if values else None
        return cls(str in kinds, kind, label, [] if kind is None else list(_inputs(kind)), **options)

    def rows(self, items: list[Any], suggested: Collection[str] = ()) -> list[ItemRow]:
        """Return a row for each item, then empty rows for new items."""
        rows = [self._row(str(at), item, suggested) for at, item in enumerate(items)]
        empty = self.forms if self.kind else self.forms * 2
        return rows + [self.empty(str(len(rows) + at), form, suggested) for at, form in enumerate(empty)]

    def empty(self, number: str, form: str, suggested: Collection[str] = ()) -> ItemRow:
        """Return an empty row for a new item of a form."""
        if form == _TEXT:
            return ItemRow(number, form, [Input(_TEXT, self.label, _TEXT)], is_plain=self.is_texts)
        return ItemRow(number, form, *self._inputs({one.name: at for one, at in self.fields}, suggested))

    @property
    def is_texts(self) -> bool:
        """Whether all items are texts, of which a script makes chips."""
        return self.texts and self.kind is None

    @property
    def forms(self) -> list[str]:
        """The forms of new items: `object`, `text`, or both."""
        return [_OBJECT] * (self.kind is not None) + [_TEXT] * self.texts

    def _row(self, number: str, item: Any, suggested: Collection[str]) -> ItemRow:
        was, shown = _printed(item), int(number) + 1
        if isinstance(item, str) and self.texts:
            inputs = [Input(_TEXT, self.label, _TEXT, item)]
            return ItemRow(number, _TEXT, inputs, was=was, shown=shown, is_plain=self.is_texts)
        if isinstance(item, dict) and self.kind:
            values = {one.name: _shown(one, item.get(one.name)) for one, _ in self.fields}
            others = {name: value for name, value in item.items() if name not in values}
            printed = _printed(others) if others else ""
            return ItemRow(number, _OBJECT, *self._inputs(values, suggested), was=was, others=printed, shown=shown)
        return ItemRow(number, _OTHER, [], was=was, others=was, shown=shown)

    def _inputs(self, values: Mapping[str, Any], suggested: Collection[str]) -> tuple[list[Input], list[Input]]:
        """Return the inputs that the row of an object shows, and its details."""
        inputs = {
            one.name: replace(one, value=values[one.name], is_suggested=one.name in suggested) for one, _ in self.fields
        }
        brief = [inputs.pop(name) for name in self.brief or list(inputs)]
        return brief, list(inputs.values())

    def item(self, sent: dict[str, str]) -> tuple[bool, Any]:
        """Return whether a submitted row has an item, and the item. Raises MalformedJSON for a broken original item."""
        was = json_parser.parse(sent["was"].encode()) if "was" in sent else None
        form = sent.get("form")
        if sent.get("remove") or (form not in self.forms and "was" not in sent):
            return False, None
        if form == _TEXT:
            text = lines_of(sent.get(_TEXT, was))
            return (True, was) if "was" in sent and text == lines_of(was) else (bool(text), text)
        if form == _OBJECT and (was is None or isinstance(was, dict)):
            return self._object(sent, was)
        return True, was

    def _object(self, sent: dict[str, str], was: dict[str, Any] | None) -> tuple[bool, Any]:
        item, is_changed = dict(was or {}), False
        for one, initial in self.fields:
            entered = _entered(one, sent)
            shown = initial if was is None else _shown(one, was.get(one.name))
            is_same = entered is None or (
                entered == shown if one.form == "check" else lines_of(entered) == lines_of(shown)
            )
            is_changed = is_changed or not is_same
            if is_same and was is not None:
                continue
            value = _value(one, shown if entered is None else entered)
            if value is None:
                item.pop(one.name, None)
            else:
                item[one.name] = value
        return is_changed or was is not None, item


class ListWidget(forms.Widget):
    """A widget with a row of inputs for each item, and a text area with the list as JSON."""

    template_name = "console/list_widget.html"
    use_fieldset = True

    class Media:
        css: ClassVar = {"all": ["console/lists.css"]}
        js: ClassVar = [Script("console/lists.js", defer=True), Script("console/chips.js", defer=True)]

    def __init__(self, items: ListItems, attrs: Any = None) -> None:
        super().__init__(attrs)
        self.items = items

    def id_for_label(self, id_: str) -> str:
        """Return empty text, because each input has its own label."""
        return ""

    @override
    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        items, suggestions = _list(value), self.items.suggestions()
        context["widget"] |= {
            "rows": None if items is None else self.items.rows(items, suggestions),
            "empty": [self.items.empty("__n__", form, suggestions) for form in self.items.forms],
            "label": self.items.label,
            "is_texts": self.items.is_texts,
            "most": MOST_ROWS,
            "suggestions": suggestions,
        }
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """Return the list as JSON, made from the rows or, if the user chose so, taken from the text area."""
        if f"{name}-rows" not in data or data.get(f"{name}-as-json"):
            return data.get(name)
        rows: dict[int, dict[str, str]] = {}
        spelled = re.compile(rf"{re.escape(name)}-([0-9]{{1,6}})-([A-Za-z]+)", re.ASCII)
        for key in data:
            if match := spelled.fullmatch(key):
                rows.setdefault(int(match[1]), {})[match[2]] = data[key]
        sent = [rows[at] for at in sorted(rows, key=lambda at: (_place(rows[at]), at))]
        try:
            parsed = [(*self.items.item(row), "was" not in row) for row in sent]
        except (json_parser.MalformedJSON, UnicodeEncodeError):
            return "[the rows were not sent as they were shown]"  # invalid JSON, so that the field reports an error
        items = [item for has_item, item, _ in parsed if has_item]
        _assign_ids([item for has_item, item, is_new in parsed if has_item and is_new], items, self.items.label)
        return json.dumps(items, ensure_ascii=False)

    @override
    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return name not in data and f"{name}-rows" not in data


class ListField(TreeField):
    """A list field with a row of inputs for each item."""

    def __init__(self, *, items: ListItems, **options: Any) -> None:
        super().__init__(**{**options, "widget": ListWidget(items)})


def _inputs(kind: type[Value]) -> typing.Iterator[tuple[Input, Any]]:
    for one in msgspec.structs.fields(kind):
        form = {str: "text", bool: "check", _LINES: "lines"}.get(declared(kind)[one.name])
        if form is not None and one.name != "extra":
            label = re.sub("([A-Z])", r" \1", one.encode_name).lower()
            first = kind.when_missing.get(one.name, False if form == "check" else "")
            yield Input(one.encode_name, label, form, optional=not one.required), first


def _shown(one: Input, value: Any) -> Any:
    """Return the value of an object's field as its input shows it."""
    if one.form == "check":
        return value is True
    if one.form == "lines":
        return "\n".join(map(str, value)) if isinstance(value, list) else ""
    return value if isinstance(value, str) else ""


def _entered(one: Input, sent: dict[str, str]) -> Any:
    """Return the submitted value of an input, or None if it was not submitted."""
    return one.name in sent if one.form == "check" else sent.get(one.name)


def _value(one: Input, entered: Any) -> Any:
    """Return the value of an object's field, or None if the field is left out."""
    if one.form == "check":
        return bool(entered)
    if one.form == "lines":
        return [line for line in lines_of(entered).split("\n") if line] or (None if one.optional else [])
    return None if one.optional and not entered else lines_of(entered)


def _assign_ids(new: list[Any], items: list[Any], label: str) -> None:
    """Assign a free id to each new object without one."""
    taken = {str(item.get("id")) for item in items if isinstance(item, dict)}
    free = (name for number in range(1, 2 * len(items) + 2) if (name := f"{label}-{number}") not in taken)
    for item in new:
        if isinstance(item, dict) and item.get("id") == "":
            item["id"] = next(free)


def _list(value: Any) -> list[Any] | None:
    """Return the items of a list as JSON text, or None if the list can only be edited as JSON."""
    try:
        items = json_parser.parse(str(value).encode())
    except (json_parser.MalformedJSON, UnicodeEncodeError):
        return None
    is_shown = isinstance(items, list) and len(items) <= MOST_ROWS and not json_parser.problems(items, ROOT)
    return items if is_shown else None


def _place(sent: dict[str, str]) -> int:
    text = sent.get("place", "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(_LAST)) else _LAST


def _printed(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)
