"""The one fold of texts into words, for what is searched and for what it is searched with, whatever the database."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache

LONGEST = 64
"""Characters of a word that count."""
MOST_BYTES = 500_000
"""Bytes of different words that one record is found by: PostgreSQL's index takes no more than a megabyte of them."""

_ACCENTS = re.compile("[\u0300-\u036f]")
_PLAIN = re.compile("[a-z0-9]+")
_WITHOUT_SPACES = (  # scripts in which nothing parts one word from the next: first and last code point of each range
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
    """Return a text without what search does not tell apart: case, accents, and forms that Unicode calls compatible."""
    if text.isascii():
        return text.lower()
    folded = _once(text)
    return folded if folded == text else _once(folded)  # a few characters fold into what folds again


def words(text: str) -> list[str]:
    """Return the words of a text, folded, in their order.

    A character of a script without spaces is a word of its own, and so is a symbol, such as an emoji; what neither is
    nor belongs to a word parts words.
    """
    folded = fold(text)
    found = _PLAIN.findall(folded) if folded.isascii() else _split(folded)
    return [word[:LONGEST] for word in found]


def document(texts: Iterable[str]) -> str:
    """Return the words of some texts as the index keeps them: ` the words | of each `, a bar between two texts."""
    parts = [one for text in texts for one in (*words(text), "|")][:-1]
    return f" {' '.join(parts if sum(map(len, parts)) * 4 <= MOST_BYTES else _first(parts))} "


def _first(parts: list[str]) -> Iterator[str]:
    """Yield words as long as the different ones among them are not too many."""
    seen, room = set[str](), MOST_BYTES
    for word in parts:
        if word not in seen:
            seen.add(word)
            room -= len(word.encode())
        if room < 0:
            return
        yield word


def _once(text: str) -> str:
    compatible = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", compatible))).casefold()


def _split(text: str) -> Iterator[str]:
    begun = ""
    for character in text:
        match _role(character):
            case "part":
                begun += character
            case "alone":
                if begun:
                    yield begun
                    begun = ""
                yield character
            case "between" if begun:
                yield begun
                begun = ""
    if begun:
        yield begun


@lru_cache(10_000)
def _role(character: str) -> str:
    """Return what a character is to words: a part of one, one of its own, nothing at all, or what lies between two."""
    if character.isascii():
        return "part" if character.isalnum() else "between"
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":  # joiners, and what chooses among forms
        return "nothing"
    if category[0] not in "LMNS":
        return "between"
    return "alone" if category[0] == "S" or _is_without_spaces(ord(character)) else "part"


def _is_without_spaces(point: int) -> bool:
    at = bisect_right(_FIRSTS, point) - 1
    return at >= 0 and point <= _WITHOUT_SPACES[at][1]
