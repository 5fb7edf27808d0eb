"""Measures sealing: of a document, beside the libraries alone on the same bytes; of rows, beside plain ones; of keys.

python -m benchmarks.sealing [NUMBER OF REFLECTIONS]
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import django
import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import figures
from benchmarks.figures import Figure, figure
from benchmarks.file_store import fresh as reflection
from benchmarks.processes import environment, fresh, step
from benchmarks.reflections import SEED, make, write
from benchmarks.timing import best, seconds, times

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TITLE = "Sealing"
NOTES = """
By hand is what the libraries take for the same bytes. Sealing a document that is not compressed copies the message
once.
"""
NUMBER, SAVES, RUNS, USERS = 20_000, 200, 3, 10_000
BY_HAND, PLAIN = "x by hand", "x the plain one"


def main() -> None:
    """Measure documents, saves in the journal, rows and keys, and record the ratios."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else NUMBER
    data = make(number)
    print(f"{number:,} reflections, {len(data) / 1e6:.0f} MB, seed {SEED}; cryptography {version('cryptography')}")
    figures.record("sealing", number, figures.FILES, [*documents(data), *saves()])
    figures.record("sealing", number, figures.SQLITE, [*rows(number), *keys()])


def documents(data: bytes) -> list[Figure]:
    """Return the figures of documents, compared with the libraries alone on the same bytes."""
    from orbsite.storage.sealing import compression
    from orbsite.storage.sealing.envelope import Packing
    from orbsite.storage.sealing.keys import Key, KeyRing

    ring, secret, nonce = KeyRing([Key("a", os.urandom(32))]), os.urandom(32), os.urandom(12)
    frame = compression.compress(data) or b""
    sealed = AESGCM(secret).encrypt(nonce, frame, None)
    compressing = best(lambda: zstd.compress(data, options=compression.WRITE))
    encrypting = best(lambda: AESGCM(secret).encrypt(nonce, frame, None))
    opening = best(lambda: zstd.decompress(AESGCM(secret).decrypt(nonce, sealed, None)))
    forms = {
        "compress a document": (Packing(is_compressed=True), compressing),
        "seal a document": (Packing(keys=ring), best(lambda: AESGCM(secret).encrypt(nonce, data, None))),
        "compress and seal a document": (Packing(is_compressed=True, keys=ring), compressing + encrypting),
    }
    found = [
        figure(name, times([partial(packing.envelope("te/reflections").close, data)] * RUNS), over=alone, peer=BY_HAND)
        for name, (packing, alone) in forms.items()
    ]
    both = forms["compress and seal a document"][0].envelope("te/reflections")
    message = both.close(data)
    return [
        *found,
        figure("open it", times([partial(both.open, message)] * RUNS), over=opening, peer=BY_HAND),
        Figure(
            name="its size", value=len(message) / 1e6, unit="MB", ratio=len(message) / len(data), peer="x the document"
        ),
    ]


def saves() -> list[Figure]:
    """Return the figures of saves in the journal. The forms take turns, because the speed of the disk changes."""
    from orbsite.storage.file.document import Document
    from orbsite.storage.file.store import FileStore
    from orbsite.storage.sealing.envelope import Packing
    from orbsite.storage.sealing.keys import Key, KeyRing
    from te.domain import DOMAIN

    packings = {"plain": Packing(), "sealed": Packing(is_compressed=True, keys=KeyRing([Key("a", os.urandom(32))]))}
    with tempfile.TemporaryDirectory() as place:
        stores = {
            name: FileStore(DOMAIN, Document(Path(place, name), DOMAIN.file, packing), journal_above=0)
            for name, packing in packings.items()
        }
        took: dict[str, list[float]] = {name: [] for name in stores}
        for number in range(SAVES):
            record = msgspec.structs.replace(reflection(number), input="a text of some length " * 20)
            for name, store in stores.items():
                took[name].append(seconds(partial(store.put, [record])))
    return [
        figure("a save in the journal, plain", took["plain"], "ms"),
        figure(
            "the same, compressed and sealed", took["sealed"], "ms", over=statistics.median(took["plain"]), peer=PLAIN
        ),
    ]


def rows(number: int) -> list[Figure]:
    """Return the figures of migrations into plain and into sealed columns, each in a SQLite file of its own."""
    took: dict[str, list[float]] = {"plain": [], "sealed": []}
    for _ in range(RUNS):
        for name, measured in took.items():
            with tempfile.TemporaryDirectory() as place:
                write(Path(place, "data"), number)
                measured.append(_in_database(Path(place), "migration", name)["seconds"])
    return [
        figure("migration with verification, into plain columns", took["plain"]),
        figure("the same, into sealed columns", took["sealed"], over=statistics.median(took["plain"]), peer=PLAIN),
    ]


def keys() -> list[Figure]:
    """Return the figures of the data keys of many users."""
    with tempfile.TemporaryDirectory() as place:
        found = _in_database(Path(place), "rotation", "sealed")
    users = f"data keys of {found['number']:,} users"
    return [
        figure(f"{users}: make them", found["made"]),
        figure(f"{users}: seal them with another key (rotation)", found["rotated"]),
    ]


def _in_database(place: Path, what: str, name: str) -> dict[str, float]:
    """Run a measurement in a process of its own, over an empty database in a file."""
    url = f"sqlite:///{quote(str(place / 'orb.sqlite3'))}"
    given = {"ORB_DATA_DIR": str(place / "data"), "ORB_BACKUP_DIR": str(place / "backups"), "ORB_KEYS": ""}
    fresh(url, **given)
    if name == "sealed":
        given["ORB_KEYS"] = f"a:{base64.b64encode(os.urandom(32)).decode()}"
    if what == "migration" and name == "sealed":
        command = [sys.executable, "manage.py", "seal_orb_data", "--apply", "--format", "json"]
        subprocess.run(command, env=environment(url, **given), check=True, capture_output=True)
    found: dict[str, float] = step("benchmarks.sealing", f"--{what}", url=url, **given)
    return found


def migrated() -> dict[str, float]:
    """Migrate here, with verification. Exits if the migration does not end well."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.storage.clock import utc_now
    from orbsite.storage.records.domain import registered

    base, domains = Path(os.environ["ORB_DATA_DIR"]), registered(["te"])

    def act() -> None:
        if not migrate(domains, base, now=utc_now).ok:
            raise SystemExit("the migration did not end well")

    return {"seconds": seconds(act)}


def rotated() -> dict[str, float]:
    """Make the keys of many users here, and seal them with another key."""
    from django.conf import settings
    from django.db import transaction
    from django.test import override_settings

    from orbsite.operations.progress import silent
    from orbsite.operations.records.sealing import rotate_data_keys
    from orbsite.operations.report import Report
    from orbsite.storage.records.sealed_columns import keys_of_users

    with transaction.atomic():
        made = seconds(lambda: keys_of_users({f"user-{number}" for number in range(USERS)}, "default"))
    secret = base64.b64encode(os.urandom(32)).decode()
    report = Report(columns=("to write", "written", "left"))
    with override_settings(ORB_KEYS=f"b:{secret},{settings.ORB_KEYS}"):
        took = seconds(lambda: rotate_data_keys(report, apply=True, progress=silent))
    return {"made": made, "rotated": took, "number": report.domains["database"].total("written")}


STEPS = {"--migration": migrated, "--rotation": rotated}


if __name__ == "__main__":
    if sys.argv[-1] in STEPS:
        django.setup()
        print(json.dumps(STEPS[sys.argv[-1]]()))
    else:
        main()
