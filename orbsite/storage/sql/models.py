"""The base model of all record tables, its field types, and the decoding of rows to records."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeAlias, get_origin

import msgspec
from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from typing_extensions import override

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import is_kept
from orbsite.storage.findings import ROOT, Unreadable, error, errors, printable, step, unreadable
from orbsite.storage.records.decoder import Reader, Reading
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Extra, Id, Instant, R, Record, Text, columns, declared, field_names
from orbsite.storage.records.sealed_columns import (
    Unopened,
    is_marked,
    is_sealing,
    open_values,
    private_columns,
    stored_values,
)
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.constraints import ID_LENGTH
from orbsite.storage.sql.raw_columns import is_escaped

if TYPE_CHECKING:
    _CharField: TypeAlias = models.CharField[str, str]
    _JSONField: TypeAlias = models.JSONField[Any, Any]
else:  # Django's fields take no type arguments at run time
    _CharField, _JSONField = models.CharField, models.JSONField


_MEMBER = re.compile(r"\$\.(\w+)")
_MAX_LISTED, _LONGEST = 5, 20
_OURS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?", re.ASCII)
_BROKEN = "the column holds what is no value of its kind, such as text that is no UTF-8, or a time beyond the calendar"
MASK = "(sealed)"
"""The text that is shown for a sealed column."""
LEDGER = ("digest", "run_id", "position")
"""The columns of a row that are not fields of its record."""


class KeyField(_CharField):
    """An opaque text that is compared code point by code point on all databases."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", ID_LENGTH)
        super().__init__(*args, **options)

    def db_parameters(self, connection: Any) -> Any:
        """Add the collation "C" on PostgreSQL; SQLite compares by code point by default."""
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters

    def db_type(self, connection: Any) -> str | None:
        """Return "character varying" on PostgreSQL; for "varchar", Django would add a second index for LIKE."""
        kind = super().db_type(connection)
        return kind.replace("varchar", "character varying") if kind and connection.vendor == "postgresql" else kind


class StoredJSON(json.JSONDecoder):
    """Decodes JSON columns. PostgreSQL prints 1e23 as an integer of 24 digits, which is decoded to a double again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{**options, "parse_int": _whole_or_double, "parse_constant": _no_number, "parse_float": _finite}
        )


class BrokenJSON(str):
    """The text of a JSON column that is not valid JSON; a row that has it does not decode."""

    __slots__ = ()


class JSONColumn(_JSONField):
    """A JSON field that returns numbers unchanged, and invalid JSON as `BrokenJSON` instead of an error."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "decoder": StoredJSON})

    @override
    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return the decoded JSON, or `BrokenJSON` for a value that is not valid JSON."""
        if isinstance(value, bytes):
            return BrokenJSON(printable(value))
        try:
            return super().from_db_value(value, expression, connection)
        except (ValueError, TypeError, RecursionError):
            return BrokenJSON(printable(value))


class RecordRow(models.Model):
    """One record as a row, with the run that wrote it, its digest at that time, and its position in a file."""

    kind: ClassVar[type[Record]]
    _placeholders: dict[str, Any]
    """The values that are shown for columns that cannot be decoded, by column."""

    run_id = models.BigIntegerField(null=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    extra = JSONColumn(null=True, blank=True, help_text="Keys of the record that this version does not know.")
    position = models.IntegerField(null=True, editable=False)

    class Meta:
        abstract = True

    @override
    def save(self, *args: Any, **options: Any) -> None:
        """Save the row without a run, because no run has written this version. Raises ValidationError."""
        record = self.record()
        self.digest, self.run_id = digest(record), None
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using) if is_sealing() else contextlib.nullcontext():
            shown = {name: getattr(self, name) for name in private_columns(self.kind)}
            opened = self._opened(shown)
            self.__dict__.update(stored_values(self.kind, {name: opened[name] for name in shown}, record, using))
            try:
                super().save(*args, **options)
            finally:
                self.__dict__.update(shown)

    @override
    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        """Return a row that can be shown, with placeholders for columns that cannot be decoded."""
        row = super().from_db(db, field_names, values, **options)
        row._placeholders = {}
        row._remember_stored(private_columns(cls.kind))
        for field in cls._meta.concrete_fields:
            if field.attname in row.__dict__ and _is_broken(cls.kind, field, row.__dict__[field.attname]):
                row.__dict__[field.attname] = _placeholder(field, row.__dict__[field.attname])
                row._placeholders[field.attname] = row.__dict__[field.attname]
        return row

    def reading(self) -> Reading[Record]:
        """Decode the row; the result has a record, or the errors of its columns."""
        broken: dict[str, Any] = getattr(self, "_placeholders", {})
        values = self._opened({name: getattr(self, name) for name in columns(self.kind)})
        wrong = [name for name, shown in broken.items() if name in values and values[name] == shown]
        if wrong:
            names = dict(field_names(self.kind))
            return Reading(None, [error(step(ROOT, names.get(name, name)), _BROKEN) for name in wrong], 0)
        return read_row(self.kind, values)

    @override
    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        """Load values again; they are stored ones."""
        names = None if fields is None else list(fields)
        super().refresh_from_db(using, names, from_queryset)
        self._remember_stored(private_columns(self.kind) if names is None else names)

    @property
    def is_sealed(self) -> bool:
        """Whether attributes hold sealed columns as they are stored."""
        return any(is_marked(value) for value in self._stored_ones().values())

    def open_columns(self) -> None:
        """Put the texts of sealed columns into the attributes, or why one cannot be opened. Raises KeyUnavailable."""
        stored = self._stored_ones()
        opened = self._opened({name: getattr(self, name) for name in private_columns(self.kind)})
        for name in stored:
            value = opened[name]
            if isinstance(value, Unopened):
                is_json = isinstance(column_of(type(self), name), JSONColumn)
                value = [f"({value.reason})"] if is_json else f"({value.reason})"
                self._placeholders[name] = value
            setattr(self, name, value)

    def mask_columns(self) -> None:
        """Put `MASK` in the place of stored texts that are sealed or should be; those that are not loaded stay so."""
        for name, value in self._stored_ones().items():
            if value is not None and (is_marked(value) or is_sealing()):
                setattr(self, name, [MASK] if isinstance(column_of(type(self), name), JSONColumn) else MASK)

    def _remember_stored(self, names: Iterable[str]) -> None:
        """Remember the loaded values of private columns, so that those that are set later are not taken for stored."""
        stored = self.__dict__.setdefault("_stored", {})
        stored.update({name: self.__dict__[name] for name in names if name in self.__dict__})

    def _stored_ones(self) -> dict[str, Any]:
        """Return the private columns whose attributes hold what is stored."""
        stored = self.__dict__.get("_stored", {})
        return {name: stored[name] for name in private_columns(self.kind) if self._is_stored(name, stored)}

    def _is_stored(self, name: str, stored: Mapping[str, Any]) -> bool:
        return name in stored and name in self.__dict__ and self.__dict__[name] is stored[name]

    def _opened(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of columns, with the texts of those that are as stored."""
        names = [name for name, value in self._stored_ones().items() if name in values and value is values[name]]
        if not names or not (is_sealing() or any(is_marked(values[name]) for name in names)):
            return dict(values)
        key = {name: getattr(self, name) for name in self.kind.key_fields}
        opened = open_values(self.kind, key | {name: values[name] for name in names}, self._state.db or "default")
        return {**values, **{name: opened[name] for name in names}}

    @override
    def clean(self) -> None:
        """Validate the row by the rules of its record. Raises ValidationError with all errors."""
        self.record()

    def record(self) -> Record:
        """Return the record of this row. Raises ValidationError with all errors."""
        reading = self.reading()
        if reading.record is None:
            raise ValidationError([f"{finding.path}: {finding.message}" for finding in errors(reading.findings)])
        return reading.record

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any, **named: Any) -> Any:
        # The owner of a row never changes, and a database that is sharded by owner rejects an UPDATE that sets it.
        kept = [value for value in values if value[0].attname != "user_id"]
        owned = base_qs.filter(user_id=getattr(self, "user_id"))  # noqa: B009 -- each table declares its own
        return super()._do_update(owned, using, pk_val, kept, *rest, **named)


def _is_broken(kind: type[Record], field: Any, value: Any) -> bool:
    """Tell whether a column's value is not valid for its type."""
    if get_origin(declared(kind).get(field.attname)) is tuple and not isinstance(value, list):
        return True
    if isinstance(value, bytes | BrokenJSON) or is_escaped(value):
        return True
    if isinstance(field, JSONColumn):
        return not _can_be_sent(value)
    if isinstance(field, models.DateTimeField):
        return value is not None and not isinstance(value, datetime)
    return isinstance(field, models.IntegerField) and not isinstance(value, int | None)


def _can_be_sent(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, RecursionError):
        return False
    return True


def _placeholder(field: Any, value: Any) -> Any:
    """Return the value that a page shows for a value that is not valid."""
    if isinstance(field, models.DateTimeField | models.IntegerField):
        return None
    if isinstance(field, JSONColumn):
        return None if field.null else []
    return printable(value)


def column_of(model: type[RecordRow], name: str) -> Any:
    """Return the model field for an attribute of a record."""
    return model._meta.get_field(name)


def read_row(kind: type[R], values: Mapping[str, Any]) -> Reading[R]:
    """Decode the values of a row, by the same rules as a record in a file."""
    printed = {name: values[attribute] for attribute, name in field_names(kind) if values[attribute] is not None}
    wrong = [error(step(ROOT, name), message) for name, value in printed.items() if (message := _no_json(value))]
    if wrong:
        return Reading(None, wrong, 0)
    extra = values["extra"]
    if isinstance(extra, Unopened):
        return Reading(None, [error(ROOT, extra.reason)], 0)
    if extra is not None and not isinstance(extra, dict):
        return Reading(None, [error(ROOT, "the column extra holds no object")], 0)
    for name, item in (extra or {}).items():
        printed.setdefault(name, item)
    try:
        reading = _reader(kind).read(msgspec.Raw(msgspec.json.encode(printed)), ROOT)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return Reading(None, [error(ROOT, "the columns hold what is no JSON")], 0)
    if reading.record is not None and extra:  # for example explicit nulls of fields that have their own columns
        msgspec.structs.force_setattr(reading.record, "extra", Extra(extra))
    return reading


def read_cells(kind: type[R], cells: Mapping[str, Any]) -> Reading[R]:
    """Decode a row whose columns are as `RawColumn` returns them."""
    values: dict[str, Any] = {}
    wrong = []
    hints = declared(kind)
    for attribute, name in (*field_names(kind), ("extra", "extra")):
        try:
            values[attribute] = _value(hints.get(attribute), cells[attribute])
        except ValueError as problem:
            wrong.append(error(step(ROOT, name), str(problem)))
    return Reading(None, wrong, 0) if wrong else read_row(kind, values)


def key_of(kind: type[Record], cells: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the key of a row as printable text, even if its columns do not decode."""
    return tuple(printable(cells[name]) for name in kind.key_fields)


def why_unreadable(kind: type[Record], cells: Mapping[str, Any], reading: Reading[Any]) -> Unreadable:
    """Return the finding for a row that does not decode, with its first errors and none of its values."""
    wrong = "; ".join(f"{known_path(kind, one.path)}: {one.message}" for one in errors(reading.findings)[:_MAX_LISTED])
    what = f"its row in SQL does not decode ({wrong}); sanitize it in the admin, or mend or remove it in SQL"
    return unreadable(kind.plural, key_of(kind, cells), what)


def read_or_tell(kind: type[R], cells: Mapping[str, Any], unread: Unread) -> R | None:
    """Return the record of a row with raw columns; None if it does not decode, and then add it to `unread`."""
    reading = read_cells(kind, cells)
    if reading.record is None:
        unread.add(why_unreadable(kind, cells, reading))
    return reading.record


def known_path(kind: type[Record], path: str) -> str:
    """Return a path into a record without user data; the names of unknown keys are replaced by "unknown keys"."""
    member = _MEMBER.match(path)
    is_known = path == ROOT or (member is not None and member[1] in {name for _, name in field_names(kind)})
    return path if is_known else "unknown keys"


def cells_as_json(kind: type[Record], cells: Mapping[str, Any]) -> str:
    """Return the exact values of a row's columns as ASCII JSON, including BLOBs and text that is not UTF-8."""
    hints = declared(kind)
    columns = {name: _kept(hints[name], cell) for name, cell in cells.items()}
    return json.dumps({"columns": columns}, default=lambda blob: {"blob": bytes(blob).hex()})


def _kept(hint: Any, cell: Any) -> Any:
    """Return the decoded value of a JSON column if it is valid JSON, and all other values unchanged."""
    if hint in (Text, Id, Instant) or isinstance(cell, bytes):
        return cell
    value = _lenient_value(hint, cell)
    return cell if isinstance(value, str) else value


def is_spelled_by_us(kind: type[Record], cells: Mapping[str, Any]) -> bool:
    """Tell whether the times of a row in SQLite have Django's format, so that the database sorts them correctly."""
    hints = declared(kind)
    times = [cells[name] for name, _ in field_names(kind) if hints[name] == Instant and cells[name] is not None]
    return all(isinstance(cell, str) and _OURS.fullmatch(cell) for cell in times)


def raw_json(kind: type[Record], cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the JSON of a record for the sanitizer; values that do not decode are unchanged."""
    hints, members = declared(kind), dict[str, Any]()
    extra = _lenient_value(None, cells["extra"])
    for name, value in extra.items() if isinstance(extra, dict) else ():
        members[name] = value
    for attribute, name in field_names(kind):
        if cells[attribute] is not None:
            members[name] = _lenient_value(hints[attribute], cells[attribute])
    return members


def is_object(cell: Any) -> bool:
    """Tell whether a column of unknown keys holds a JSON object or NULL."""
    return cell is None or isinstance(_lenient_value(None, cell), dict)


def _lenient_value(hint: Any, cell: Any) -> Any:
    try:
        value = _value(hint, cell)
    except ValueError:
        return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell
    return timestamps.spell(value) if isinstance(value, datetime) else value


def _value(hint: Any, cell: Any) -> Any:
    """Return the Python value of a column's value. Raises ValueError if it is not valid for the declared type."""
    if cell is None:
        return None
    if isinstance(cell, Unopened):
        raise ValueError(cell.reason)  # noqa: TRY004 -- as below
    if not isinstance(cell, str):
        what = "a BLOB" if isinstance(cell, bytes) else "a number"
        raise ValueError(f"the column holds {what} where text is expected")  # noqa: TRY004 -- the data is wrong, not the call
    if is_escaped(cell):
        raise ValueError("the text is no UTF-8")
    if hint in (Text, Id):
        return cell
    return timestamps.parse(cell)[0] if hint == Instant else _json(cell)


def _json(text: str) -> Any:
    try:
        return json.loads(text, cls=StoredJSON)
    except (ValueError, RecursionError):
        raise ValueError("the column holds no JSON, or JSON beyond all bounds") from None


def _no_json(value: Any) -> str:
    """Return an error message for a value that cannot be in a record's JSON, empty if it can."""
    if isinstance(value, Unopened):
        return value.reason
    if isinstance(value, BrokenJSON):
        return "the column holds no JSON, or JSON beyond all bounds"
    if isinstance(value, bytes | bytearray | memoryview):
        return "the column holds a BLOB where text is expected"
    if isinstance(value, str) and not value.isascii() and (match := UNCLEAN.search(value)) and match[0] != "\x00":
        return "the text is no UTF-8"
    return "the time has no zone" if isinstance(value, datetime) and value.tzinfo is None else ""


def _finite(digits: str) -> float:
    value = float(digits)
    return _no_number(digits) if math.isinf(value) else value


def _no_number(token: str) -> NoReturn:
    raise ValueError(f"{token[:_LONGEST]} is no number that JSON and a double have")


def _whole_or_double(digits: str) -> int | float:
    whole = int(digits)
    return whole if is_kept(whole) else float(digits)


@cache
def _reader(kind: type[R]) -> Reader[R]:
    return Reader(kind)
