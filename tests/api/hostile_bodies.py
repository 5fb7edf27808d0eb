"""Sends bodies of 10 MiB that are made to be expensive, each in a process of its own, and tells what each cost.

`python -m tests.api.hostile_bodies` prints one line of JSON for each kind: the status, seconds of processor time, how
many MiB the process grew, the bytes of the answer, and how slow the machine is just now. With `lists` it tries lists of
large records only, with a number every so many of the bodies. Settings come from the environment.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = 10 * 1024 * 1024 - 1024
PROFILE, PROFILES = "/api/v1/users/ana/profiles/mars", "/api/v1/users/ana/profiles"
REFLECTIONS = "/api/v1/users/ana/reflections"
CALIBRATION = 0.065
"""Seconds that `calibrated` takes on the machine on which a second was measured."""


def filled(start: bytes, unit: bytes, end: bytes, most: int = 10**9) -> bytes:
    """Return a body in which a unit stands as often as there is room, or `most` times, and spaces fill the rest."""
    number = min((SIZE - len(start) - len(end)) // len(unit), most)
    body = start + (unit * number).rstrip(b",") + end
    return body + b" " * (SIZE - len(body))


def numbered(start: bytes, unit: bytes, end: bytes, number: int) -> bytes:
    """Return a body with units that are numbered."""
    parts = b",".join(unit % {b"n": b"%d" % one} for one in range(number))
    return (start + parts + end).ljust(SIZE)


RECORD = b'{"input": "i", "output": "o", '
SAVED = b'{"preferences": [], "constraints": [], '
LONG = b"k" * 1_000_000

BODIES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "empty objects": ("POST", REFLECTIONS, lambda: filled(b"[", b"{},", b"]")),
    "zeros": ("POST", REFLECTIONS, lambda: filled(b"[", b"0,", b"]")),
    "empty texts": ("POST", REFLECTIONS, lambda: filled(b"[", b'"",', b"]")),
    "empty lists in lists": ("POST", REFLECTIONS, lambda: filled(b"[", b"[[]],", b"]")),
    "many tags": ("POST", REFLECTIONS, lambda: filled(RECORD + b'"tags": [', b'"t",', b"]}")),
    "wrong tags": ("POST", REFLECTIONS, lambda: filled(RECORD + b'"tags": [', b"1,", b"]}", 190_000)),
    "wrong preferences": ("PUT", PROFILE, lambda: filled(b'{"constraints": [], "preferences": [', b"7,", b"]}", 190_000)),
    "wrong constraints": ("PUT", PROFILE, lambda: filled(b'{"preferences": [], "constraints": [', b"{},", b"]}", 60_000)),
    "unknown keys": ("PUT", PROFILE, lambda: numbered(SAVED, b'"k%(n)s": 1', b"}", 600_000)),
    "wrong unknown keys": ("PUT", PROFILE, lambda: numbered(SAVED, b'"k%(n)s\\u0000": 1', b"}", 60_000)),
    "one key again and again": ("PUT", PROFILE, lambda: filled(b"{", b'"k":1,', b"}")),
    "many keys twice": ("PUT", PROFILE, lambda: numbered(b"{", b'"k%(n)s":1,"k%(n)s":2', b"}", 45_000)),
    "a long key twice": ("PUT", PROFILE, lambda: b'{"%b":1,"%b":2}' % (b"k" * (SIZE // 2 - 10), b"k" * (SIZE // 2 - 10))),
    "errors below a long key": ("PUT", PROFILE, lambda: filled(SAVED + b'"' + LONG + b'": [', b'"\\ud800",', b"]}", 150_000)),
    "lone surrogates": ("PUT", PROFILE, lambda: filled(SAVED + b'"a": "', b"\\ud800", b'"}')),
    "many lone surrogates": ("PUT", PROFILE, lambda: filled(SAVED + b'"a": [', b'"\\ud800",', b"]}", 190_000)),
    "deep lists": ("PUT", PROFILE, lambda: filled(b"", b"[", b"")),
    "deep objects": ("PUT", PROFILE, lambda: filled(b"", b'{"a":', b"")),
    "many deep lists": ("PUT", PROFILE, lambda: filled(b"[", b"[" * 90 + b"]" * 90 + b",", b"]", 1000)),
    "a long integer": ("PUT", PROFILE, lambda: filled(SAVED + b'"a": ', b"9", b"}")),
    "a long fraction": ("PUT", PROFILE, lambda: filled(b'{"a": 0.', b"7", b"}")),
    "a long exponent": ("PUT", PROFILE, lambda: filled(b'{"a": 1e', b"9", b"}")),
    "many long integers": ("PUT", PROFILE, lambda: filled(SAVED + b'"a": [', b"9" * 4000 + b",", b"]}")),
    "a number that no double holds behind a long text": (
        "PUT", PROFILE, lambda: b'{"a": "%b", "b": 1e400}' % (b"x\\n" * (SIZE // 3 - 20)),
    ),
    "a text that does not end": ("PUT", PROFILE, lambda: filled(b'{"a": "', b"\\n", b"")),
    "quotes": ("PUT", PROFILE, lambda: filled(b"", b'"', b"")),
    "backslashes": ("PUT", PROFILE, lambda: filled(b"", b"\\", b"")),
    "commas": ("PUT", PROFILE, lambda: filled(b"[", b",", b"]")),
    "bytes that are no UTF-8": ("PUT", PROFILE, lambda: filled(b'{"a": "', b"\xff", b'"}')),
    "half characters at the end": ("PUT", PROFILE, lambda: filled(b'{"a": "', "é".encode(), b'\xc3"}')),
    "many records": ("POST", REFLECTIONS, lambda: filled(b"[", RECORD[:-2] + b"},", b"]", 1001)),
    "many records with many wrong tags": (
        "POST", REFLECTIONS, lambda: filled(b"[", RECORD + b'"tags": [%b]},' % b",".join([b"1"] * 180), b"]", 1000),
    ),
    "a patch of zeros": ("PATCH", PROFILE, lambda: filled(b'{"a": [', b"0,", b"]}")),
    "arguments of an operation": ("POST", "/api/v1/operations/validate", lambda: numbered(b"{", b'"k%(n)s":1', b"}", 60_000)),
}  # fmt: skip
"""Bodies of 10 MiB that are refused: method, address, and what makes them."""

FINE: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "one text of commas and brackets": ("POST", REFLECTIONS, lambda: filled(b'{"output": "o", "input": "', b',[{}]:\\"', b'"}')),
    "few large texts": ("POST", REFLECTIONS, lambda: filled(b"[", RECORD + b'"notes": "%b"},' % (b"x" * 2_000_000), b"]")),
}  # fmt: skip
"""Bodies of the same size that are taken."""


PAGED, PAGED_SIZE = 12, 9 * 1024 * 1024
PAGES = ("profiles", "modes", "reflections", "reflections?tag=t", "reflections?text=y", "sessions/s/reflections", "sessions",
         "reflections?search=xy")  # fmt: skip
"""Lists of records of 9 MiB."""


def calibrated() -> float:
    """Return the seconds of processor time that a fixed piece of work takes here."""
    began = time.process_time()
    for _ in range(20):
        json.loads(json.dumps([{"k": number, "t": "text"} for number in range(4000)]))
    return time.process_time() - began


def main() -> None:
    """Print what each kind costs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections
    from django.utils import timezone

    from orbsite.models.api_tokens import Token, issue

    call_command("migrate", verbosity=0)
    token = issue(Token(name="hostile", scopes=["write", "operate"], every_user=True), timezone.now())
    _sent(token, "GET", PROFILES, b"")  # everything that is made once is made
    connections.close_all()
    asked = "".join(sys.argv[1:]) or "1"
    bodies = {} if asked == "lists" else dict(list(BODIES.items())[:: int(asked)]) | FINE
    for name, (method, path, make) in bodies.items():
        sys.stdout.write(json.dumps({"kind": name} | _in_a_process(token, method, path, make)) + "\n")
        sys.stdout.flush()

    from luna.domain import DOMAIN as LUNA
    from orbsite.stores import open_store
    from te.domain import DOMAIN as TE
    from tests.support.factories import ProfileFactory, ReflectionFactory

    for number in range(PAGED):
        text = "x" * PAGED_SIZE
        open_store(TE).put(
            [ReflectionFactory(user_id="max", id=f"r-{number}", input=text, session_id="s", tags=("t",))]
        )
        open_store(LUNA).put([ProfileFactory(user_id="max", mode_id=f"m-{number}", preferences=(text,))])
    connections.close_all()
    for place in PAGES if os.environ["ORB_PERSISTENCE"] == "sql" else PAGES[:-1]:
        told = _in_a_process(token, "GET", f"/api/v1/users/max/{place}", bytes)
        sys.stdout.write(json.dumps({"kind": place} | told) + "\n")


def _in_a_process(token: str, method: str, path: str, make: Callable[[], bytes]) -> dict[str, Any]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            body = make()
            with os.fdopen(writing, "w") as stream:
                json.dump(_measured(token, method, path, body), stream)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    os.wait()
    return dict(json.loads(told or '{"status": 0}'))


def _measured(token: str, method: str, path: str, body: bytes) -> dict[str, Any]:
    speed = calibrated()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is what it is now
    peak = _peak()
    before = resource.getrusage(resource.RUSAGE_SELF)
    answer = _sent(token, method, path, body)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "status": answer.status_code,
        "bytes": len(body),
        "seconds": round(seconds, 3),
        "MiB": (_peak() - peak) // 1024,
        "answered": len(answer.content),
        "slowness": round(max(speed, calibrated()) / CALIBRATION, 2),
    }


def _peak() -> int:
    """Return the most KiB that this process has had in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])


def _sent(token: str, method: str, path: str, body: bytes) -> Any:
    from django.test import Client

    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(zlib.crc32(body))}
    client = Client(raise_request_exception=False, headers={"Host": "orb.example.org", "X-Forwarded-Proto": "https"})
    return client.generic(method, path, body, content_type=kind, headers=headers)


if __name__ == "__main__":
    main()
