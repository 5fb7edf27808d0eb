"""Keeps the words of records in step with their tables: in passes over the keys, bounded, and gone on with later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from orbsite.search.fold import document
from orbsite.storage.attempts import Attempts
from orbsite.storage.conditions import can_be_stored
from orbsite.storage.domain import Domain
from orbsite.storage.finding import Finding, printable, unreadable
from orbsite.storage.raw_columns import RawValue, raw_rows
from orbsite.storage.record import Record, columns
from orbsite.storage.rows import column_of, read_cells, why_unreadable
from orbsite.storage.rules import ID_LENGTH
from orbsite.words import Words, WordsPass

PAGE = 1000
"""How many keys are compared at a time; what is written of them is one transaction."""
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
    after: str = ""
    """The last key that was looked at."""
    is_over: bool = False
    """Whether the end of the table was reached."""


def is_searched(kind: type[Record]) -> bool:
    """Tell whether records of a kind have texts to search, and a single key to find them by."""
    return bool(kind.text_fields) and len(kind.key_fields) == 1


def texts_of(record: Record) -> Iterator[str]:
    """Yield the texts by which a record is found, its tags among them."""
    for name in (*record.text_fields, *([record.tag_field] if record.tag_field else [])):
        value = getattr(record, name)
        if isinstance(value, str):
            yield value
        elif value is not None:
            yield from value


def key_of(kind: type[Record], values: dict[str, Any]) -> str:
    """Return the key among a row's columns."""
    return str(values[kind.key_fields[0]])


class Index:
    """The words of one kind of record in one database."""

    def __init__(self, domain: Domain, kind: type[Record], using: str = "default") -> None:
        self.kind, self._using = kind, using
        self._model, self._field = domain.models[kind], kind.key_fields[0]

    def standing(self) -> WordsPass:
        """Return how far the pass is."""
        found = WordsPass.objects.using(self._using).filter(kind=self.kind.plural).first()
        return found or WordsPass(kind=self.kind.plural)

    def go_on(self, now: Callable[[], datetime], *, anew: bool = False) -> Progressed:
        """Compare a page of records with their words, from where the pass was left, and mend what differs.

        With `anew`, their words are made again though nothing differs. Whoever comes between, in this process or
        another, is seen by the next pass at the latest.
        """
        standing, moment = self.standing(), now()
        after = standing.after
        found, wrong, is_over = self._page(after)
        last = "" if is_over else next(reversed(found))
        known = self._words().filter(key__gt=after)
        known = known if is_over else known.filter(key__lte=last)
        # of very many words of records that are gone, the next pass takes more
        there: dict[str, str] = dict(known.order_by("key").values_list("key", "digest")[: 10 * PAGE])
        changed = [key for key, digest in found.items() if anew or there.get(key) != digest]
        gone = [key for key in there if key not in found]
        read, lost = len(found) + len(wrong), len(wrong)
        done = Progressed(read=read, unreadable=lost, findings=wrong, after=last, is_over=is_over)
        made = self._made(changed, done)
        step: dict[str, Any] = {"after": last, **({"ended_at": moment} if is_over else {})}
        is_known = is_over and not after and standing.ended_at and moment - standing.ended_at < _RECENT
        if made or gone or not is_known:
            Attempts(self._using).run(lambda: self._write(made, gone, step, done))
        return done

    def _page(self, after: str) -> tuple[dict[str, str], list[Finding], bool]:
        """Return the digests of the next rows by key, which keys are no text, and whether that is all there is.

        A page ends with a key that can be kept, so that the next one can begin after it.
        """
        found, wrong, start, number = dict[str, str](), list[Finding](), after, PAGE
        while number == PAGE and not found:
            beyond: Any = start if type(start) is str else RawValue(start, column_of(self._model, self._field))
            rows = self._rows().order_by(self._field)
            rows = rows.filter(**{f"{self._field}__gt": beyond}) if start != "" else rows
            page = list(raw_rows(rows, (self._field, "digest"))[:PAGE])
            number, start = len(page), page[-1][0] if page else start
            found.update((key, printable(digest)[:_DIGEST]) for key, digest in page if can_be_stored(key))
            lost = (printable(key) for key, _ in page if not can_be_stored(key))
            wrong += [unreadable(self.kind.plural, (key,), _NO_KEY) for key in lost]
        return found, wrong, number < PAGE

    def refresh(self, keys: Sequence[str]) -> None:
        """Bring the words of some records up to date at once, of those that are gone too."""
        done = Progressed()
        made = self._made(keys, done)
        there = {one.key for one in made}
        Attempts(self._using).run(lambda: self._write(made, [key for key in keys if key not in there], {}, done))

    def _made(self, keys: Sequence[str], done: Progressed) -> list[Words]:
        """Return the words of records as they are now; of one that does not decode, none are needed to show it."""
        made = []
        names = (*columns(self.kind), "digest")
        for start in range(0, len(keys), PAGE):
            part = self._rows().filter(**{f"{self._field}__in": keys[start : start + PAGE]})
            for values in (dict(zip(names, cells, strict=True)) for cells in raw_rows(part, names)):
                reading = read_cells(self.kind, values)
                record = reading.record
                if record is None:
                    done.unreadable += 1
                    done.findings.append(why_unreadable(self.kind, values, reading))
                made.append(
                    Words(
                        kind=self.kind.plural,
                        key=key_of(self.kind, values),
                        user_id=printable(values["user_id"])[:ID_LENGTH],
                        digest=printable(values["digest"])[:_DIGEST],
                        words="" if record is None else document(texts_of(record)),
                    )
                )
        return made

    def _write(self, made: list[Words], gone: list[str], step: dict[str, Any], done: Progressed) -> None:
        """Write what still holds: a record that has gone or changed since it was read is seen by the next pass."""
        held = self._held([*(one.key for one in made), *gone])
        gone = [key for key in gone if key not in held]
        made = [one for one in made if held.get(one.key) == one.digest]
        done.removed = self._words().filter(key__in=gone).delete()[0] if gone else 0
        done.indexed = len(made)
        Words.objects.using(self._using).bulk_create(
            sorted(made, key=lambda one: one.key),  # one order for all: no deadlock
            update_conflicts=True,
            unique_fields=["key", "kind"],
            update_fields=["user_id", "digest", "words"],
            batch_size=PAGE,
        )
        if step:
            WordsPass.objects.using(self._using).update_or_create(kind=self.kind.plural, defaults=step)

    def _held(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the digests of the rows that are there, which nobody changes or removes until this is committed."""
        held: dict[str, str] = {}
        for start in range(0, len(keys), PAGE):
            rows = self._rows().filter(**{f"{self._field}__in": keys[start : start + PAGE]}).order_by(self._field)
            locked = raw_rows(rows.select_for_update(), (self._field, "digest"))
            held.update((key, printable(digest)[:_DIGEST]) for key, digest in locked)
        return held

    def _rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._model._base_manager.using(self._using)
        return rows

    def _words(self) -> QuerySet[Words]:
        return Words.objects.using(self._using).filter(kind=self.kind.plural)


def refresh_once_saved(domain: Domain, kind: type[Record], keys: Sequence[str], using: str) -> None:
    """Bring the words of a few records up to date once the transaction is committed; the next pass mends a failure."""
    if is_searched(kind) and len(keys) <= PAGE:
        transaction.on_commit(lambda: Index(domain, kind, using).refresh(keys), using=using, robust=True)


def forget(user: str, using: str = "default") -> int:
    """Remove the words of a user's records, of those that are gone too, and return of how many there were some."""
    with transaction.atomic(using):
        return Words.objects.using(using).filter(user_id=user).delete()[0]
