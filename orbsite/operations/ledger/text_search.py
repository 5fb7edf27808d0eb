"""Searches columns and files for a user's id, in the spellings of JSON and of paths."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import connections, models
from django.db.models import BinaryField, Func, Q, TextField, Value
from django.db.models.functions import Cast, StrIndex
from django.db.models.lookups import GreaterThan

from orbsite.conf import app_settings
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import DocumentError
from orbsite.storage.file.tombstones import TOMBSTONES
from orbsite.storage.findings import path_to
from orbsite.storage.sealing.envelope import IN_BACKUP
from orbsite.storage.sealing.packed import MAGIC

_CHUNK = 1 << 20
_TEXTS = (models.CharField, models.TextField, models.JSONField)
_SQLITE = b"SQLite format 3\x00"
_DUMP = b"PGDMP"


class _Position(Func):
    """The position of bytes in a binary column, from 1 on; 0 where the column does not hold them."""

    function = "INSTR"
    output_field = models.IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        column, sought = self.get_source_expressions()
        swapped = Func(sought, column, function="POSITION", arg_joiner=" IN ", output_field=models.IntegerField())
        return swapped.as_sql(compiler, connection, **context)


def spellings(user: str) -> list[str]:
    """Return the JSON spellings of an id, with quotes."""
    return sorted({compact(user).decode(), json.dumps(user)})


def contains(column: str, texts: Iterable[str]) -> Q:
    """Return the condition that a column holds one of these texts exactly. Texts that no database holds are skipped."""
    condition = Q(pk__in=[])
    for text in texts:
        if UNCLEAN.search(text):
            continue
        place = StrIndex(Cast(column, TextField()), Value(text, TextField()))
        condition |= Q(GreaterThan(place, 0))
    return condition


def holds_bytes(column: str, found: Iterable[bytes]) -> Q:
    """Return the condition that a binary column holds one of these byte strings."""
    condition = Q()
    for data in found:
        condition |= Q(GreaterThan(_Position(column, Value(data, BinaryField())), 0))
    return condition


def columns_that_name(user: str, using: str) -> dict[str, int]:
    """Return the number of rows that name a user, by table and column, over all models; zeros are left out."""
    if UNCLEAN.search(user):
        return {}
    tables = set(connections[using].introspection.table_names())
    found: dict[str, int] = {}
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields if model._meta.db_table in tables else ():
            number = _rows_that_name(model, field, user, using)
            if number:
                found[f"{model._meta.db_table}.{field.column}"] = number
    return found


def searched(model: type[models.Model]) -> list[str]:
    """Return the columns of a model to search: `user_id` where it has one, or else all text and binary columns."""
    owned = any(field.name == "user_id" for field in model._meta.concrete_fields)
    names = [field.name for field in model._meta.concrete_fields if isinstance(field, (*_TEXTS, BinaryField))]
    return ["user_id"] if owned else names


def _rows_that_name(model: type[models.Model], field: Any, user: str, using: str) -> int:
    if field.name not in searched(model):
        return 0
    rows = model._base_manager.using(using)
    if isinstance(field, BinaryField):
        return rows.filter(holds_bytes(field.name, [one.encode() for one in spellings(user)])).count()
    if field.name == "user_id":
        return rows.filter(user_id=user).count()
    condition = contains(field.name, spellings(user))
    if not isinstance(field, models.JSONField):
        condition |= Q(**{field.name: user})
    return rows.filter(condition).count()


@dataclass(frozen=True, slots=True)
class Needles:
    """The texts to search files for."""

    user: str
    pattern: re.Pattern[bytes]
    longest: int

    @classmethod
    def of(cls, user: str, names: Iterable[str] = ()) -> Needles:
        """Return the texts for a user's id, in its JSON spellings, and for the names of the user's data."""
        texts = {spelling for name in (user, *names) for spelling in spellings(name)} | {f"{path_to((user,))}."}
        sought = sorted(text.encode("utf-8", "surrogatepass") for text in texts)
        return cls(user, re.compile(b"|".join(map(re.escape, sought))), max(map(len, sought)))


def files_that_name(top: Path, sought: Needles) -> Iterator[tuple[Path, str]]:
    """Yield each file under a directory that names a user or cannot be searched, with a text that says which.

    Links are not followed.
    """
    for directory, _, files in os.walk(top):
        for name in sorted(files):
            path = Path(directory, name)
            try:
                result = _search(path, sought)
            except OSError as problem:
                result = f"cannot be searched: {problem.strerror}"
            if result:
                yield path, result


def _search(path: Path, sought: Needles) -> str:
    if not stat.S_ISREG(path.lstat().st_mode):
        return ""
    with path.open("rb") as file:
        head = file.read(len(_SQLITE))
        if head.startswith(_DUMP):
            return "cannot be searched: it is a compressed dump, which may hold rows of the user"
        if head.startswith(MAGIC):
            return _search_packed(path, head + file.read(), sought)
        kept = head
        while chunk := file.read(_CHUNK):
            kept += chunk
            if sought.pattern.search(kept):
                break
            kept = kept[-sought.longest :]
        if sought.pattern.search(kept):
            return "names the user"
    return "holds rows of the user" if head == _SQLITE and _has_rows(path, sought.user) else ""


def _search_packed(path: Path, data: bytes, sought: Needles) -> str:
    """Search the content of a file that is sealed or compressed as a whole, or line by line."""
    packing = app_settings.packing(allows_plain=True)
    kind = path.name.partition(".")[0]
    envelopes = [packing.envelope(name) for name in (f"{path.parent.name}/{kind}", f"{IN_BACKUP}/{kind}", TOMBSTONES)]
    for envelope in envelopes:
        try:
            found = any(sought.pattern.search(one) for one in envelope.contents(data))
        except DocumentError:
            continue
        return "names the user" if found else ""
    return "cannot be searched: it is sealed or compressed, and may hold data of the user"


def _has_rows(path: Path, user: str) -> bool:
    """Tell whether a table of a SQLite database has rows of a user. No other program may write to the database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            tables = database.execute(
                "SELECT DISTINCT m.name FROM sqlite_master m, pragma_table_info(m.name) c "
                "WHERE m.type = 'table' AND m.sql LIKE 'CREATE TABLE%' AND c.name = 'user_id'"
            ).fetchall()
            return any(
                database.execute(
                    f'SELECT 1 FROM "{table.replace(chr(34), chr(34) * 2)}" WHERE user_id = ? LIMIT 1',  # noqa: S608
                    [user],
                ).fetchone()
                for (table,) in tables
            )
    except (sqlite3.Error, UnicodeEncodeError):
        return False
