"""Records in a JSON file: every change reads the document under its lock and replaces it as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from orbsite.storage.content import Content
from orbsite.storage.document import Document
from orbsite.storage.domain import Domain
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.query import Query
from orbsite.storage.record import Key, R, Record
from orbsite.storage.store import Store


class FileStore(Store):
    """Keeps records in the document of their domain, in the guide's layout."""

    def __init__(self, domain: Domain, document: Document) -> None:
        super().__init__(domain)
        self._document = document

    def fetch(self, kind: type[R], keys: Iterable[Key], *, user_id: str | None = None) -> dict[Key, R]:
        return self._read().view.fetch(kind, keys, user_id=user_id)

    def select(self, kind: type[R], query: Query) -> list[R]:
        return self._read().view.select(kind, query)

    def add(self, record: R) -> tuple[R, bool]:
        with self._editing() as content:
            return content.add(record)

    def put(self, records: Iterable[Record], *, expect: str | None = None) -> None:
        with self._editing() as content:
            content.put(records, expect)

    def delete(self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None) -> int:
        with self._editing() as content:
            return content.delete(kind, keys, user_id)

    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        with self._editing() as content:
            return content.delete_where(kind, where)

    def walk(self, kind: type[R], *, page: int = 1000) -> Iterator[R]:
        return self._read().view.walk(kind, page=page)

    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        return self._read().view.count(kind, distinct)

    def size(self) -> int:
        return len(self._document.read() or b"")

    def _read(self) -> Content:
        return self._parse(self._document.read())

    @contextlib.contextmanager
    def _editing(self) -> Iterator[Content]:
        with self._document.editing() as edit:
            content = self._parse(edit.data)
            yield content
            if content.changed:
                edit.replace(content.encode())

    def _parse(self, data: bytes | None) -> Content:
        try:
            return Content(self.domain, data)
        except DocumentCorrupt as problem:
            raise DocumentCorrupt(
                f"{self._document.path} cannot be read, and was left as it is: {problem}; "
                "run validate_orb_files, then mend it or put a backup in its place"
            ) from problem
