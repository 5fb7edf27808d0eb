"""When the status of a file proves that the file has not changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbsite.storage.filesystem.stat_signature import StatSignature

SECOND = 1_000_000_000
CHANGED = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("fraction", "later", "is_sure"),
    [
        (7, 0, False),
        (7, SECOND // 20, False),
        (7, SECOND // 5, True),
        (7, -SECOND // 20, False),
        (7, -SECOND // 5, True),
        (0, SECOND // 5, False),
        (0, 3 * SECOND, True),
    ],
)
def test_a_status_is_sure_only_if_the_change_is_longer_ago_than_a_tick(
    fraction: int, later: int, is_sure: bool
) -> None:
    changed = CHANGED + fraction
    assert StatSignature((), changed, changed + later).is_sure is is_sure


def test_a_signature_is_of_the_file_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    signature = StatSignature.of(path.stat(), 0)
    assert signature.is_of(path.stat())
    path.write_text("longer")
    assert not signature.is_of(path.stat())
