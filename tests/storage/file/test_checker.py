"""Every cut and every flip of a bit is found: bar R13."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orbsite.operations.files.check import check
from te.domain import DOMAIN
from tests.contract.harness import reflections_with_a_journal


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return reflections_with_a_journal(tmp_path / "data")


def _is_found(base: Path) -> bool:
    report = check([DOMAIN], base)
    return any(report.domains["te"].counts["files"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reflections.json", "reflections.json.journal"])
def test_every_cut_and_every_flip_is_found(base: Path, name: str) -> None:
    path = base / "te" / name
    whole = path.read_bytes()
    assert not _is_found(base)
    damages = 0
    for at in range(len(whole)):
        variants = [whole[:at], *(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :] for mask in (1, 0x80, 0xFF))]
        for damaged in variants:
            with path.open("r+b") as file:  # in place: the file stays the one that was saved
                file.truncate(0)
                file.write(damaged)
            damages += 1
            is_shorter_journal = name.endswith("journal") and damaged == whole[:at] and whole[:at].endswith(b"\n")
            assert _is_found(base) or is_shorter_journal, (at, damaged)
            assert path.read_bytes() == damaged
    sys.stdout.write(f"check-up: {name}, {damages} damages found\n")
