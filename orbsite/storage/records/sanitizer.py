"""The sanitizer: reads a value by the slow path, replaces invalid parts, and lists every change."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from typing_extensions import override

from orbsite.storage.encoding import json_parser
from orbsite.storage.encoding.json_printer import number
from orbsite.storage.findings import ROOT, Finding, errors, step, warning
from orbsite.storage.records.record import R, Text, Value, list_form
from orbsite.storage.records.validator import ABSENT, REFUSED, Declared, Walk, choice


@dataclass(slots=True)
class Sanitizer(Walk):
    """Replaces missing lists, numbers instead of texts, list items that are not texts, missing ids and invalid times.

    `new_id` and `now` return the replacements for ids and times; if one is None, a record that needs it is refused.
    """

    new_id: Callable[[], object] | None = None
    now: Callable[[], datetime] | None = None
    changes: list[Finding] = field(default_factory=list)

    @override
    def field(self, kind: type[Value], declared: Declared, raw: Any, path: str) -> Any:
        """Return the value of one field, replaced if it is invalid; ABSENT leaves an optional field out."""
        strict = Walk()
        kept = strict.field(kind, declared, raw, path)
        found = errors(strict.findings)
        if not found:
            self.changes += strict.findings  # warnings about how the value was read, for example a time without a zone
            return kept
        entries = list_form(declared.hint)
        if entries is not None and isinstance(raw, list | tuple):
            return self._entries(entries, raw, path)
        if isinstance(raw, dict) and any(typing.get_origin(form) is dict for form in typing.get_args(declared.hint)):
            return self._members_kept(raw, path)
        replacement = self._replacement(kind, declared, raw)
        if replacement is REFUSED:
            self.findings += found
        else:
            self._add_change(path, found[0].message, replacement)
        return replacement

    @override
    def keeps(self, name: str, item: Any, path: str) -> bool:
        """Tell whether an unknown key can be kept; a key that cannot be kept is listed as a change."""
        found = json_parser.problems({name: item}, path)
        self.changes += [warning(one.path, f"{one.message}; the key was left out") for one in found[:1]]
        return not found

    def _members_kept(self, raw: dict[str, Any], path: str) -> dict[str, Any]:
        """Return a JSON object without its invalid members."""
        kept = {}
        for name, item in raw.items():
            strict = Walk()
            strict.tree({name: item}, path)
            if strict.findings:
                self.changes.append(warning(strict.findings[0].path, f"{strict.findings[0].message}; it was left out"))
            else:
                kept[name] = item
        return kept

    def _entries(self, hint: Any, raw: list[Any] | tuple[Any, ...], path: str) -> tuple[Any, ...]:
        inner = typing.get_args(hint)[0]
        kept = [self._entry(inner, item, step(path, index)) for index, item in enumerate(raw)]
        return tuple(item for item in kept if item is not ABSENT)

    def _entry(self, hint: Any, raw: Any, path: str) -> Any:
        strict = Walk()
        kept = strict.value(hint, raw, path)
        if not errors(strict.findings):
            return kept
        wanted = choice(typing.get_args(hint) or (hint,), raw)
        if isinstance(raw, dict) and isinstance(wanted, type) and issubclass(wanted, Value):
            kept = self.members(wanted, raw, path)
            if kept is not REFUSED:
                return kept
        text = _as_text(raw)
        replacement = ABSENT if text is None else text
        self._add_change(path, errors(strict.findings)[0].message, replacement)
        return replacement

    def _replacement(self, kind: type[Value], declared: Declared, raw: Any) -> Any:
        hint = declared.hint
        if list_form(hint) is not None:
            return ()
        if typing.get_origin(hint) is Annotated and typing.get_args(hint)[0] is datetime:
            return REFUSED if self.now is None else self.now()
        text = _as_text(raw)
        if text is not None and Walk().value(hint, text, ROOT) is not REFUSED:
            return text
        default = self._default(kind, declared)
        return "" if default is REFUSED and hint is Text and declared.attribute != "id" else default

    def _default(self, kind: type[Value], declared: Declared) -> Any:
        if not declared.required:
            return ABSENT
        if declared.attribute == "id":
            return REFUSED if self.new_id is None else str(self.new_id())
        return kind.when_missing.get(declared.attribute, REFUSED)

    def _add_change(self, path: str, message: str, replacement: Any) -> None:
        change = "left out" if replacement is ABSENT else "replaced" if replacement != "" else "now empty"
        self.changes.append(warning(path, f"{message}; {change}"))


def mend(
    kind: type[R],
    value: Any,
    *,
    new_id: Callable[[], object] | None,
    now: Callable[[], datetime] | None,
    changes: list[Finding],
) -> R | None:
    """Sanitize a parsed value; return a valid record, or None if that is not possible. Appends to `changes`."""
    sanitizer = Sanitizer(new_id=new_id, now=now, changes=changes)
    record: R | Any = sanitizer.value(kind, value, ROOT)
    return None if record is REFUSED else record


def _as_text(raw: Any) -> str | None:
    if isinstance(raw, str):
        return raw.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, int | float):
        with contextlib.suppress(OverflowError, ValueError):  # a number that is too large has no text
            return number(raw)
    return None
