"""The placement of tables follows from the models."""

from __future__ import annotations

import pytest
from django.db import models
from django.test.utils import isolate_apps

from orbsite.models.idempotency import Answer
from orbsite.models.placement import Placement, Table, keys_of, tables
from orbsite.models.user_keys import UserKey
from orbsite.storage.sql.models import KeyField
from te.models import ReflectionRow


def _placed() -> dict[str, Table]:
    return {table.name: table for table in tables()}


def test_the_tables_whose_keys_contain_the_user_are_distributed() -> None:
    distributed = {name for name, table in _placed().items() if table.placement is Placement.DISTRIBUTED}
    assert distributed == {"luna_profiles", "luna_active_modes", "te_reflections", "orb_words"}


@pytest.mark.parametrize("name", ["mav_actions", "orb_user_keys", "auth_user_groups", "orb_jobs", "orb_tokens"])
def test_others_are_local(name: str) -> None:
    assert _placed()[name].placement is Placement.LOCAL


def test_the_reason_names_the_key() -> None:
    placed = _placed()
    assert placed["orb_words"].reason == "its key (user_id, key, kind) contains the user"
    assert placed["mav_actions"].reason == "none of its keys contains the user"


def test_the_keys_of_a_table_are_those_that_hold_for_all_rows() -> None:
    assert keys_of(ReflectionRow) == [("row_id",), ("user_id", "id")]
    assert keys_of(Answer) == [("id",), ("token_id", "key")]
    assert keys_of(UserKey) == [("id",)]


@isolate_apps("orbsite")
def test_a_table_that_a_distributed_one_refers_to_is_a_reference_table() -> None:
    class Tool(models.Model):
        class Meta:
            app_label, db_table = "orbsite", "tools"

    class Call(models.Model):
        user_id = KeyField()
        number = models.IntegerField()
        tool = models.ForeignKey(Tool, on_delete=models.CASCADE)
        loose = models.ForeignKey("self", on_delete=models.CASCADE, db_constraint=False)

        class Meta:
            app_label, db_table = "orbsite", "calls"
            constraints = [models.UniqueConstraint(fields=["user_id", "number"], name="calls_key")]

    class Draft(models.Model):
        user_id = KeyField()
        number = models.IntegerField()

        class Meta:
            app_label, db_table = "orbsite", "drafts"
            constraints = [
                models.UniqueConstraint(fields=["user_id"], condition=models.Q(number=1), name="drafts_first")
            ]

    placed = {table.name: table.placement for table in tables([Tool, Call, Draft])}
    assert placed == {"calls": Placement.DISTRIBUTED, "drafts": Placement.LOCAL, "tools": Placement.REFERENCE}
