"""What every table of records has: the model's base, its opaque keys, and a row's way back to its record."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeAlias, get_origin

import msgspec
from django.core.exceptions import ValidationError
from django.db import models

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import is_kept
from orbsite.storage.findings import ROOT, Unreadable, error, errors, printable, step, unreadable
from orbsite.storage.records.decoder import Reader, Reading
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Extra, Id, Instant, R, Record, Text, columns, declared, field_names
from orbsite.storage.sql.constraints import ID_LENGTH
from orbsite.storage.sql.raw_columns import is_escaped

if TYPE_CHECKING:
    _CharField: TypeAlias = models.CharField[str, str]
    _JSONField: TypeAlias = models.JSONField[Any, Any]
else:  # Django's fields take no type arguments at run time
    _CharField, _JSONField = models.CharField, models.JSONField


_MEMBER = re.compile(r"\$\.(\w+)")
_MOST_TOLD, _LONGEST = 5, 20
_OURS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?", re.ASCII)
_BROKEN = "the column holds what is no value of its kind, such as text that is no UTF-8, or a time beyond the calendar"
LEDGER = ("digest", "run_id", "position")
"""What a row remembers beside its record."""


class KeyField(_CharField):
    """Opaque text that is compared code point by code point on every database."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", ID_LENGTH)
        super().__init__(*args, **options)

    def db_parameters(self, connection: Any) -> Any:
        """Compare by code point: SQLite does, PostgreSQL has to be told."""
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters

    def db_type(self, connection: Any) -> str | None:
        """Spell varchar in full on PostgreSQL, where Django would add a second index, for LIKE, to it otherwise."""
        kind = super().db_type(connection)
        return kind.replace("varchar", "character varying") if kind and connection.vendor == "postgresql" else kind


class StoredJSON(json.JSONDecoder):
    """Reads JSON columns: PostgreSQL prints 1e23 with 24 digits, which are that double again and no integer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{**options, "parse_int": _whole_or_double, "parse_constant": _no_number, "parse_float": _finite}
        )


class BrokenJSON(str):
    """What a JSON column holds that is no JSON; no record is made of it."""

    __slots__ = ()


class JSONColumn(_JSONField):
    """JSON that gives back the numbers it was given; what is no JSON comes as `BrokenJSON`, and raises no error."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "decoder": StoredJSON})

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return what the column holds, as Python has it."""
        if isinstance(value, bytes):
            return BrokenJSON(printable(value))
        try:
            return super().from_db_value(value, expression, connection)
        except (ValueError, TypeError, RecursionError):
            return BrokenJSON(printable(value))


class RecordRow(models.Model):
    """One record as a row, with what the row remembers of where it came from."""

    kind: ClassVar[type[Record]]
    _shown_instead: dict[str, Any]
    """What stands for cells that nothing can be made of, by column."""

    run_id = models.BigIntegerField(null=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    extra = JSONColumn(null=True, blank=True, help_text="Keys of the record that this version does not know.")
    position = models.IntegerField(null=True, editable=False)

    class Meta:
        abstract = True

    def save(self, *args: Any, **options: Any) -> None:
        """Save the row as a person's or a program's: no run has written it any more. Raises ValidationError."""
        self.digest, self.run_id = digest(self.record()), None
        super().save(*args, **options)

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        """Return a row that can be shown: a cell that nothing can be made of has what stands for it."""
        row = super().from_db(db, field_names, values, **options)
        row._shown_instead = {}
        for field in cls._meta.concrete_fields:
            if field.attname in row.__dict__ and _is_broken(cls.kind, field, row.__dict__[field.attname]):
                row.__dict__[field.attname] = _instead(field, row.__dict__[field.attname])
                row._shown_instead[field.attname] = row.__dict__[field.attname]
        return row

    def reading(self) -> Reading[Record]:
        """Return the record that the columns hold, or what is wrong with them."""
        broken: dict[str, Any] = getattr(self, "_shown_instead", {})
        values = {name: getattr(self, name) for name in columns(self.kind)}
        wrong = [name for name, shown in broken.items() if name in values and values[name] == shown]
        if wrong:
            names = dict(field_names(self.kind))
            return Reading(None, [error(step(ROOT, names.get(name, name)), _BROKEN) for name in wrong], 0)
        return read_row(self.kind, values)

    def clean(self) -> None:
        """Hold the row to the rules of its record. Raises ValidationError with every problem."""
        self.record()

    def record(self) -> Record:
        """Return the record that the columns hold. Raises ValidationError with every problem."""
        reading = self.reading()
        if reading.record is None:
            raise ValidationError([f"{finding.path}: {finding.message}" for finding in errors(reading.findings)])
        return reading.record

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any, **named: Any) -> Any:
        # A row's owner never changes, and a database that is distributed by owner refuses an UPDATE that sets it.
        kept = [value for value in values if value[0].attname != "user_id"]
        owned = base_qs.filter(user_id=getattr(self, "user_id"))  # noqa: B009 -- each table declares its own
        return super()._do_update(owned, using, pk_val, kept, *rest, **named)


def _is_broken(kind: type[Record], field: Any, value: Any) -> bool:
    """Tell whether a column holds what its type has no value for."""
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


def _instead(field: Any, value: Any) -> Any:
    """Return what a page shows for it."""
    if isinstance(field, models.DateTimeField | models.IntegerField):
        return None
    if isinstance(field, JSONColumn):
        return None if field.null else []
    return printable(value)


def column_of(model: type[RecordRow], name: str) -> Any:
    """Return a model's field by its attribute."""
    return model._meta.get_field(name)


def read_row(kind: type[R], values: Mapping[str, Any]) -> Reading[R]:
    """Return the record that the values of a row are, by the same rules as a file's."""
    printed = {name: values[attribute] for attribute, name in field_names(kind) if values[attribute] is not None}
    wrong = [error(step(ROOT, name), found) for name, value in printed.items() if (found := _no_json(value))]
    if wrong:
        return Reading(None, wrong, 0)
    extra = values["extra"]
    if extra is not None and not isinstance(extra, dict):
        return Reading(None, [error(ROOT, "the column extra holds no object")], 0)
    for name, item in (extra or {}).items():
        printed.setdefault(name, item)
    try:
        reading = _reader(kind).read(msgspec.Raw(msgspec.json.encode(printed)), ROOT)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return Reading(None, [error(ROOT, "the columns hold what is no JSON")], 0)
    if reading.record is not None and extra:  # explicit nulls of fields that the row knows better, for example
        msgspec.structs.force_setattr(reading.record, "extra", Extra(extra))
    return reading


def read_cells(kind: type[R], cells: Mapping[str, Any]) -> Reading[R]:
    """Return the record of a row whose columns are as `RawColumn` returns them: the one meaning of each cell."""
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
    """Return the key of a row as text that can be printed, whatever its columns hold."""
    return tuple(printable(cells[name]) for name in kind.key_fields)


def why_unreadable(kind: type[Record], cells: Mapping[str, Any], reading: Reading[Any]) -> Unreadable:
    """Return the finding that a row does not decode, with what is wrong in it; never with what it says."""
    wrong = "; ".join(f"{known_path(kind, one.path)}: {one.message}" for one in errors(reading.findings)[:_MOST_TOLD])
    what = f"its row in SQL does not decode ({wrong}); sanitize it in the admin, or mend or remove it in SQL"
    return unreadable(kind.plural, key_of(kind, cells), what)


def known_path(kind: type[Record], path: str) -> str:
    """Return a path into a record as it can be told; the names of unknown keys are what somebody wrote."""
    member = _MEMBER.match(path)
    is_known = path == ROOT or (member is not None and member[1] in {name for _, name in field_names(kind)})
    return path if is_known else "unknown keys"


def cells_as_json(kind: type[Record], cells: Mapping[str, Any]) -> str:
    """Return what the columns of a row hold as ASCII JSON, exactly, whether it is UTF-8, text or neither."""
    hints = declared(kind)
    columns = {name: _kept(hints[name], cell) for name, cell in cells.items()}
    return json.dumps({"columns": columns}, default=lambda blob: {"blob": bytes(blob).hex()})


def _kept(hint: Any, cell: Any) -> Any:
    """Return JSON as what it is, where it is any; all else as it stands."""
    if hint in (Text, Id, Instant) or isinstance(cell, bytes):
        return cell
    value = _lenient_value(hint, cell)
    return cell if isinstance(value, str) else value


def is_spelled_by_us(kind: type[Record], cells: Mapping[str, Any]) -> bool:
    """Tell whether the instants of a row of SQLite are spelled as Django does, so that the database orders them."""
    hints = declared(kind)
    times = [cells[name] for name, _ in field_names(kind) if hints[name] == Instant and cells[name] is not None]
    return all(isinstance(cell, str) and _OURS.fullmatch(cell) for cell in times)


def raw_json(kind: type[Record], cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the columns of a row hold as the JSON of a record, to be mended: what is no value stays as it is."""
    hints, found = declared(kind), dict[str, Any]()
    extra = _lenient_value(None, cells["extra"])
    for name, value in extra.items() if isinstance(extra, dict) else ():
        found[name] = value
    for attribute, name in field_names(kind):
        if cells[attribute] is not None:
            found[name] = _lenient_value(hints[attribute], cells[attribute])
    return found


def is_object(cell: Any) -> bool:
    """Tell whether a column of unknown keys holds an object, or nothing."""
    return cell is None or isinstance(_lenient_value(None, cell), dict)


def _lenient_value(hint: Any, cell: Any) -> Any:
    try:
        value = _value(hint, cell)
    except ValueError:
        return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell
    return timestamps.spell(value) if isinstance(value, datetime) else value


def _value(hint: Any, cell: Any) -> Any:
    """Return what a cell holds, as Python has it. Raises ValueError where that is not of the kind that it should be."""
    if cell is None:
        return None
    if not isinstance(cell, str):
        what = "a BLOB" if isinstance(cell, bytes) else "a number"
        raise ValueError(f"the column holds {what} where text is expected")  # noqa: TRY004 -- wrong data, and no wrong call
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
    """Return why a value cannot be a member of a record's JSON; nothing where it may be."""
    if isinstance(value, BrokenJSON):
        return "the column holds no JSON, or JSON beyond all bounds"
    if isinstance(value, bytes | bytearray | memoryview):
        return "the column holds a BLOB where text is expected"
    if isinstance(value, str) and not value.isascii() and (found := UNCLEAN.search(value)) and found[0] != "\x00":
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
