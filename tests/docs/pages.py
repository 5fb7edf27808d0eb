"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
INDENTED = ""
"""The language of a block that is indented instead of fenced: commands, or text."""
_FENCE = re.compile(r"^( *)```(\w*)$")
_OWNER_OF_INDENTED = re.compile(r"(-|\d+\.|:::) ")
"""What begins an item of a list or a part that mkdocstrings makes, whose further lines are indented."""


class Block(NamedTuple):
    """A block of code with the name of its page, its language, its text and the paragraph before it."""

    page: str
    language: str
    text: str
    before: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the repository."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


@cache
def blocks() -> tuple[Block, ...]:
    """Return the blocks of all pages, in order."""
    return tuple(block for page, text in pages().items() for block in _blocks_of(page, text))


def _blocks_of(page: str, text: str) -> Iterator[Block]:
    lines, at, before, in_list = text.splitlines(), 0, "", False
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.match(line):
            end = next(number for number in range(at + 1, len(lines)) if lines[number].strip() == "```")
            yield Block(page, fence[2] or "text", dedent("\n".join(lines[at + 1 : end])), before)
            at, before = end, ""
        elif line.startswith("    ") and not in_list:
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            yield Block(page, INDENTED, dedent("\n".join(lines[at:end])).rstrip(), before)
            at, before = end - 1, ""
        elif line and not line.startswith(" "):
            before, in_list = line, bool(_OWNER_OF_INDENTED.match(line))
        at += 1
