"""The tables that the migrations make, held against a golden file, so that none of them changes by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connections

from orbsite.models.jobs import OPERATIONS
from tests.support.schema import schema_of

GOLDEN = Path(__file__).parents[1] / "data" / "schema"


pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_the_tables_are_those_of_the_golden_file(vendor: str, request: pytest.FixtureRequest) -> None:
    connection = connections["default" if vendor == "sqlite" else request.getfixturevalue("postgresql_alias")]
    assert schema_of(connection) == json.loads((GOLDEN / f"{connection.vendor}.json").read_text())


def test_there_is_a_permission_for_each_operation_and_the_groups_have_them() -> None:
    codenames = {f"start_{name}" for name in OPERATIONS}
    assert codenames == set(Permission.objects.filter(codename__startswith="start_").values_list("codename", flat=True))
    operator, viewer = (set(_permissions(name)) for name in ("operator", "viewer"))
    assert codenames <= operator
    assert not codenames & viewer
    assert viewer


def _permissions(group: str) -> list[str]:
    return list(Group.objects.get(name=group).permissions.values_list("codename", flat=True))
