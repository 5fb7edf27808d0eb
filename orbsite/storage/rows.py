"""What every table of records has: the model's base, its opaque keys, and a row's way back to its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec
from django.core.exceptions import ValidationError
from django.db import models

from orbsite.storage.digests import digest
from orbsite.storage.finding import ROOT, error, errors
from orbsite.storage.javascript import is_kept
from orbsite.storage.reader import Reader, Reading
from orbsite.storage.record import Extra, R, Record, columns, field_names
from orbsite.storage.rules import ID_LENGTH

if TYPE_CHECKING:
    _CharField: TypeAlias = models.CharField[str, str]
    _JSONField: TypeAlias = models.JSONField[Any, Any]
else:  # Django's fields take no type arguments at run time
    _CharField, _JSONField = models.CharField, models.JSONField


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
        super().__init__(**{**options, "parse_int": _whole_or_double})


class JSONColumn(_JSONField):
    """JSON that gives back the numbers it was given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "decoder": StoredJSON})


class Row(models.Model):
    """One record as a row, with what the row remembers of where it came from."""

    kind: ClassVar[type[Record]]

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

    def reading(self) -> Reading[Record]:
        """Return the record that the columns hold, or what is wrong with them."""
        return read_row(self.kind, {name: getattr(self, name) for name in columns(self.kind)})

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


def column_of(model: type[Row], name: str) -> Any:
    """Return a model's field by its attribute."""
    return model._meta.get_field(name)


def read_row(kind: type[R], values: Mapping[str, Any]) -> Reading[R]:
    """Return the record that the columns of a row hold, by the same rules as a file's."""
    printed = {name: values[attribute] for attribute, name in field_names(kind) if values[attribute] is not None}
    extra = values["extra"]
    if extra is not None and not isinstance(extra, dict):
        return Reading(None, [error(ROOT, "the column extra holds no object")], 0)
    for name, item in (extra or {}).items():
        printed.setdefault(name, item)
    try:
        reading = _reader(kind).read(msgspec.Raw(msgspec.json.encode(printed)), ROOT)
    except (UnicodeEncodeError, TypeError, ValueError) as problem:
        return Reading(None, [error(ROOT, f"the columns hold no JSON: {problem}")], 0)
    if reading.record is not None and extra:  # explicit nulls of fields that the row knows better, for example
        msgspec.structs.force_setattr(reading.record, "extra", Extra(extra))
    return reading


def _whole_or_double(digits: str) -> int | float:
    whole = int(digits)
    return whole if is_kept(whole) else float(digits)


@cache
def _reader(kind: type[R]) -> Reader[R]:
    return Reader(kind)
