"""The words that the field's standard terms have replaced stay out of code, pages, docs and tests."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = re.compile(
    r"\b(hearts?|condemn\w*|bury|buried|burying|burials?|graves?|shelf|shelves|strangers?|errands?|weigh(s|ed|ing)?|weighty"
    r"|exhum\w*|census|sieves?|bring_back|asides|foundlings?)\b",
    re.IGNORECASE,
)
"""Words of the old vocabulary, wherever they stand."""
NAMES = {
    "Attempts", "Batches", "Shelf", "Census", "Counted", "Walked", "Pack", "Standing", "Cells", "Hole", "Sight",
    "Trouble", "Symptom", "Leftover", "Condemned", "Choice", "Verdict", "Grave", "Burial", "Weighed", "InOnePass",
    "InBatches", "Book", "Hand", "Exhuming", "Origin", "Move", "Watched", "Slot", "Asked", "Concern", "Scene",
    "Handed", "Curated", "Chosen", "Mender",
}  # fmt: skip
"""Names of classes that have standard names now."""
CLASSES = re.compile(r"^ *class (\w+)", re.MULTILINE)
KINDS = {".py", ".md", ".html", ".js", ".css", ".toml", ".txt", ""}
OTHERS = ("tests/data/", "requirements/", "orbsite/static/console/vendor/", "LICENSE", "CHANGELOG.md", "sample/")
HERE = "tests/architecture/test_words.py"


def _files() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in done.stdout.splitlines() if not name.startswith(OTHERS) and name != HERE]
    return [path for name in names if (path := ROOT / name).suffix in KINDS and path.is_file()]


def test_no_word_of_the_old_vocabulary_is_left() -> None:
    files = _files()
    assert len(files) > 400
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        for match in WORDS.finditer(line)
    ]
    assert found == []


def test_no_class_has_a_name_of_the_old_vocabulary() -> None:
    paths = [path for path in _files() if path.suffix == ".py"]
    found = [(path, name) for path in paths for name in CLASSES.findall(path.read_text())]
    assert len(found) > 300
    assert [one for one in found if one[1] in NAMES] == []


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_no_docstring_of_a_public_function_has_three_words_or_fewer() -> None:
    paths = [path for path in _files() if path.suffix == ".py" and path.is_relative_to(ROOT / "orbsite")]
    paths += [path for path in _files() if path.suffix == ".py" and path.parts[-2] in ("luna", "te")]
    short = [
        f"{path.relative_to(ROOT)}:{node.lineno} {text}"
        for path in paths
        for node in _public(ast.parse(path.read_text()))
        if (text := ast.get_docstring(node)) and len(text.split()) <= 3
    ]
    assert short == []
