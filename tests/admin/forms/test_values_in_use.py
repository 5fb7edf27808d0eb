"""Values that are in use are suggested: the most frequent first, of a bounded number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from luna.models import ProfileRow
from orbsite.admin.forms.values_in_use import MOST_ROWS, MOST_VALUES, values_in_use
from orbsite.storage.clock import utc_now

pytestmark = pytest.mark.django_db


def _profile(user: str, constraints: Any) -> ProfileRow:
    row = ProfileRow(user_id=user, mode_id="mars", preferences=[], constraints=constraints, updated_at=utc_now())
    row.save()
    return row


def _constraint(kind: str, risk: str | None = None) -> dict[str, Any]:
    return {"id": "c", "type": kind, "active": True} | ({} if risk is None else {"maxRisk": risk})


def test_the_most_frequent_come_first(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    _profile("ana", [_constraint("other"), "a text", _constraint("block_tool", "high")])
    _profile("bo", [_constraint("block_tool", "low"), _constraint("block_tool", "low")])
    _profile("cy", {"type": "an object from the earlier system"})
    with django_assert_num_queries(1):
        found = values_in_use(ProfileRow, "constraints", ("type", "maxRisk"))
    assert found == {"type": ["block_tool", "other"], "maxRisk": ["low", "high"]}


def test_nothing_is_asked_for_without_a_name(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert values_in_use(ProfileRow, "constraints", ()) == {}


def test_what_is_no_short_printable_text_is_left_out() -> None:
    _profile("ana", [_constraint(kind) for kind in ("", "x" * 101, "a\nb", "kept")])
    ProfileRow.objects.filter(user_id="ana").update(constraints=[{"type": 1}, 2, _constraint("kept")])
    _profile("bo", [_constraint("a\nb"), _constraint("x" * 101), _constraint("")])
    assert values_in_use(ProfileRow, "constraints", ("type",)) == {"type": ["kept"]}


def test_the_number_of_rows_and_of_values_is_bounded() -> None:
    fields: dict[str, Any] = {"preferences": [], "updated_at": utc_now(), "mode_id": "mars", "digest": ""}
    ProfileRow.objects.bulk_create(
        ProfileRow(user_id=f"{number:04}", constraints=[_constraint(f"old {number < 3}")], **fields)
        for number in range(MOST_ROWS + 3)
    )
    assert values_in_use(ProfileRow, "constraints", ("type",)) == {"type": ["old False"]}
    _profile("many", [_constraint(f"kind {number}") for number in range(2 * MOST_VALUES)])
    assert len(values_in_use(ProfileRow, "constraints", ("type",))["type"]) == MOST_VALUES


def test_the_form_of_a_profile_suggests_them(admin_client: Client) -> None:
    row = _profile("ana", [_constraint("<block>", "high")])
    page = admin_client.get(reverse("admin:luna_profilerow_change", args=[row.pk])).content.decode()
    assert '<datalist id="id_constraints-type-suggestions"><option value="&lt;block&gt;"></option></datalist>' in page
    assert '<datalist id="id_constraints-maxRisk-suggestions"><option value="high"></option></datalist>' in page
    assert page.count('list="id_constraints-type-suggestions"') == 3  # the row, the empty row and the template
    assert "id_preferences-type-suggestions" not in page
