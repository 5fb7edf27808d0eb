from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luna.records import ActiveMode, Constraint, Profile
from orbsite.storage.errors import InvalidRecord
from orbsite.storage.finding import errors
from orbsite.storage.javascript import stringify
from orbsite.storage.reader import Reader, Reading, checked, read
from orbsite.storage.record import Extra, Record, digest, field_names
from te.records import Reflection
from tests.factories import BEGIN, ActiveModeFactory, ProfileFactory, ReflectionFactory

NOW = "2024-01-01T00:00:00.000Z"
REFLECTION = {"id": "r", "input": "i", "output": "o", "tags": ["t"], "notes": "n", "createdAt": NOW}
CONSTRAINT = {"id": "c", "type": "other", "active": True, "description": "d"}
PROFILE = {"userId": "ana", "modeId": "mars", "preferences": ["p"], "constraints": [CONSTRAINT, "x"], "updatedAt": NOW}
KINDS: dict[type[Record], dict[str, Any]] = {Reflection: REFLECTION, Profile: PROFILE}


def piece(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def both(kind: type[Record], value: Any, path: str = "$") -> Reading[Any]:
    """Read a value through both doors, and return what both of them say."""
    fast, slow = Reader(kind).read(piece(value), path), read(kind, value, path)
    assert repr(fast.record) == repr(slow.record)
    assert fast.findings == slow.findings
    assert fast.keys == slow.keys
    return slow


def paths(reading: Reading[Any]) -> list[str]:
    return [one.path for one in errors(reading.findings)]


NAMES = ["extra", "sessionId", "userId", "score", "notes", "id", "createdAt", "toolId", "active", "1", "\ud800"]
TIMES = [
    NOW, "2024-01-01T00:00:00Z", "2024-01-01 00:00:00z", "2024-01-01", "20240101T000000Z", "2024-01-01T00:00:00.1234567Z",
    "2024-01-01T05:30:00+05:30", "2024-01-01T05:30:00+0530", "0001-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z",
    "2024-06-30T23:59:60Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00+05:75", "infinity",
]  # fmt: skip
JUNK = (
    st.sampled_from([None, True, 0, 1.5, 2**53 + 1, "", "x" * 255, "x" * 256, "\x00", "a\udfff", [], {}, ["\x00"], "5"])
    | st.sampled_from(TIMES)
    | st.text(max_size=3)
    | st.lists(st.text(max_size=2) | st.none() | st.integers(), max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), st.text(max_size=3) | st.booleans(), max_size=3)
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type[Record], dict[str, Any]]:
    kind = draw(st.sampled_from([Reflection, Profile]))
    value: dict[str, Any] = json.loads(json.dumps(KINDS[kind]))
    for _ in range(draw(st.integers(0, 3))):
        inner = value["constraints"][0] if kind is Profile and isinstance(value.get("constraints"), list) else value
        part = inner if isinstance(inner, dict) and draw(st.booleans()) else value
        name = draw(st.sampled_from([*KINDS[kind], *CONSTRAINT, *NAMES]))
        if draw(st.integers(0, 3)):
            part[name] = draw(JUNK)
            if part is value and name == "constraints":
                break
        else:
            part.pop(name, None)
            if part is value and name == "constraints":
                break
    return kind, value


@settings(max_examples=500)
@given(damaged())
def test_the_fast_path_and_the_slow_path_agree(case: tuple[type[Record], Any]) -> None:
    both(*case)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", TIMES)
def test_both_paths_read_the_same_times(kind: type[Record], time: str) -> None:
    both(kind, KINDS[kind] | {kind.time_field and ("updatedAt" if kind is Profile else "createdAt"): time})
