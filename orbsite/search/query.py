"""Search queries: words that must all occur, "phrases", and -words or -"phrases" that must not occur."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orbsite.search.analyzer import words

LONGEST = 1000
"""The number of characters of a query that are used."""
MOST = 32
"""The number of parts of a query that are used."""
SHORTEST_BEGINNING = 2
"""The length from which on the last word may be a prefix."""

_PART = re.compile(r'(?P<without>-?)(?:"(?P<phrase>[^"]*)(?:"|$)|(?P<word>[^\s"]+))')


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sequence of words."""

    words: tuple[str, ...]
    is_begun: bool = False
    """Whether the last word is a prefix."""

    @property
    def needle(self) -> str:
        """The text of the phrase in the form of the index."""
        return f" {' '.join(self.words)}{'' if self.is_begun else ' '}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parsed query: the phrases to find, and those to exclude."""

    parts: tuple[Phrase, ...] = ()
    without: tuple[Phrase, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the query has no phrases to find. Exclusions alone find no records."""
        return not self.parts

    @property
    def words(self) -> list[tuple[str, bool]]:
        """Each word to find, once, and whether it is a prefix."""
        found: dict[tuple[str, bool], None] = {}
        for part in self.parts:
            last = len(part.words) - 1
            found |= dict.fromkeys((word, part.is_begun and at == last) for at, word in enumerate(part.words))
        return list(found)

    def matches(self, document: str) -> bool:
        """Tell whether the indexed text of a record matches the query."""
        has_parts = all(part.needle in document for part in self.parts)
        return has_parts and not any(part.needle in document for part in self.without)


def read(text: str) -> Wanted:
    """Parse a query. Any text is valid; a query without words finds no records.

    A word that splits into several, as `foo-bar` or `予約`, is the phrase of these. The last word may be a prefix,
    unless it is in quotation marks.
    """
    parts, without = list[Phrase](), list[Phrase]()
    text = text[:LONGEST]
    for match in list(_PART.finditer(text))[:MOST]:
        is_last = match.end() == len(text.rstrip())
        found = tuple(words(match["word"] if match["phrase"] is None else match["phrase"]))
        if not found:
            continue
        if match["without"]:
            without.append(Phrase(found))
        else:
            is_begun = is_last and match["phrase"] is None and len(found[-1]) >= SHORTEST_BEGINNING
            parts.append(Phrase(found, is_begun))
    return Wanted(tuple(parts), tuple(without))
