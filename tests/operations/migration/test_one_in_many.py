"""One damaged reflection among many keeps nothing else back, and is taken once it is mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.reflections import make
from orbsite.models.ledger import Reject
from te.models import ReflectionRow
from tests.management.test_commands import migrate, run
from tests.support.effort import effort

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.timeout(300)]

MANY = effort(20_000, 100_000)


@pytest.mark.deep
def test_one_damaged_reflection_keeps_nothing_else_back(data_dir: Path) -> None:
    path = data_dir / "te/reflections.json"
    path.parent.mkdir(mode=0o700)
    whole = make(MANY)
    tree = json.loads(whole)
    session = list(tree["sessions"])[len(tree["sessions"]) // 2]
    item = tree["sessions"][session][7]
    original = item | {"createdAt": "yesterday, 5 o'clock"}
    tree["sessions"][session][7] = original
    path.write_text(json.dumps(tree, ensure_ascii=False))

    code, report = migrate(data_dir, "--only", "te")
    counts = report["domains"]["te"]
    assert (code, counts["read"], counts["new"], counts["rejected"]) == (1, MANY, MANY - 1, 1)
    assert ReflectionRow.objects.count() == MANY - 1
    reject = Reject.objects.get()
    assert reject.path == f"$.sessions.{session}[7]"
    assert reject.original in path.read_text()
    assert json.loads(reject.original) == original
    assert [one["path"] for one in report["findings"]] == [f"$.sessions.{session}[7].createdAt"]

    path.write_bytes(whole)
    code, report = migrate(data_dir, "--only", "te", "--retry-rejected")
    counts = report["domains"]["te"]
    assert (code, counts["read"], counts["new"]) == (0, 1, 1)
    assert not Reject.objects.filter(settled_by=None).exists()
    code, report = run("verify_orb_files", "--data-dir", data_dir, "--only", "te")
    assert (code, report["domains"]["te"]["equal"]) == (0, MANY)
