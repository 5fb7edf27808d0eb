"""From files to SQL and back, over files that were drawn by lot: equal; and what has not changed is not written again."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from orbsite.operations.files.export import export
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.records.domain import registered
from orbsite.stores import open_sql_store
from tests.support.effort import effort

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

SEED, FILES = 11, effort(60, 200)
TE, LUNA = "te/reflections.json", "luna/profiles.json"
TABLES = ("te_reflections", "luna_profiles", "luna_active_modes")
NAMES = [
    "a",
    "A",
    "ä",
    "a\u0308",
    "0",
    "10",
    "9",
    "__proto__",
    "constructor",
    "a b",
    " a",
    "a'\"\\",
    "用户",
    "🚀",
    "x" * 255,
    "$.a[0]",
    "%s",
    "null",
]
TEXTS = [
    "",
    "plain",
    "two\r\nlines",
    "\u2028\u2029",
    "🚀 résumé",
    "'; DROP TABLE te_reflections; --",
    "[1]",
    '{"a": 1}',
    "\\u0000",
    "\ufeff",
    "9" * 400,
]


class Lots:
    """Draws the two files."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def names(self, most: int) -> list[str]:
        return self._draw.sample(NAMES, self._draw.randint(0, most))

    def text(self) -> str:
        return self._draw.choice(TEXTS) + self._draw.choice(TEXTS)

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self._draw.randint(0, 3))]

    def moment(self) -> str:
        draw = self._draw.randint
        return f"{draw(1, 9999):04}-{draw(1, 12):02}-{draw(1, 28):02}T{draw(0, 23):02}:{draw(0, 59):02}:00.{draw(0, 999):03}Z"

    def value(self, depth: int = 2) -> Any:
        plain = [None, True, 0, -1, 0.5, 1e16, 1e-7, 2**53, self.text()]
        if depth and self._draw.random() < 0.4:
            inner = [self.value(depth - 1) for _ in range(self._draw.randint(0, 3))]
            return inner if self._draw.random() < 0.5 else dict(zip(NAMES, inner, strict=False))
        return self._draw.choice(plain)

    def object(self) -> dict[str, Any]:
        return {name: self.value(4) for name in self.names(3)}

    def unknown(self) -> dict[str, Any]:
        return {f"unknown {name}": self.value() for name in self.names(2)} if self._draw.random() < 0.4 else {}

    def reflection(self, name: str) -> dict[str, Any]:
        item = {
            "id": name,
            "input": self.text(),
            "output": self.text(),
            "tags": self.texts(),
            "createdAt": self.moment(),
        }
        return item | ({"notes": self.text()} if self._draw.random() < 0.5 else {}) | self.unknown()

    def reflections(self) -> dict[str, Any]:
        """Draw sessions of one user, and sessions that several share, whose items say whose they are."""
        users, sessions, listed = ["eve", *self.names(3)], {}, {}
        for number, session in enumerate(self.names(8)):
            owners = self._draw.sample(users, self._draw.randint(1, min(2, len(users))))
            items = [self.reflection(f"{number}-{name[:250]}") for name in ["first", *self.names(5)]]
            for at, item in enumerate(items if len(owners) > 1 else ()):
                item["userId"] = owners[at % len(owners)]
            sessions[session] = items
            for user in owners if len(items) > 1 else owners[:1]:
                listed.setdefault(user, []).append(session)
            if len(items) == 1:
                items[0].pop("userId", None)
        return {"sessions": sessions, "userSessions": listed}

    def constraint(self, number: int) -> Any:
        if self._draw.random() < 0.4:
            return self.text()
        return {"id": str(number), "type": self.text(), "active": self._draw.random() < 0.5} | self.unknown()

    def profiles(self) -> dict[str, Any]:
        return {user: self._of_one(user) for user in self.names(6)}

    def _of_one(self, user: str) -> dict[str, Any]:
        profiles = {mode: self._profile(user, mode) for mode in self.names(4)}
        if profiles and self._draw.random() < 0.5:
            return {"profiles": profiles}
        return {"activeMode": self._draw.choice(NAMES), "profiles": profiles}

    def _profile(self, user: str, mode: str) -> dict[str, Any]:
        constraints = [self.constraint(number) for number in range(self._draw.randint(0, 3))]
        named = {"userId": user, "modeId": mode, "preferences": self.texts(), "constraints": constraints}
        if self._draw.random() < 0.3:
            named |= {name: self.object() for name in self._draw.sample(["preferences", "constraints"], 2)[:1]}
        return named | {"updatedAt": self.moment()} | self.unknown()


def write(base: Path, trees: dict[str, Any]) -> None:
    for name, tree in trees.items():
        (base / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (base / name).write_text(json.dumps(tree))


def read(base: Path, name: str) -> Any:
    tree = json.loads((base / name).read_bytes())
    if name == TE:  # in which order a user's sessions are listed, no row says
        tree["userSessions"] = {user: sorted(sessions) for user, sessions in tree["userSessions"].items()}
    return tree


def moved(base: Path) -> Report:
    return migrate(registered(["luna", "te"]), base, now=utc_now)


def execute(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def written() -> Iterator[list[tuple[str, ...]]]:
    """Have the rows that are written meanwhile, each time, whatever is written into them."""
    found: list[tuple[str, ...]] = []
    execute("CREATE TEMP TABLE written (name TEXT, id TEXT)")
    for table in TABLES:
        for act, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            key = f"{row}.id" if table != "luna_active_modes" else f"{row}.user_id"
            execute(
                f"CREATE TEMP TRIGGER on_{act}_{table} AFTER {act} ON main.{table} "
                f"BEGIN INSERT INTO written VALUES ('{table}', {key}); END"
            )
    try:
        yield found
    finally:
        found += execute("SELECT name, id FROM written")
        for table in TABLES:
            for act in ("INSERT", "UPDATE", "DELETE"):
                execute(f"DROP TRIGGER temp.on_{act}_{table}")
        execute("DROP TABLE temp.written")


@pytest.mark.deep
def test_files_drawn_by_lot_come_back_equal_and_are_not_written_again(tmp_path: Path) -> None:
    records = 0
    for number in range(FILES):
        lots, base = Lots(SEED * 1000 + number), tmp_path / str(number)
        write(base, {TE: lots.reflections(), LUNA: lots.profiles()})
        report = moved(base)
        assert report.exit_code == 0, report.as_json()
        export([open_sql_store(domain) for domain in registered(["luna", "te"])], base / "out")
        for name in (TE, LUNA):
            assert canonical(read(base / "out", name)) == canonical(read(base, name)), f"seed {SEED * 1000 + number}"
        with written() as rows:
            again = moved(base)
        assert (again.exit_code, rows) == (0, [])
        records += sum(section.total("new") for section in report.domains.values())
        for table in TABLES:
            execute(f"DELETE FROM {table}")
    sys.stdout.write(f"round trip: seed {SEED}, {FILES} files, {records} records\n")
    assert records > 10 * FILES


@pytest.mark.parametrize("many", [1, 7, 40])
def test_only_the_rows_of_what_has_changed_are_written(sample: Path, tmp_path: Path, many: int) -> None:
    trees = {name: json.loads((sample / name).read_bytes()) for name in (TE, LUNA)}
    write(tmp_path, trees)
    moved(tmp_path)
    items = [item for session in trees[TE]["sessions"].values() for item in session]
    chosen = random.Random(SEED).sample(items, many)
    for item in chosen:
        item["notes"] = "changed"
    write(tmp_path, trees)
    with written() as rows:
        report = moved(tmp_path)
    assert sorted(rows) == sorted(("te_reflections", item["id"]) for item in chosen)
    assert report.domains["te"].total("replaced") == many
