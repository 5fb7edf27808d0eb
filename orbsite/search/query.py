"""What somebody looks for: words, all of which must be there, "a phrase", and -what must not be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orbsite.search.analyzer import words

LONGEST = 1000
"""Characters of a query that count."""
MOST = 32
"""Parts of a query that count."""
SHORTEST_BEGINNING = 2
"""Characters from which on the last word may be the beginning of one."""

_PART = re.compile(r'(?P<without>-?)(?:"(?P<phrase>[^"]*)(?:"|$)|(?P<word>[^\s"]+))')


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand one after the other."""

    words: tuple[str, ...]
    is_begun: bool = False
    """Whether the last word may go on."""

    @property
    def needle(self) -> str:
        """The part as it stands in what the index keeps of a record."""
        return f" {' '.join(self.words)}{'' if self.is_begun else ' '}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query, read."""

    parts: tuple[Phrase, ...] = ()
    without: tuple[Phrase, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is looked for; what must not be there is not enough."""
        return not self.parts

    @property
    def words(self) -> list[tuple[str, bool]]:
        """Each word that must be there, once, and whether it may go on."""
        found: dict[tuple[str, bool], None] = {}
        for part in self.parts:
            last = len(part.words) - 1
            found |= dict.fromkeys((word, part.is_begun and at == last) for at, word in enumerate(part.words))
        return list(found)

    @property
    def is_words_alone(self) -> bool:
        """Whether the words say it all: their order does not matter, and nothing must not be there."""
        return not self.without and all(len(part.words) == 1 for part in self.parts)

    def matches(self, document: str) -> bool:
        """Tell whether what the index keeps, or would keep, of a record has what is wanted."""
        there = all(part.needle in document for part in self.parts)
        return there and not any(part.needle in document for part in self.without)


def read(text: str) -> Wanted:
    """Read a query. Any text is one; one without words finds nothing.

    A word that falls into several, as `foo-bar` or `予約`, is the phrase of these. The last word may be the beginning
    of one, unless it stands in quotation marks.
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
