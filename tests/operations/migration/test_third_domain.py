"""A third domain gets stores, commands, statistics and admin checks without a change to orbsite."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from orbsite.conf.checks import check_columns
from orbsite.storage.records.domain import Domain, register
from orbsite.stores import open_file_store, open_sql_store
from tests.mav.domain import DOMAIN as MAV
from tests.mav.records import Action
from tests.support.factories import ActionFactory

pytestmark = pytest.mark.django_db


def _call(command: str, base: Path) -> dict[str, object]:
    out = StringIO()
    call_command(command, "--only", "mav", "--data-dir", str(base), "--format", "json", stdout=out)
    return json.loads(out.getvalue())["domains"]["mav"]


def test_it_is_validated_migrated_and_counted_by_the_same_commands(data_dir: Path) -> None:
    actions = [ActionFactory(), ActionFactory(user_id="bo")]
    open_file_store(MAV, data_dir).put(actions)
    assert _call("validate_orb_files", data_dir)["valid"] == 2
    assert _call("migrate_orb_files", data_dir)["new"] == 2
    assert _call("migrate_orb_files", data_dir)["unchanged"] == 2
    assert _call("orb_stats", data_dir)["actions"] == 2
    assert list(open_sql_store(MAV).walk(Action)) == actions


def test_its_table_is_checked_against_its_record() -> None:
    assert check_columns() == []
    broken = Domain(name="broken", file=MAV.file, layout=MAV.layout, models={Action: _Table})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orbsite.storage.records.domain._registered", {})
        register(broken)
        assert "lacks a column for done_at, title" in check_columns()[0].msg


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register(MAV)


class _Field:
    def __init__(self, name: str) -> None:
        self.name = name


class _Table:
    class _meta:  # noqa: N801
        db_table = "broken"

        @staticmethod
        def get_fields() -> list[_Field]:
            return [_Field(name) for name in ("id", "user_id", "extra")]
