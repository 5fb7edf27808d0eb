"""Measures sealing: of a document, beside the libraries alone on the same bytes; of rows, beside plain ones; of keys.

python -m benchmarks.sealing [NUMBER OF REFLECTIONS]
"""

from __future__ import annotations

import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import django
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.decode import best
from benchmarks.migration import PRODUCTION
from benchmarks.reflections import SEED, make

SAVES = 200
RUNS = 3
USERS = 100_000


def main() -> None:
    """Measure documents and saves in the journal, and print the ratios."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from orbsite.storage.sealing import compression
    from orbsite.storage.sealing.envelope import Packing
    from orbsite.storage.sealing.keys import Key, KeyRing

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    data, keys, secret = make(number), KeyRing([Key("a", os.urandom(32))]), os.urandom(32)
    print(f"{number:,} reflections, {len(data) / 1e6:.0f} MB, seed {SEED}; cryptography {version('cryptography')}")
    frame = compression.compress(data) or b""
    nonce = os.urandom(12)
    sealed = AESGCM(secret).encrypt(nonce, frame, None)
    by_hand = {
        "compress": best(lambda: compression.zstd.compress(data, options=compression.WRITE)),
        "encrypt": best(lambda: AESGCM(secret).encrypt(nonce, frame, None)),
        "encrypt all": best(lambda: AESGCM(secret).encrypt(nonce, data, None)),
        "open": best(lambda: compression.zstd.decompress(AESGCM(secret).decrypt(nonce, sealed, None))),
    }
    forms = {
        "compressed": (Packing(is_compressed=True), by_hand["compress"]),
        "sealed": (Packing(keys=keys), by_hand["encrypt all"]),
        "both": (Packing(is_compressed=True, keys=keys), by_hand["compress"] + by_hand["encrypt"]),
    }
    for name, (packing, alone) in forms.items():
        envelope = packing.envelope("te/reflections")
        seconds = best(lambda envelope=envelope: envelope.close(data))
        print(f"close, {name}: {seconds:.3f} s, by hand {alone:.3f} s: {seconds / alone:.2f} x")
    message = forms["both"][0].envelope("te/reflections").close(data)
    seconds = best(lambda: forms["both"][0].envelope("te/reflections").open(message))
    print(f"open, both: {seconds:.3f} s, by hand {by_hand['open']:.3f} s: {seconds / by_hand['open']:.2f} x")
    print(f"size: {len(message) / len(data):.2f} x")
    _saves({"plain": Packing(), "both": forms["both"][0]})
    _rows(data)


def _saves(packings: dict[str, Any]) -> None:
    """Measure saves in the journal. The forms take turns, because the speed of the disk changes."""
    from orbsite.storage.file.document import Document
    from orbsite.storage.file.store import FileStore
    from te.domain import DOMAIN
    from tests.support.factories import ReflectionFactory

    with tempfile.TemporaryDirectory() as place:
        stores = {
            name: FileStore(DOMAIN, Document(Path(place, name), DOMAIN.file, packing), journal_above=0)
            for name, packing in packings.items()
        }
        times: dict[str, list[float]] = {name: [] for name in stores}
        for number in range(SAVES):
            record = ReflectionFactory(id=str(number), input="a text of some length " * 20)
            for name, store in stores.items():
                times[name].append(_seconds(lambda store=store, record=record: store.put([record])))
    plain, both = (statistics.median(times[name]) for name in ("plain", "both"))
    print(f"a save in the journal: plain {plain * 1000:.2f} ms, both {both * 1000:.2f} ms: {both / plain:.2f} x")


def _rows(data: bytes) -> None:
    """Measure a migration into plain and into sealed columns, and a rotation, each in a SQLite file of its own."""
    times: dict[str, list[float]] = {"plain": [], "sealed": []}
    for _ in range(RUNS):
        for name, measured in times.items():
            with tempfile.TemporaryDirectory() as place:
                measured.append(_migration(Path(place), data, name))
    plain, sealed = (statistics.median(times[name]) for name in ("plain", "sealed"))
    print(f"migration into SQLite: plain {plain:.2f} s, sealed {sealed:.2f} s: {sealed / plain:.2f} x")
    with tempfile.TemporaryDirectory() as place:
        print(_in_database(Path(place), "rotation", "sealed"))


def _migration(place: Path, data: bytes, name: str) -> float:
    document = place / "data/te/reflections.json"
    document.parent.mkdir(parents=True, mode=0o700)
    document.write_bytes(data)
    document.chmod(0o600)
    return float(_in_database(place, "migration", name))


def _in_database(place: Path, what: str, name: str) -> str:
    """Run a measurement in a process of its own, over an empty database in a file."""
    secret = base64.b64encode(os.urandom(32)).decode()
    keys = {"plain": "", "sealed": f"a:{secret}"}[name]
    environment = os.environ | PRODUCTION | {
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DATABASE_URL": f"sqlite:///{quote(str(place / 'orb.sqlite3'))}",
        "ORB_DATA_DIR": str(place / "data"),
        "ORB_BACKUP_DIR": str(place / "backups"),
        "ORB_KEYS": "",
    }  # fmt: skip
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, check=True)
    if what == "migration" and keys:
        environment["ORB_KEYS"] = keys
        command = [sys.executable, "manage.py", "seal_orb_data", "--apply", "--format", "json"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    begun = [sys.executable, "-m", "benchmarks.sealing", f"--{what}"]
    return subprocess.run(
        begun, env=environment | {"ORB_KEYS": keys}, check=True, capture_output=True, text=True
    ).stdout.strip()


def _migrate_here() -> None:
    """Print the seconds of a migration, which verifies what it wrote."""
    django.setup()
    from orbsite.operations.migration.migrate import migrate
    from orbsite.storage.clock import utc_now
    from orbsite.storage.records.domain import registered

    base, domains = Path(os.environ["ORB_DATA_DIR"]), registered(["te"])

    def act() -> None:
        if not migrate(domains, base, now=utc_now).ok:
            raise SystemExit("the migration did not end well")

    print(_seconds(act))


def _rotate_here() -> None:
    """Print the time of a rotation over the keys of many users."""
    django.setup()
    from django.conf import settings
    from django.db import transaction
    from django.test import override_settings

    from orbsite.operations.progress import silent
    from orbsite.operations.records.sealing import rotate_data_keys
    from orbsite.operations.report import Report
    from orbsite.storage.records.sealed_columns import keys_of_users

    with transaction.atomic():
        made = _seconds(lambda: keys_of_users({f"user-{number}" for number in range(USERS)}, "default"))
    secret = base64.b64encode(os.urandom(32)).decode()
    report = Report(columns=("to write", "written", "left"))
    with override_settings(ORB_KEYS=f"b:{secret},{settings.ORB_KEYS}"):
        seconds = _seconds(lambda: rotate_data_keys(report, apply=True, progress=silent))
    number = report.domains["database"].total("written")
    print(f"data keys of {number:,} users: made in {made:.1f} s, sealed with another key in {seconds:.1f} s")


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    {"--migration": _migrate_here, "--rotation": _rotate_here}.get(sys.argv[-1], main)()
