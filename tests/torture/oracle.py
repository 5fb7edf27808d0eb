"""What a document may hold after what was reported of it, and what it does hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from orbsite.storage.errors import OrbError
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import moment

Content: TypeAlias = dict[str, str]
Act: TypeAlias = tuple[str, ...]
"""("put", id, text, and so on), ("delete", id), ("fold",) or ("fold concurrently",)."""

BEFORE, AFTER = "before", "after"
OUTCOMES = {
    "done": {AFTER},
    "SaveOutcomeUnknown": {BEFORE, AFTER},
    "MemoryError": {BEFORE, AFTER},
    "killed": {BEFORE, AFTER},
}
"""Which content an outcome leaves; any other error leaves the one before."""


def open_store(base: Path, above: int | None) -> FileStore:
    return FileStore(DOMAIN, Document(base, DOMAIN.file), journal_above=above)


def perform(store: FileStore, act: Act) -> None:
    match act:
        case ("put", *records):
            store.put([reflection(name, text) for name, text in _pairs(records)])
        case ("delete", name):
            store.delete(Reflection, [("ana", name)])
        case ("fold concurrently",):
            store.fold_concurrently()
        case _:
            store.fold()


def reflection(name: str, text: str) -> Reflection:
    return Reflection(
        id=name, input=text, output="", tags=(), created_at=moment(0), user_id="ana", session_id=f"s{len(text) % 3}"
    )


def content_of(store: FileStore) -> Content:
    return {one.id: one.input for one in store.find(Reflection)}


def digest(content: object) -> str:
    """Return what stands for a content that may be too long to be sent."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def after(act: Act, content: Content) -> Content:
    match act:
        case ("put", *records):
            return {**content, **dict(_pairs(records))}
        case ("delete", gone):
            return {name: text for name, text in content.items() if name != gone}
    return content


def _pairs(records: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(records[::2], records[1::2], strict=True)


def temporary_files(base: Path) -> list[str]:
    """Return the temporary files beside the document, where no save should leave any."""
    return sorted(path.name for path in (base / DOMAIN.file).parent.glob(".*.tmp*"))


@dataclass
class Ledger:
    """Keeps, for one data directory, what it may hold, and what was found wrong."""

    base: Path
    above: int | None
    content: Content
    problems: list[str] = field(default_factory=list)

    def reported(self, act: Act, outcome: str, view: str | None = None) -> None:
        """Look, as another process, after an act was said to have ended so; `view` is its digest of what it sees itself."""
        wanted = OUTCOMES.get(outcome, {BEFORE})
        allowed = [self.content] * (BEFORE in wanted) + [after(act, self.content)] * (AFTER in wanted)
        found = self.look()
        if found not in allowed:
            self.problems.append(f"{act} {outcome}: found {_short(found)}, not {' or '.join(map(_short, allowed))}")
        if view is not None and view != digest(found):
            self.problems.append(f"{act} {outcome}: the process itself sees something else than {_short(found)}")
        if isinstance(found, dict):
            self.content = found

    def look(self) -> Content | str:
        try:
            return content_of(open_store(self.base, self.above))
        except (OrbError, OSError) as problem:
            return f"{type(problem).__name__}: {problem}"

    def goes_on(self) -> None:
        """Save and fold as the next process would, with nothing in the way."""
        store = open_store(self.base, self.above)
        for act in (("put", "next", "n" * 9), ("delete", "next"), ("put", "next", "n" * 10), ("fold",)):
            try:
                perform(store, act)
            except (OrbError, OSError) as problem:
                self.problems.append(f"the next {act[0]} does not work: {type(problem).__name__}: {problem}")
                return
            self.reported(act, "done", digest(content_of(store)))
        if left := temporary_files(self.base):
            self.problems.append(f"the next save left {left}")


def _short(content: object) -> str:
    if isinstance(content, dict):
        content = {name: text if len(text) < 20 else f"{text[:3]}*{len(text)}" for name, text in content.items()}
    elif len(str(content)) > 500:
        content = str(content)[:500]
    return str(content)
