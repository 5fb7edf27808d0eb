"""Measures sealing and compression of a document, compared with the libraries alone on the same bytes.

python -m benchmarks.sealing [NUMBER OF REFLECTIONS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.decode import best
from benchmarks.reflections import SEED, make

SAVES = 200


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


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
