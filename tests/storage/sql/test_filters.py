"""Conditions of our own use the indexes that they are written for, on every Django."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F, Q

from orbsite.search.backends import HasTag
from orbsite.search.index_query import _IsAmong
from orbsite.storage.sql.filters import Condition, HasKey
from orbsite.storage.sql.raw_columns import IsPlainInstant
from te.models import ReflectionRow

CONDITIONS = [
    HasKey(("user_id", "id"), [("ana", "a"), ("ben", "b")]),
    HasTag("tags", "x"),
    _IsAmong("SELECT 1", [], []),
    IsPlainInstant(F("created_at")),
]
"""One of each kind."""


def test_all_kinds_are_tried() -> None:
    assert {type(one) for one in CONDITIONS} == set(Condition.__subclasses__())


@pytest.mark.django_db
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("is_negated", [False, True])
def test_a_condition_stands_alone(condition: Any, is_negated: bool) -> None:
    """Compared with true, it would be computed for each row."""
    rows = ReflectionRow.objects.filter(~Q(condition) if is_negated else Q(condition))
    compiler = rows.query.get_compiler("default")
    own, _ = compiler.compile(condition.resolve_expression(rows.query))
    statement, _ = compiler.as_sql()
    assert statement.endswith(f" WHERE NOT ({own})" if is_negated else f" WHERE {own}")


@pytest.mark.django_db
def test_keys_of_several_users_are_found_by_their_index() -> None:
    plan = ReflectionRow.objects.filter(HasKey(("user_id", "id"), [("ana", "a"), ("ben", "b")])).explain()
    assert "SCAN te_reflections" not in plan
    assert "user_id=? AND id=?" in plan


@pytest.mark.django_db
def test_what_an_index_finds_is_read_by_its_primary_keys() -> None:
    plan = ReflectionRow.objects.filter(_IsAmong("SELECT 1", [], [2])).explain()
    assert "SEARCH te_reflections USING INTEGER PRIMARY KEY" in plan
