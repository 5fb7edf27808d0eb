"""Tombstones of rows, written by the database itself: the ledger's columns, and the expressions for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orbsite.storage.records.record import declared, field_names
from orbsite.storage.sql.models import RecordRow, column_of
from orbsite.storage.sql.retention.dialects import Dialect


@dataclass(frozen=True, slots=True)
class LedgerTable:
    """The ledger's table for tombstones, and the run, the domain, the actor and the time that each tombstone gets."""

    model: Any
    run: int
    domain: str
    actor: str
    at: datetime


class TombstoneColumns:
    """SQL expressions for tombstones of one table's rows; `r` is the row, `c` its entry in the temporary table."""

    def __init__(self, model: type[RecordRow], connection: Any, dialect: Dialect) -> None:
        self._model, self._dialect, self._quote = model, dialect, connection.ops.quote_name
        self._declared = declared(model.kind)
        self._fields = field_names(model.kind)

    def columns(self, ledger: LedgerTable, reasons: Mapping[int, str]) -> tuple[str, str, list[Any]]:
        """Return the ledger's columns, the expressions for them, and their parameters."""
        reason = " ".join(f"WHEN {bits} THEN %s" for bits in reasons)
        parts: list[tuple[str, str, list[Any]]] = [
            ("run", "%s", [ledger.run]),
            ("domain", "%s", [ledger.domain]),
            ("kind", "%s", [self._model.kind.plural]),
            ("key", self._key(), []),
            ("before", self._before(), []),
            ("before_run", self._of("run_id"), []),
            ("before_position", self._of("position"), []),
            ("after", self._of("digest"), []),
            ("actor", "%s", [ledger.actor]),
            ("at", "%s", [self._dialect.instant(ledger.at)]),
            ("reason", f"CASE c.why {reason} END", list(reasons.values())),
        ]
        names = [self._quote(ledger.model._meta.get_field(name).column) for name, _, _ in parts]
        values = [value for _, _, given in parts for value in given]
        return ", ".join(names), ", ".join(expression for _, expression, _ in parts), values

    def decodes(self) -> str:
        """Return the condition that a row decodes, so that it can be restored; other rows must not be removed."""
        conditions = []
        for attribute, _ in field_names(self._model.kind):
            condition = self._dialect.decodes(self._declared[attribute], self._of(attribute))
            may_be_null = self._is_optional(attribute)
            conditions.append(f"({self._of(attribute)} IS NULL OR {condition})" if may_be_null else condition)
        extra = self._of("extra")
        conditions.append(f"({extra} IS NULL OR {self._dialect.is_object(extra)})")
        return " AND ".join(condition for condition in conditions if condition != "TRUE")

    def needs_a_look(self) -> str:
        """Return the condition that `decodes` is not sufficient, so that the row must be decoded in Python."""
        looks = [self._dialect.needs_a_look(self._declared[name], self._of(name)) for name, _ in self._fields]
        return " OR ".join([f"{self._of('extra')} IS NOT NULL", *(one for one in looks if one != "FALSE")])

    def cells(self) -> str:
        """Return the expressions for a row's raw columns, as `read_cells` takes them."""
        cells = [self._dialect.cell(self._declared[name], self._of(name)) for name, _ in self._fields]
        return ", ".join([*cells, self._dialect.cell(None, self._of("extra"))])

    def _key(self) -> str:
        quoted = " || ',' || ".join(self._dialect.quoted(self._of(name)) for name in self._model.kind.key_fields)
        return f"'[' || {quoted} || ']'"

    def _before(self) -> str:
        """Return the expression for a row as a journal step, in which unknown keys are beside the record.

        It has the stored values, which may be sealed; `cells` says so.
        """
        fields = []
        names = sorted(field_names(self._model.kind), key=lambda pair: self._is_optional(pair[0]))
        for number, (attribute, name) in enumerate(names):
            column = self._of(attribute)
            value = self._dialect.printed(self._declared[attribute], column)
            printed = f"""'{"," if number else ""}"{name}":' || {value}"""
            is_optional = self._is_optional(attribute)
            fields.append(f"CASE WHEN {column} IS NULL THEN '' ELSE {printed} END" if is_optional else printed)
        extra = self._of("extra")
        unknown = f"""CASE WHEN {extra} IS NULL THEN '' ELSE ',"extra":' || {self._dialect.json(extra)} END"""
        begin = f"""'{{"put":"{self._model.kind.plural}","cells":1,"record":{{'"""
        return " || ".join([begin, *fields, "'}'", unknown, "'}'"])

    def _is_optional(self, attribute: str) -> bool:
        return bool(column_of(self._model, attribute).null)

    def _of(self, name: str) -> str:
        return f"r.{self._quote(column_of(self._model, name).column)}"
