"""Keeps the words of records in step with their tables: in passes over the keys, bounded, and gone on with later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from django.db import transaction
from django.db.models import QuerySet

from orbsite.models.search_index import Words, WordsPass
from orbsite.search.analyzer import document
from orbsite.storage.findings import Finding, printable, unreadable
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, Record, columns, is_ordered_by_time, texts_in
from orbsite.storage.sql.filters import among, beyond, by_keys, can_be_stored
from orbsite.storage.sql.models import column_of, read_cells, why_unreadable
from orbsite.storage.sql.raw_columns import RawValue, raw_rows
from orbsite.storage.sql.retry import TransactionRetry

PAGE = 1000
"""How many keys are compared at a time; what is written of them is one transaction."""
Place: TypeAlias = tuple[str, str]
"""A record's user and its name: the one part of its key that is not the user."""
_DIGEST = 64
_NO_KEY = "its row in SQL does not decode (the key is no text); mend or remove it in SQL"
_RECENT = timedelta(minutes=10)
"""How old a note that all was compared may be before it is written again, where nothing else is."""


@dataclass(slots=True)
class Progressed:
    """What a part of a pass came to."""

    read: int = 0
    indexed: int = 0
    removed: int = 0
    unreadable: int = 0
    findings: list[Finding] = field(default_factory=list)
    """Which rows they are."""
    after: Place | None = None
    """The last place that was looked at; none at an end."""
    is_over: bool = False
    """Whether the end of the table was reached."""


def is_searched(kind: type[Record]) -> bool:
    """Tell whether records of a kind have texts to search, an order by time, and a single name for each user's."""
    return bool(kind.text_fields) and is_ordered_by_time(kind) and len(_names(kind)) == 1


def texts_of(record: Record) -> Iterator[str]:
    """Yield the texts by which a record is found, its tags among them."""
    for name in (*record.text_fields, *([record.tag_field] if record.tag_field else [])):
        yield from texts_in(getattr(record, name))


def name_field(kind: type[Record]) -> str:
    """Return the field that holds the name of a record."""
    (name,) = _names(kind)
    return name


def place_of(kind: type[Record], values: dict[str, Any]) -> Place:
    """Return the place that a row's columns tell."""
    return values["user_id"], values[name_field(kind)]


def _names(kind: type[Record]) -> list[str]:
    return [name for name in kind.key_fields if name != "user_id"]


class SearchIndex:
    """The words of one kind of record in one database."""

    def __init__(self, domain: Domain, kind: type[Record], using: str = "default") -> None:
        self.kind, self._using = kind, using
        self._model, self._order = domain.models[kind], ("user_id", name_field(kind))

    def compare(self) -> WordsPass:
        """Return how far the pass is."""
        found = WordsPass.objects.using(self._using).filter(kind=self.kind.plural).first()
        return found or WordsPass(kind=self.kind.plural)

    def go_on(self, now: Callable[[], datetime], *, anew: bool = False) -> Progressed:
        """Compare a page of records with their words, by user and name, from where the pass was left, and mend them.

        With `anew`, their words are made again though nothing differs. Whoever comes between, in this process or
        another, is seen by the next pass at the latest.
        """
        comparison, moment = self.compare(), now()
        after = place_in(comparison.after)
        known = self._words().order_by("user_id", "key")
        if after is not None:
            known = known.filter(beyond(("user_id", "key"), after, "gt"))
        found, wrong, is_over = self._page(after)
        last = None if is_over else next(reversed(found))
        if last is not None:
            known = known.exclude(beyond(("user_id", "key"), last, "gt"))
        # of very many words of records that are gone, the next pass takes more
        there = _digests(known.values_list("user_id", "key", "digest")[: 10 * PAGE])
        changed = [place for place, digest in found.items() if anew or there.get(place) != digest]
        gone = [place for place in there if place not in found]
        read, lost = len(found) + len(wrong), len(wrong)
        done = Progressed(read=read, unreadable=lost, findings=wrong, after=last, is_over=is_over)
        made = self._made(map(self._key, changed), done)
        step: dict[str, Any] = {"after": _written(last), **({"ended_at": moment} if is_over else {})}
        is_known = is_over and after is None and comparison.ended_at and moment - comparison.ended_at < _RECENT
        if made or gone or not is_known:
            TransactionRetry(self._using).run(lambda: self._write(made, gone, step, done))
        return done

    def _page(self, after: Place | None) -> tuple[dict[Place, str], list[Finding], bool]:
        """Return the digests of the next rows by place, which keys are no text, and whether that is all there is.

        A page ends with a place that can be kept, so that the next one can begin after it.
        """
        found, wrong, number = dict[Place, str](), list[Finding](), PAGE
        start: tuple[Any, ...] | None = after
        while number == PAGE and not found:
            rows = self._rows().order_by(*self._order)
            rows = rows if start is None else rows.filter(beyond(self._order, start, "gt"))
            page = list(raw_rows(rows, (*self._order, "digest"))[:PAGE])
            number = len(page)
            if page:
                start = tuple(
                    RawValue(cell, column_of(self._model, name))
                    for cell, name in zip(page[-1][:-1], self._order, strict=True)
                )
            for *place, digest in page:
                if all(map(can_be_stored, place)):
                    found[place[0], place[1]] = printable(digest)[:_DIGEST]
                else:
                    wrong.append(unreadable(self.kind.plural, self._key_shown(place), _NO_KEY))
        return found, wrong, number < PAGE

    def _key_shown(self, place: Sequence[Any]) -> Key:
        return self._key((printable(place[0]), printable(place[1])))

    def refresh(self, keys: Sequence[Key]) -> None:
        """Bring the words of some records up to date at once, of those that are gone too."""
        done = Progressed()
        made = self._made(keys, done)
        wanted, there = set(keys), {_place(one) for one in made}
        names = [key[self.kind.key_fields.index(self._order[1])] for key in keys]
        known = self._words().filter(key__in=names)
        if "user_id" in self.kind.key_fields:
            known = known.filter(user_id__in={key[self.kind.key_fields.index("user_id")] for key in keys})
        places: list[Place] = list(known.values_list("user_id", "key"))
        gone = [place for place in places if self._key(place) in wanted and place not in there]
        TransactionRetry(self._using).run(lambda: self._write(made, gone, {}, done))

    def _made(self, keys: Iterable[Key], done: Progressed) -> list[Words]:
        """Return the words of records as they are now; of one that does not decode, none are needed to show it."""
        made = []
        names = (*columns(self.kind), "digest")
        for condition in by_keys(self.kind, keys):
            rows = raw_rows(self._rows().filter(condition), names)
            for values in (dict(zip(names, cells, strict=True)) for cells in rows):
                reading = read_cells(self.kind, values)
                record = reading.record
                if record is None:
                    done.unreadable += 1
                    done.findings.append(why_unreadable(self.kind, values, reading))
                user, name = place_of(self.kind, values)
                made.append(
                    Words(
                        kind=self.kind.plural,
                        key=name,
                        user_id=user,
                        digest=printable(values["digest"])[:_DIGEST],
                        words="" if record is None else document(texts_of(record)),
                    )
                )
        return made

    def _write(self, made: list[Words], gone: list[Place], step: dict[str, Any], done: Progressed) -> None:
        """Write what still holds: a record that has gone or changed since it was read is seen by the next pass."""
        held = self._held([*map(_place, made), *gone])
        gone = [place for place in gone if place not in held]
        made = [one for one in made if held.get(_place(one)) == one.digest]
        done.removed = sum(self._words().filter(one).delete()[0] for one in among(("user_id", "key"), gone))
        done.indexed = len(made)
        Words.objects.using(self._using).bulk_create(
            sorted(made, key=_place),  # one order for all: no deadlock
            update_conflicts=True,
            unique_fields=["user_id", "key", "kind"],
            update_fields=["digest", "words"],
            batch_size=PAGE,
        )
        if step:
            WordsPass.objects.using(self._using).update_or_create(kind=self.kind.plural, defaults=step)

    def _held(self, places: Iterable[Place]) -> dict[Place, str]:
        """Return the digests of the rows that are there, which nobody changes or removes until this is committed."""
        held: dict[Place, str] = {}
        for condition in among(self._order, places):
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
    """Bring the words of a few records up to date once the transaction is committed; the next pass mends a failure."""
    if is_searched(kind) and len(keys) <= PAGE:
        transaction.on_commit(lambda: SearchIndex(domain, kind, using).refresh(keys), using=using, robust=True)


def _digests(rows: Iterable[tuple[str, str, str]]) -> dict[Place, str]:
    return {(user, name): digest for user, name, digest in rows}


def _place(words: Words) -> Place:
    return words.user_id, words.key


def _written(place: Place | None) -> str:
    return "" if place is None else msgspec.json.encode(place).decode()


def place_in(text: str) -> Place | None:
    """Return the place where a pass was left, as it is kept; None for a pass that is to begin."""
    try:
        return msgspec.json.decode(text, type=tuple[str, str])
    except msgspec.DecodeError:
        return None


def forget(user: str, using: str = "default") -> int:
    """Remove the words of a user's records, of those that are gone too, and return of how many there were some."""
    with transaction.atomic(using):
        return Words.objects.using(using).filter(user_id=user).delete()[0]
