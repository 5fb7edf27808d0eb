"""A process runs out of room, memory or descriptors: bars R5 and R6 for documents.

ORB_SEED makes it the same again, ORB_ROUNDS longer.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.torture.program import SEED, run

pytestmark = pytest.mark.torture

ROUNDS = os.environ.get("ORB_ROUNDS", "60")
OF_OUR_OWN = ("unshare", "--mount")
GIVES_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.pthread.stack_cache_size=0",
}


@pytest.fixture
def shim(tmp_path: Path) -> str:
    library = tmp_path / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return str(library)


@pytest.mark.parametrize("kind", ["bytes", "inodes"])
def test_a_full_disk_loses_nothing(kind: str) -> None:
    _is_right(run("exhaustion", kind, SEED, ROUNDS, before=OF_OUR_OWN), "SaveFailed")


def test_a_limit_on_the_size_of_files_loses_nothing() -> None:
    _is_right(run("exhaustion", "size", SEED, ROUNDS), "SaveFailed")


def test_writes_of_seven_bytes_are_completed(shim: str) -> None:
    _is_right(run("exhaustion", "short", SEED, ROUNDS, LD_PRELOAD=shim), "done")


def test_a_lack_of_memory_loses_nothing() -> None:
    _is_right(run("exhaustion", "memory", SEED, str(int(ROUNDS) // 3), **GIVES_BACK), "MemoryError", at_least=1)


def test_a_lack_of_memory_at_any_call_of_the_json_coder_loses_nothing() -> None:
    _is_right(run("exhaustion", "coder", SEED, ROUNDS), "MemoryError")


def test_a_lack_of_descriptors_loses_nothing() -> None:
    _is_right(run("exhaustion", "descriptors", SEED, ROUNDS), "DocumentRefused")


def test_a_store_that_writes_once_is_found_out_by_short_writes(shim: str) -> None:
    assert run("exhaustion", "short", SEED, ROUNDS, "one-write", LD_PRELOAD=shim)["violations"]


@pytest.mark.parametrize("kind", ["bytes", "size"])
def test_a_store_that_writes_once_is_found_out(kind: str) -> None:
    assert run("exhaustion", kind, SEED, ROUNDS, "one-write", before=OF_OUR_OWN)["violations"]


def test_a_store_that_writes_over_its_document_is_found_out() -> None:
    assert run("exhaustion", "bytes", SEED, ROUNDS, "in-place", before=OF_OUR_OWN)["violations"]


@pytest.mark.parametrize("kind", ["coder", "descriptors"])
def test_a_store_that_goes_on_with_what_was_not_saved_is_found_out(kind: str) -> None:
    assert run("exhaustion", kind, SEED, ROUNDS, "kept-in-memory")["violations"]


def _is_right(result: dict[str, Any], outcome: str, at_least: int = 10) -> None:
    assert result["outcomes"][outcome] >= at_least
    assert result["violations"] == []
