"""What the calls to the system return at the edges of a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbsite.storage.filesystem import syscalls
from orbsite.storage.filesystem.syscalls import OS


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (10, 0), (10, 4), (10, 10), (10, 11), (3_000, 0), (3_000, 1)])
def test_a_file_is_read_from_an_offset_to_its_end(tmp_path: Path, size: int, offset: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert OS.read(descriptor, offset) == data[offset:]
        assert OS.read(descriptor, offset) == data[offset:]
    finally:
        os.close(descriptor)


def test_what_a_file_grew_by_while_it_was_read_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "file", os.pread
    path.write_bytes(b"a" * 5_000)

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if path.stat().st_size < 10_000:
            with path.open("ab") as file:
                file.write(b"b" * 2_500)
        return read(descriptor, min(size, 1_700), offset)

    monkeypatch.setattr(syscalls.os, "pread", pread)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert OS.read(descriptor, 1_000) == b"a" * 4_000 + b"b" * 5_000
    finally:
        os.close(descriptor)
