"""Converts rows of a source database to entries: a page at a time, or row by row where a page fails.

A cell that a record cannot hold rejects only its own row. The rejected row is kept as it was, with bytes as base64.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from orbsite.storage.encoding import json_parser, timestamps
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.findings import ROOT, Finding, error, errors, path_to, step, warning
from orbsite.storage.records.decoder import Reader, read
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import Extra, Id, Instant, Record, Text, declared, field_names, keys_of_all
from orbsite.storage.records.sealed_columns import begins_sealed, is_marked_cell, private_columns, unescaped
from orbsite.storage.sql.models import LEDGER, RecordRow

_ESCAPED = re.compile("[\ud800-\udfff]")
"""Surrogates stand for bytes that are not UTF-8. Texts of a database never hold them otherwise."""
_SPACE = " \t\r\n"
_SEALED = "it is sealed: export it with the program and the keys of that database, then migrate the files"
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)
_encode = msgspec.json.Encoder().encode
_checked = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Unkept:
    """A cell that no record can hold: its text, if it was read, and the reason."""

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source, and the known format of its texts."""

    name: str
    is_json: bool | None = None
    """Whether the texts are JSON; None where each may be."""
    is_time: bool = False
    """Whether the texts are instants."""


@dataclass(frozen=True, slots=True)
class SourcePage:
    """Rows of a source, and their approximate size in bytes."""

    rows: Sequence[tuple[Any, ...]]
    size: int


class RowEntries:
    """Converts the rows of one table to entries. The table is of the earlier system or of this product."""

    def __init__(self, domain: Domain, kind: type[Record], columns: Sequence[Column]) -> None:
        self._domain, self._kind = domain, kind
        model: type[RecordRow] = domain.models[kind]
        self._table: str = model._meta.db_table
        self._names = dict(field_names(kind))
        self._types = declared(kind)
        self._columns = columns
        self._at = {column.name: at for at, column in enumerate(columns)}
        self._is_ours = {"digest", "run_id", "extra"} <= self._at.keys()
        """Whether the table is one of this product, whose other columns are known."""
        own = {field.column for field in model._meta.concrete_fields} | {*LEDGER, "extra"} if self._is_ours else set()
        self._unknown = [at for name, at in self._at.items() if name not in self._names and name not in own]
        self._position = self._at.get("position") if self._is_ours else None
        self._extra = self._at.get("extra") if self._is_ours else None
        private = private_columns(kind) if self._is_ours else ()
        self._private = [self._at[name] for name in private if name in self._at]
        places = {name: at for at, name in enumerate(self._names)}
        self._needed = [places[name] for name in {*kind.key_fields, *kind.stored_fields}]
        """The indexes of the fields that a record needs in a store."""
        self._reader: Reader[Any] = Reader(kind)
        self._shape = msgspec.defstruct(
            kind.__name__, [(name, Any, None) for name in self._names.values()], omit_defaults=True
        )
        self._left_out: set[str] = set()
        self._before: Entry | None = None

    def of(self, page: SourcePage) -> Iterator[Entry]:
        """Yield an entry for each row. The first entry has the size of the page in bytes."""
        if not page.rows:
            return
        rows = self._unmarked(page.rows) if self._private else page.rows
        records = self._all_at_once(rows)
        entries = map(self._entry, rows) if records is None else self._plain(records, rows)
        if records is None or self._is_repeated(records):
            entries = self._once_each(entries)
        first = next(entries)
        yield msgspec.structs.replace(first, size=page.size)
        yield from entries

    def _unmarked(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """Return the rows of our own table with plain texts as they were saved, and sealed ones as `Unkept`."""
        if not any(is_marked_cell(row[at]) for row in rows for at in self._private):
            return rows
        made = [list(row) for row in rows]
        for row in made:
            for at in self._private:
                is_json = self._types.get(self._columns[at].name) not in (Text, Id)
                row[at] = Unkept(row[at], _SEALED) if begins_sealed(row[at]) else unescaped(row[at], is_json=is_json)
        return [tuple(row) for row in made]

    def _is_repeated(self, records: Sequence[Record]) -> bool:
        """Tell whether a key occurs twice among the records, or ended the page before."""
        keys = set(keys_of_all(self._kind, records))
        return len(keys) < len(records) or (self._before is not None and self._before.key in keys)

    def _all_at_once(self, rows: Sequence[tuple[Any, ...]]) -> list[Record] | None:
        """Return the records of a page, or None where a row needs to be handled alone."""
        cells: list[Sequence[Any]] = list(zip(*rows, strict=True))
        others = [*self._unknown, *([] if self._extra is None else [self._extra])]
        if any(cell is not None for at in others for cell in cells[at]):
            return None
        try:
            spelled = [self._spelled(name, cells, len(rows)) for name in self._names]
            if any(None in spelled[at] for at in self._needed):
                return None
            return self._reader.read_many(msgspec.Raw(_encode(list(map(self._shape, *spelled)))))
        except (TypeError, ValueError, msgspec.DecodeError):  # includes UnicodeEncodeError
            return None

    def _spelled(self, name: str, cells: list[Sequence[Any]], number: int) -> Sequence[Any]:
        """Return the cells of a field as its record's JSON has them. Raises TypeError for a cell that is not a text."""
        at = self._at.get(name)
        if at is None:
            return (None,) * number
        found = cells[at]
        if not set(map(type, found)) <= {str, type(None)}:
            raise TypeError(name)
        default = self._domain.when_null.get(name)
        if default is not None:
            return [default if cell is None else cell for cell in found]
        if self._types[name] == Instant:
            return [cell and self._instant(cell) for cell in found]
        if self._types[name] in (Text, Id):
            if self._columns[at].is_json:
                raise TypeError(name)
            return found
        return [None if cell is None else _checked(cell.encode()) for cell in found]

    def _instant(self, text: str) -> str:
        """Return an instant in the spelling of RFC 3339, where a database has another spelling for it."""
        if text.endswith("+00"):  # PostgreSQL, in UTC
            return f"{text[:-3]}Z"
        return f"{text}Z" if self._is_ours and _ISO_DATE.fullmatch(text) else text

    def _plain(self, records: Sequence[Record], rows: Sequence[tuple[Any, ...]]) -> Iterator[Entry]:
        kind, table, at = self._kind, self._table, self._position
        entry = None
        for record, key, row in zip(records, keys_of_all(kind, records), rows, strict=True):
            position = None if at is None else _position(row[at])
            entry = Entry(place=(table, *key), record=record, kind=kind, key=key, position=position)
            yield entry
        self._before = entry

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        key = tuple(self._key_part(row, name) for name in self._kind.key_fields)
        place = (self._table, *key)
        path = path_to(place)
        value, extra, findings = self._value(row, path)
        if errors(findings):
            return self._rejected(place, key, row, findings)
        reading = read(self._kind, value, path)
        findings += reading.findings
        record: Record | None = reading.record
        if record is None:
            return self._rejected(place, key, row, findings)
        missing = [name for name in self._kind.stored_fields if not getattr(record, name)]
        if missing:
            findings += [error(step(path, self._names[name]), "is missing") for name in missing]
            return self._rejected(place, key, row, findings)
        if extra:  # kept as in our own rows, with explicit nulls of known fields
            record = msgspec.structs.replace(record, extra=Extra({**extra, **(record.extra or {})}))
        position = None if self._position is None else _position(row[self._position])
        return Entry(place=place, record=record, kind=self._kind, key=key, position=position, findings=tuple(findings))

    def _value(self, row: tuple[Any, ...], path: str) -> tuple[dict[str, Any], dict[str, Any], list[Finding]]:
        """Return a row as its record's JSON, the unknown keys that our own row keeps, and the findings."""
        value: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        findings: list[Finding] = []
        for at, held in enumerate(row):
            name = self._columns[at].name
            cell = self._domain.when_null.get(name) if held is None else held
            if cell is None or not (name in self._names or at in self._unknown or at == self._extra):
                continue
            known = self._names.get(name, name)
            why = _unfit(cell)
            if why:
                findings.append(error(step(path, known), why))
            elif at == self._extra:
                extra = self._opened(cell, path, findings)
            elif at in self._unknown and not self._kind.takes_unknown_keys:
                findings += self._no_room(name)
            else:
                value[known] = self._json_of(at, name, cell)
        for name, item in extra.items():
            value.setdefault(name, item)
        return value, extra, findings

    def _opened(self, cell: Any, path: str, findings: list[Finding]) -> dict[str, Any]:
        """Return the unknown keys in our column `extra`."""
        try:
            found = json_parser.parse(cell.encode()) if isinstance(cell, str) else None
        except json_parser.MalformedJSON:
            found = None
        if isinstance(found, dict):
            return found
        findings.append(error(step(path, "extra"), "the column holds no JSON object"))
        return {}

    def _no_room(self, name: str) -> Iterator[Finding]:
        if name not in self._left_out:
            self._left_out.add(name)
            yield warning(
                path_to((self._table,)),
                f"{self._kind.plural} have no room for the column {name}, which was left out of each",
            )

    def _json_of(self, at: int, name: str, cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        if self._types.get(name) == Instant:
            return self._instant(cell)
        if self._columns[at].is_time:
            return _time(cell)
        if not self._may_be_json(at, name, cell):
            return cell
        try:
            return json_parser.parse(cell.encode())
        except json_parser.MalformedJSON:  # it stays text, and its record reports the expected type
            return cell

    def _may_be_json(self, at: int, name: str, cell: str) -> bool:
        is_json = self._columns[at].is_json
        if is_json is not None:
            return is_json
        return self._types.get(name) not in (Text, Id) and cell.lstrip(_SPACE)[:1] in ("[", "{")

    def _key_part(self, row: tuple[Any, ...], name: str) -> str:
        at = self._at.get(name)
        cell = None if at is None else row[at]
        if isinstance(cell, str):
            return cell
        return f"x'{cell[:128].hex()}'" if isinstance(cell, bytes) else "null" if cell is None else str(cell)

    def _rejected(
        self, place: tuple[str, ...], key: tuple[str, ...], row: tuple[Any, ...], findings: list[Finding]
    ) -> Entry:
        """Return the entry of a row that is not a record, with its original cells."""
        value = {
            self._names.get(column.name, column.name): self._kept(at, column.name, cell)
            for at, (column, cell) in enumerate(zip(self._columns, row, strict=True))
            if cell is not None
        }
        piece = msgspec.Raw(stringify(value))
        return Entry(place=place, value=piece, kind=self._kind, key=key, findings=tuple(findings))

    def _kept(self, at: int, name: str, cell: Any) -> Any:
        """Return a cell as JSON from which the original cell can be restored."""
        if isinstance(cell, bytes):
            return {"blob": base64.b64encode(cell).decode()}
        if isinstance(cell, str):
            if _ESCAPED.search(cell):
                return {"text": base64.b64encode(cell.encode("utf-8", "surrogateescape")).decode()}
            kept = self._json_of(at, name, cell)
            return kept if not json_parser.problems(kept, ROOT) else cell
        if isinstance(cell, float) and not math.isfinite(cell):
            return {"number": str(cell)}
        return {"unread": cell.text} if isinstance(cell, Unkept) else cell

    def _once_each(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield entries, which are sorted by key. A second entry with a key is a copy, or is rejected."""
        for entry in entries:
            before = self._before
            if entry.record is None or before is None or before.key != entry.key or before.record is None:
                self._before = entry if entry.record is not None else before
                yield entry
            elif digest(before.record) == digest(entry.record):
                finding = warning(entry.path, "an equal copy of the row before; the first one counts")
                yield msgspec.structs.replace(entry, copy=True, findings=(*entry.findings, finding))
            else:
                refusal = error(entry.path, "its key is taken by another row, and the first one counts")
                yield msgspec.structs.replace(
                    entry, record=None, value=entry.record, findings=(*entry.findings, refusal)
                )


def _unfit(cell: Any) -> str:
    """Return why JSON cannot hold a cell, or an empty text."""
    if isinstance(cell, bytes):
        return "holds bytes (a BLOB), and no text"
    if isinstance(cell, str):
        found = _ESCAPED.search(cell)
        return "" if found is None else f"the text is no UTF-8 from character {found.start()} on"
    if isinstance(cell, float) and not math.isfinite(cell):
        return f"JSON has no number {cell}"
    return cell.why if isinstance(cell, Unkept) else ""


def _time(text: str) -> str:
    """Return an instant under an unknown key in the spelling of files. Other texts are returned as they are.

    An instant without a zone does not get one.
    """
    try:
        moment, notes = timestamps.parse(text)
    except ValueError:
        return text
    return text.replace(" ", "T") if notes else timestamps.spell(moment)


def _position(cell: Any) -> int | None:
    return cell if isinstance(cell, int) and 0 <= cell < 1 << 31 else None
