"""Updates the words of records to match their tables, in limited passes over the keys that can be continued later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
from django.db import connections, transaction
from django.db.models import QuerySet

from orbsite.models.search_index import Words, WordsPass
from orbsite.search.analyzer import document
from orbsite.storage.citus import is_distributed
from orbsite.storage.findings import Finding, printable, unreadable
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, Record, columns, is_ordered_by_time, texts_in
from orbsite.storage.records.sealed_columns import is_sealing, open_rows
from orbsite.storage.sql.filters import among, beyond, by_keys, can_be_stored
from orbsite.storage.sql.keyset_pagination import raw_pages
from orbsite.storage.sql.models import key_of, read_cells, why_unreadable
from orbsite.storage.sql.raw_columns import raw_rows
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.row_decoder import reader_of

PAGE = 1000
"""The number of keys that are compared at a time. Their changes are written in one transaction."""
Place: TypeAlias = tuple[str, str]
"""A record's user and its name, which is the part of its key that is not the user."""
_DIGEST = 64
_NO_KEY = "its row in SQL does not decode (the key is no text); mend or remove it in SQL"
_RECENT = timedelta(minutes=10)
"""How old the time of the last complete pass may be before it is saved again, if nothing else changed."""
_DECODED_AT_ONCE = 50
"""The number of rows that are in memory in all forms, because any row may be large."""
_WRITTEN_AT_ONCE = 199
"""The number of rows of one statement. FTS5 writes to the file at the end of each; SQLite may take 999 parameters."""
_UPSERT = (
    "INSERT INTO orb_words (kind, user_id, key, digest, words) VALUES {values} "
    "ON CONFLICT (user_id, key, kind) DO UPDATE SET digest = EXCLUDED.digest, words = EXCLUDED.words"
)


class RecordWords(NamedTuple):
    """The words of a record, as they were read from the row with this digest."""

    place: Place
    digest: str
    words: str


@dataclass(slots=True)
class IndexStep:
    """The result of one step of a pass."""

    read: int = 0
    indexed: int = 0
    removed: int = 0
    unreadable: int = 0
    findings: list[Finding] = field(default_factory=list)
    """The findings about unreadable rows."""
    after: Place | None = None
    """The last place that was compared; None at the end of the table."""
    is_over: bool = False
    """Whether the step reached the end of the table."""


def is_searched(kind: type[Record]) -> bool:
    """Tell whether records of a kind can be searched: they have texts, an order by time, and one name per user."""
    return bool(kind.text_fields) and is_ordered_by_time(kind) and len(_names(kind)) == 1


def is_off(kind: type[Record]) -> bool:
    """Tell whether records of a kind cannot be searched because their texts are sealed; an index would hold them."""
    return bool(kind.private_fields) and is_sealing()


def texts_of(record: Record) -> Iterator[str]:
    """Yield the texts that search covers, including the tags."""
    for name in (*record.text_fields, *([record.tag_field] if record.tag_field else [])):
        yield from texts_in(getattr(record, name))


def name_field(kind: type[Record]) -> str:
    """Return the name of the field that holds the name of a record."""
    (name,) = _names(kind)
    return name


def place_of(kind: type[Record], values: dict[str, Any]) -> Place:
    """Return the place of a row, from its columns."""
    return values["user_id"], values[name_field(kind)]


def _names(kind: type[Record]) -> list[str]:
    return [name for name in kind.key_fields if name != "user_id"]


class SearchIndex:
    """The search index of one kind of record in one database."""

    def __init__(self, domain: Domain, kind: type[Record], using: str = "default") -> None:
        self.kind, self._using = kind, using
        self._model, self._order = domain.models[kind], ("user_id", name_field(kind))

    def position(self) -> WordsPass:
        """Return the position of the pass."""
        found = WordsPass.objects.using(self._using).filter(kind=self.kind.plural).first()
        return found or WordsPass(kind=self.kind.plural)

    def go_on(self, now: Callable[[], datetime], *, anew: bool = False) -> IndexStep:
        """Compare the next page of records with their words, by user and name, and update the words that differ.

        With `anew`, all words of the page are rebuilt. Where texts are sealed, all words are removed instead.
        Concurrent changes, of this process or another, are found by the next pass at the latest.
        """
        if is_off(self.kind):
            return IndexStep(removed=self._words().delete()[0], is_over=True)
        position, moment = self.position(), now()
        after = parse_place(position.after)
        known = self._words().order_by("user_id", "key")
        if after is not None:
            known = known.filter(beyond(("user_id", "key"), after, "gt"))
        found, wrong, is_over = self._page(after)
        last = None if is_over else next(reversed(found))
        if last is not None:
            known = known.exclude(beyond(("user_id", "key"), last, "gt"))
        # the next pass removes the rest where very many deleted records left words
        known_digests = _digests(known.values_list("user_id", "key", "digest")[: 10 * PAGE])
        changed = [place for place, digest in found.items() if anew or known_digests.get(place) != digest]
        deleted = [place for place in known_digests if place not in found]
        read, lost = len(found) + len(wrong), len(wrong)
        done = IndexStep(read=read, unreadable=lost, findings=wrong, after=last, is_over=is_over)
        made = self._current_words(map(self._key, changed), done)
        step: dict[str, Any] = {"after": _place_text(last), **({"ended_at": moment} if is_over else {})}
        is_known = is_over and after is None and position.ended_at and moment - position.ended_at < _RECENT
        if made or deleted or not is_known:
            TransactionRetry(self._using).run(lambda: self._write(made, deleted, step, done))
        return done

    def _page(self, after: Place | None) -> tuple[dict[Place, str], list[Finding], bool]:
        """Return the digests of the next rows by place, the rows whose keys are not texts, and whether the table ends.

        A page ends with a place that can be saved, so that the next one can begin after it.
        """
        found, wrong = dict[Place, str](), list[Finding]()
        for page in raw_pages(self._rows(), self._order, (*self._order, "digest"), PAGE, after=after):
            for row in page:
                if all(can_be_stored(row[name]) for name in self._order):
                    found[place_of(self.kind, row)] = printable(row["digest"])[:_DIGEST]
                else:
                    wrong.append(unreadable(self.kind.plural, key_of(self.kind, row), _NO_KEY))
            if found:
                return found, wrong, len(page) < PAGE
        return found, wrong, True

    def refresh(self, keys: Sequence[Key]) -> None:
        """Update the words of some records at once, including deleted ones."""
        done = IndexStep()
        made = self._current_words(keys, done)
        wanted, present = set(keys), {one.place for one in made}
        names = [key[self.kind.key_fields.index(self._order[1])] for key in keys]
        known = self._words().filter(key__in=names)
        if "user_id" in self.kind.key_fields:
            known = known.filter(user_id__in={key[self.kind.key_fields.index("user_id")] for key in keys})
        places: list[Place] = list(known.values_list("user_id", "key"))
        deleted = [place for place in places if self._key(place) in wanted and place not in present]
        TransactionRetry(self._using).run(lambda: self._write(made, deleted, {}, done))

    def _current_words(self, keys: Iterable[Key], done: IndexStep) -> list[RecordWords]:
        """Return the current words of records. A record that does not decode gets no words."""
        made = []
        names = (*columns(self.kind), "digest")
        user, name = map(names.index, self._order)
        for condition in by_keys(self.kind, keys):
            rows = open_rows(self.kind, names, list(raw_rows(self._rows().filter(condition), names)), self._using)
            for row, record in zip(rows, self._decoded(rows, done), strict=True):
                words = "" if record is None else document(texts_of(record))
                made.append(RecordWords((row[user], row[name]), printable(row[-1])[:_DIGEST], words))
        return made

    def _decoded(self, rows: list[tuple[Any, ...]], done: IndexStep) -> Iterator[Record | None]:
        """Yield the records of rows, and None for each that does not decode."""
        reader = reader_of(self._model, connections[self._using].vendor)
        for start in range(0, len(rows), _DECODED_AT_ONCE):
            part = rows[start : start + _DECODED_AT_ONCE]
            decoded = None if reader is None else reader.read([row[:-1] for row in part])
            yield from (self._decoded_alone(row, done) for row in part) if decoded is None else decoded

    def _decoded_alone(self, row: tuple[Any, ...], done: IndexStep) -> Record | None:
        values = dict(zip(columns(self.kind), row[:-1], strict=True))
        reading = read_cells(self.kind, values)
        if reading.record is None:
            done.unreadable += 1
            done.findings.append(why_unreadable(self.kind, values, reading))
        return reading.record

    def _write(self, made: list[RecordWords], deleted: list[Place], step: dict[str, Any], done: IndexStep) -> None:
        """Write the words of unchanged records. The next pass handles records deleted or changed meanwhile."""
        held = self._locked_digests([*(one.place for one in made), *deleted])
        deleted = [place for place in deleted if place not in held]
        made = [one for one in made if held.get(one.place) == one.digest]
        done.removed = sum(self._words().filter(one).delete()[0] for one in among(("user_id", "key"), deleted))
        done.indexed = len(made)
        made.sort(key=attrgetter("place"))  # one order for all writers prevents deadlocks
        with connections[self._using].cursor() as cursor:
            for start in range(0, len(made), _WRITTEN_AT_ONCE):
                part = made[start : start + _WRITTEN_AT_ONCE]
                values = [(self.kind.plural, *one.place, one.digest, one.words) for one in part]
                statement = _UPSERT.format(values=", ".join(["(%s, %s, %s, %s, %s)"] * len(values)))
                cursor.execute(statement, list(chain.from_iterable(values)))
        if step:
            WordsPass.objects.using(self._using).update_or_create(kind=self.kind.plural, defaults=step)

    def _locked_digests(self, places: Iterable[Place]) -> dict[Place, str]:
        """Return the digests of the existing rows, locked until the transaction is committed."""
        held: dict[Place, str] = {}
        apart = is_distributed(connections[self._using], self._model._meta.db_table)
        for condition in among(self._order, places, apart=apart):
            rows = self._rows().filter(condition).order_by(*self._order).select_for_update()
            locked = raw_rows(rows, (*self._order, "digest"))
            held.update({(user, name): printable(digest)[:_DIGEST] for user, name, digest in locked})
        return held

    def _key(self, place: Place) -> Key:
        """Return the key of the record at a place."""
        named = dict(zip(self._order, place, strict=True))
        return tuple(named[name] for name in self.kind.key_fields)

    def _rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._model._base_manager.using(self._using)
        return rows

    def _words(self) -> QuerySet[Words]:
        return Words.objects.using(self._using).filter(kind=self.kind.plural)


def refresh_once_saved(domain: Domain, kind: type[Record], keys: Sequence[Key], using: str) -> None:
    """Update the words of a few records after the transaction is committed. The next pass makes up for a failure."""
    if is_searched(kind) and not is_off(kind) and len(keys) <= PAGE:
        transaction.on_commit(lambda: SearchIndex(domain, kind, using).refresh(keys), using=using, robust=True)


def _digests(rows: Iterable[tuple[str, str, str]]) -> dict[Place, str]:
    return {(user, name): digest for user, name, digest in rows}


def _place_text(place: Place | None) -> str:
    return "" if place is None else msgspec.json.encode(place).decode()


def parse_place(text: str) -> Place | None:
    """Return the saved position of a pass; None for a pass that starts at the beginning."""
    try:
        return msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.DecodeError:
        return None


def forget(user: str, using: str = "default") -> int:
    """Delete the words of a user's records, including deleted records, and return the number of rows."""
    with transaction.atomic(using):
        return Words.objects.using(using).filter(user_id=user).delete()[0]
