"""Splits texts into folded words. Records and queries use the same rules, in every database."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator

LONGEST = 64
"""The number of characters of a word that are indexed."""
MOST_BYTES = 500_000
"""The maximum size of the distinct words of a record. PostgreSQL's index takes no more than a megabyte of them."""

_ACCENTS = re.compile("[\u0300-\u036f]")
_MOST_CHARACTERS = 10_000
"""The number of characters whose replacements are kept."""
_WITHOUT_SPACES = (  # scripts without spaces between words: first and last code point of each range
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),
    (0x3021, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0x1AFF0, 0x1B16F),  # Kana
    (0x20000, 0x3FFFF),  # Han
)
_FIRSTS = [first for first, _ in _WITHOUT_SPACES]


def fold(text: str) -> str:
    """Return a text without the differences that search ignores: case, accents, and Unicode compatibility forms."""
    if text.isascii():
        return text.lower()
    folded = _fold_once(text)
    return folded if folded == text or folded.isascii() else _fold_once(folded)  # a few fold into what folds again


def words(text: str) -> list[str]:
    """Return the folded words of a text, in their order.

    A character of a script without spaces is a word by itself, and so is a symbol, such as an emoji. All characters
    that do not belong to words separate words.
    """
    found = fold(text).translate(_SPLIT).split()
    return found if max(map(len, found), default=0) <= LONGEST else [word[:LONGEST] for word in found]


def document(texts: Iterable[str]) -> str:
    """Return the words of some texts as the index stores them: ` the words | of each `, with a bar between texts."""
    parts = list[str]()
    for text in texts:
        parts += words(text)
        parts.append("|")
    whole = " ".join(parts[:-1])
    return f" {whole} " if len(whole) * 4 <= MOST_BYTES else f" {' '.join(_up_to_limit(parts[:-1]))} "


def _up_to_limit(parts: list[str]) -> Iterator[str]:
    """Yield words while the distinct ones among them stay below the size limit."""
    seen, room = set[str](), MOST_BYTES
    for word in parts:
        if word not in seen:
            seen.add(word)
            room -= len(word.encode())
        if room < 0:
            return
        yield word


def _fold_once(text: str) -> str:
    compatible = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", compatible))).casefold()


class _Split(dict[int, str]):
    """The texts that characters of a folded text are replaced by, so that spaces alone separate words."""

    def __missing__(self, point: int) -> str:
        if len(self) >= _MOST_CHARACTERS:
            self.clear()
        self[point] = replaced = _replaced(chr(point))
        return replaced


_SPLIT = _Split()


def _replaced(character: str) -> str:
    """Return a character that is part of words, a word by itself, nothing for what is ignored, or a space."""
    if character.isascii():
        return character if character.isalnum() else " "
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":  # joiners and variation selectors
        return ""
    if category[0] not in "LMNS":
        return " "
    return f" {character} " if category[0] == "S" or _is_without_spaces(ord(character)) else character


def _is_without_spaces(point: int) -> bool:
    at = bisect_right(_FIRSTS, point) - 1
    return at >= 0 and point <= _WITHOUT_SPACES[at][1]
