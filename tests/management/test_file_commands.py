from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.management.test_commands import run


def test_damage_is_found_mended_and_not_found_again(files: Path) -> None:
    journal = files / "te/reflections.json.journal"
    journal.write_bytes(b'{"journal":')
    journal.chmod(0o600)
    code, report = run("check_orb_files", "--data-dir", files)
    assert (code, report["domains"]["te"]["left over"]) == (0, 1)
    code, report = run("repair_orb_files", "--data-dir", files)
    assert (code, report["domains"]["te"]["mended"], journal.exists()) == (0, 0, True)
    code, report = run("repair_orb_files", "--data-dir", files, "--apply")
    assert (code, report["domains"]["te"]["mended"], journal.exists()) == (0, 1, False)
    code, report = run("check_orb_files", "--data-dir", files, "--only", "te")
    assert (code, [finding["path"][:28] for finding in report["findings"]]) == (0, ["te/reflections.json.journal."])


def test_a_torn_document_is_damage(files: Path) -> None:
    (files / "luna/profiles.json").write_bytes(b'{"ana"')
    code, report = run("check_orb_files", "--data-dir", files)
    assert (code, report["domains"]["luna"]["damaged"]) == (1, 1)
    code, report = run("repair_orb_files", "--data-dir", files, "--apply", "--restore-previous")
    assert (code, report["domains"]["luna"]["damaged"]) == (1, 1)
    assert (files / "luna/profiles.json").read_bytes() == b'{"ana"'


def test_compacting_tells_the_sizes(files: Path) -> None:
    code, report = run("compact_orb_files", "--data-dir", files)
    size = (files / "te/reflections.json").stat().st_size
    te = report["domains"]["te"]
    assert (code, te["removed"], te["dead_parts"], te["before"], te["after"]) == (0, 0, 0, size, size)


@pytest.mark.parametrize("value", ["soon", "-1", "1.5"])
def test_a_journal_setting_that_is_no_number_is_an_error(files: Path, settings: Any, value: str) -> None:
    settings.ORB_JOURNAL = value
    code, report = run("compact_orb_files", "--data-dir", files)
    assert code == 2
    assert "set it to a number of bytes, or to never" in report["findings"][0]["message"]
