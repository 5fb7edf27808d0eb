"""After a fold the file is the guide's layout, byte for byte as JavaScript prints it."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Constraint, Profile
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.record import Extra
from te.domain import DOMAIN as TE
from te.layout import ReflectionsLayout
from te.records import Reflection
from tests.support.factories import BEGIN
from tests.support.time_limits import time_limit

GOLDEN = """{
  "sessions": {
    "7": [
      {
        "id": "42",
        "input": "größer 🚀 \\u2028 \\"quoted\\" \\\\ \\n",
        "output": "",
        "tags": [],
        "createdAt": "2024-01-01T00:00:00.000Z",
        "score": 10000000000000000,
        "ratio": 1e+21
      },
      {
        "id": "7",
        "input": "two",
        "output": "",
        "tags": [
          "a",
          "b"
        ],
        "notes": "n",
        "createdAt": "2024-01-01T00:00:01.000Z",
        "unknown": {
          "1": null,
          "10": true,
          "b": 0.1
        }
      }
    ],
    "s": [
      {
        "id": "z",
        "input": "i",
        "output": "o",
        "tags": [],
        "createdAt": "2024-01-01T00:00:02.000Z"
      }
    ]
  },
  "userSessions": {
    "42": [
      "7"
    ],
    "ana": [
      "s"
    ]
  }
}"""


def _second(number: int) -> datetime:
    return BEGIN + timedelta(seconds=number)


def _save(base: Path) -> None:
    """Save one after the other, most of it in the journal, and fold."""
    store = FileStore(TE, Document(base, TE.file), journal_above=0)
    common: dict[str, Any] = {"output": "", "tags": ()}
    store.put(
        [Reflection(id="z", input="i", output="o", tags=(), created_at=_second(2), user_id="ana", session_id="s")]
    )
    store.put([
        Reflection(
            id="42", input='größer 🚀 \u2028 "quoted" \\ \n', created_at=_second(0), user_id="42", session_id="7",
            extra=Extra(score=1e16, ratio=1e21), **common,
        )
    ])  # fmt: skip
    seven = Reflection(id="7", input="one", created_at=_second(1), user_id="42", session_id="7", **common)
    store.put([seven])
    unknown = Extra(unknown={"b": 0.1, "10": True, "1": None})
    store.put([
        Reflection(
            id="7", input="two", output="", tags=("a", "b"), notes="n", created_at=_second(1), user_id="42",
            session_id="7", extra=unknown,
        )
    ])  # fmt: skip
    store.put([Reflection(id="gone", input="", created_at=_second(3), user_id="bo", session_id="x", **common)])
    store.delete(Reflection, [("bo", "gone")])
    store.fold()


def test_a_folded_file_is_golden(tmp_path: Path) -> None:
    _save(tmp_path)
    text = (tmp_path / TE.file).read_text()
    assert text == GOLDEN.replace("\\u2028", "\u2028")
    assert not (tmp_path / f"{TE.file}.journal").exists()


def _folded(base: Path) -> list[Path]:
    _save(base)
    store = FileStore(LUNA, Document(base, LUNA.file), journal_above=0)
    for number, mode in enumerate(("7", "42", "mars", "__proto__")):
        constraint = Constraint(id="c", type="other", active=True, extra=Extra(memory_size=1e16, level=1.0))
        store.put([
            Profile(
                user_id="42", mode_id=mode, preferences=("é",), constraints=("text", constraint),
                updated_at=_second(number), extra=Extra(score=1e16),
            )
        ])  # fmt: skip
        store.put([ActiveMode(user_id="42", mode_id=mode)])
    store.fold()
    return [base / TE.file, base / LUNA.file]


def test_node_prints_a_folded_file_the_same(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT COMPARED WITH JAVASCRIPT: there is no `node` on PATH")
    script = (
        "const fs = require('fs');"
        "for (const path of process.argv.slice(1)) {"
        " const value = JSON.parse(fs.readFileSync(path, 'utf8'));"
        " fs.writeFileSync(path + '.node', JSON.stringify(value, null, 2)); }"
    )
    paths = _folded(tmp_path)
    subprocess.run([node, "-e", script, *map(str, paths)], check=True, timeout=time_limit(50))
    for path in paths:
        assert Path(f"{path}.node").read_bytes() == path.read_bytes()
        assert len(path.read_bytes()) > 800


IDS = st.sampled_from(["a", "7", "42", "é", "__proto__"])
VALUES = st.none() | st.booleans() | st.sampled_from([1, 1e16, 2**53, "x"])
ITEMS = st.fixed_dictionaries(
    {
        "id": IDS | st.integers(0, 999).map(str),
        "input": st.sampled_from(["i", "\x00", "\\"]),
        "output": st.just("o"),
        "tags": st.lists(st.sampled_from(["t", "u"]), max_size=2),
        "createdAt": st.sampled_from(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.1234567Z", "soon", "2024-01-01"]),
    },
    optional={
        "notes": st.sampled_from(["n", None]),
        "userId": IDS,
        "sessionId": IDS,
        "score": VALUES,
    },
)
PLAIN_ITEMS = ITEMS.map(lambda item: {**item, "createdAt": "2024-01-01T00:00:00Z", "input": "i"})
FILES = st.fixed_dictionaries(
    {
        "sessions": st.dictionaries(IDS, st.lists(PLAIN_ITEMS | ITEMS, max_size=3), max_size=3),
        "userSessions": st.dictionaries(IDS, st.lists(IDS, max_size=3), max_size=3) | st.just({"a": "b"}),
    },
    optional={"more": VALUES},
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(tree=FILES, order=st.booleans())
def test_the_shortcut_loads_what_the_long_way_does(tree: dict[str, Any], order: bool) -> None:
    data = stringify(tree if order else dict(reversed(tree.items())))
    short, long = Content(TE, data), Content(TE, None)
    long._decode(data)
    assert short.tree == long.tree
    assert short.encode() == long.encode()
    assert list(short.view.walk(Reflection)) == list(long.view.walk(Reflection))


def test_the_shortcut_is_taken_for_real_files(sample: Path) -> None:
    data = (sample / TE.file).read_bytes()
    loaded = ReflectionsLayout().decode_whole(data)
    assert loaded is not None
    assert len(loaded[1]) == 142
