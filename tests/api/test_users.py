"""A user as a whole: handed out, or erased, over all domains and in every mode of persistence."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from orbsite import stores
from orbsite.models.idempotency import Answer
from orbsite.models.ledger import Change, Reject, Run
from orbsite.operations.files.validate import validate_document
from orbsite.operations.ledger.run_lock import alone
from orbsite.storage.records.domain import registered
from tests.api.conftest import Caller, make_token, refused
from tests.support.factories import ProfileFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mode")]
USER = "/api/v1/users/ana"


@pytest.fixture
def everybody(ana: Caller) -> Caller:
    """Records of ana's and of bo's, some in the same session."""
    bo = Caller(make_token(users=["bo"]))
    for name, caller in (("ana", ana), ("bo", bo)):
        start = f"/api/v1/users/{name}"
        caller.post(f"{start}/profiles", {"modeId": "mars"})
        caller.put(f"{start}/active-mode", {"modeId": "mars"})
        many = [{"input": f"of {name}", "output": "Größe", "sessionId": f"s-{n % 2}"} for n in range(5)]
        assert caller.post(f"{start}/reflections", many, Idempotency_Key="key").status_code == 201
    return ana


def _lines(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def test_everything_of_a_user_is_handed_out_as_lines(everybody: Caller) -> None:
    answer = everybody.get(f"{USER}/export")
    assert answer["Content-Type"] == "application/x-ndjson"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Cache-Control"] == "no-store"
    *found, last = _lines(answer)
    kinds = [one["kind"] for one in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {"profiles": 1, "active_modes": 1, "reflections": 5}
    assert {one["record"]["userId"] for one in found} == {"ana"}
    assert last == {"end": True, "records": 7}
    assert [one["record"] for one in found if one["kind"] == "profiles"] == everybody.get(f"{USER}/profiles").json()[
        "items"
    ]


def test_everything_of_a_user_is_handed_out_as_the_files_have_it(everybody: Caller) -> None:
    answer = everybody.get(f"{USER}/export", Accept="application/json")
    assert answer["Content-Type"] == "application/json"
    told = answer.json()
    assert list(told["luna"]) == ["ana"]
    assert told["luna"]["ana"]["activeMode"] == "mars"
    assert sorted(len(items) for items in told["te"]["sessions"].values()) == [2, 3]
    assert sorted(told["te"]["userSessions"]["ana"]) == ["s-0", "s-1"]
    for domain in registered():
        assert validate_document(domain, json.dumps(told[domain.name])).valid


@pytest.mark.parametrize("form", ["application/x-ndjson", "application/json", "*/*", "text/html, */*;q=0.1"])
def test_what_is_handed_out_is_saved_and_never_shown_by_a_browser(everybody: Caller, form: str) -> None:
    everybody.post(f"{USER}/reflections", {"input": "</script><script>alert(1)</script>", "output": "=1+1"})
    answer = everybody.get(f"{USER}/export", Accept=form)
    assert answer["Content-Disposition"].startswith('attachment; filename="export.')
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Type"] in ("application/x-ndjson", "application/json")
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("form", ["text/csv", "application/vnd.ms-excel", "text/html", "text/plain"])
def test_other_forms_are_not_acceptable_and_tables_for_spreadsheets_are_not_made(ana: Caller, form: str) -> None:
    for place in ("export", "reflections", "profiles", "sessions", "modes"):
        refused(ana.get(f"{USER}/{place}", Accept=form), 406, "not-acceptable")


def test_a_user_is_erased_and_nobody_else(everybody: Caller) -> None:
    admin = Caller(make_token("admin", users=["ana"]))
    answer = admin.delete(USER)
    assert answer.status_code == 200
    receipt = answer.json()
    counted = {
        kind: one["erased"] for part in receipt["erased"]["domains"].values() for kind, one in part["kinds"].items()
    }
    assert {kind: number for kind, number in counted.items() if number} == {
        "profiles": 1,
        "active_modes": 1,
        "reflections": 5,
    }
    assert _lines(everybody.get(f"{USER}/export")) == [{"end": True, "records": 0}]
    assert Answer.objects.count() == 1, "what is kept to be answered again is bo's alone"
    for domain in registered():
        for kind in domain.kinds:
            owners = {record.user_id for record in stores.open_store(domain).walk(kind)}
            assert owners <= {"bo"}
    again = admin.delete(USER).json()["erased"]["domains"]
    assert {one["erased"] for part in again.values() for one in part["kinds"].values()} == {0}


def test_what_the_ledger_keeps_of_a_user_goes_and_what_it_keeps_of_others_stays(ana: Caller) -> None:
    run = Run.objects.create(started_at=datetime.now(UTC))
    for number, user in enumerate(("ana", "Ana", "ANA", "anais", "ana")):
        told = json.dumps({"userId": user})
        Change.objects.create(run=run, domain="luna", kind="profiles", key=f'["x", "{number}"]', before=told)
        Reject.objects.create(run=run, domain="luna", kind="profiles", path="$", reason="", original=told)
    Change.objects.create(run=run, domain="luna", kind="profiles", key='["ana", "mars"]', before="{}")
    Change.objects.create(run=run, domain="luna", kind="profiles", key='["Ana", "mars"]', before="{}")
    Change.objects.create(run=run, domain="luna", kind="profiles", key='["bo", "m"]', before='{"tags": ["ana"]}')
    receipt = Caller(make_token("admin", users=["ana"])).delete(USER).json()["erased"]
    remains = receipt["domains"]["luna"]["remains"]
    assert (remains["history"], remains["rejects"]) == (0, 0)
    assert set(Change.objects.values_list("key", flat=True)) == {
        '["x", "1"]', '["x", "2"]', '["x", "3"]', '["Ana", "mars"]', '["bo", "m"]',
    }  # fmt: skip
    assert Reject.objects.count() == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 3, 2100])
def test_what_is_handed_out_is_counted_however_much_it_is(ana: Caller, number: int) -> None:
    stores.open_store(LUNA).put([ProfileFactory(user_id="ana") for _ in range(number)])
    *found, last = _lines(ana.get(f"{USER}/export"))
    assert len(found) == last["records"] == number
    whole = ana.get(f"{USER}/export", Accept="application/json")
    told = json.loads(b"".join(whole.streaming_content) if whole.streaming else whole.content)
    assert len(told["luna"].get("ana", {}).get("profiles", {})) == number


def test_the_receipt_lists_what_remains(everybody: Caller, settings: Any, tmp_path: Path, sample: Path) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    shutil.copytree(sample, tmp_path / "backups" / "20240101T000000Z")
    remains = Caller(make_token("admin", users=["ana"])).delete(USER).json()["remains"]
    assert remains["backups"] == ["20240101T000000Z"]
    assert remains["tombstones"] == []
    assert remains["tokens"] == 2


def test_while_a_run_is_under_way_nobody_is_erased_and_the_answer_says_which(everybody: Caller) -> None:
    run = Run.objects.create(operation="migrate", started_at=datetime(2026, 11, 28, tzinfo=UTC))
    admin = Caller(make_token("admin", users=["ana"]))
    with alone():
        told = refused(admin.delete(USER), 409, "run-under-way")
    assert f"run {run.pk}, a migrate since 2026-11-28T00:00:00.000Z, is under way" in told["detail"]
    assert "Retry when it has ended" in told["detail"]
    assert len(_lines(everybody.get(f"{USER}/export"))) == 8
    assert admin.delete(USER).status_code == 200
    assert admin.delete(USER).status_code == 200, "it may be sent again"


def test_the_receipt_tells_where_the_user_is_named_still(everybody: Caller) -> None:
    places = Caller(make_token("admin", users=["ana"])).delete(USER).json()["remains"]["places"]
    (tokens,) = [one for one in places if one["where"] == "orb_tokens.users"]
    assert set(tokens) == {"where", "what", "until"}
