"""Measures how long refusals of tokens and passwords take, which must not reveal the reason.

python -m benchmarks.refusals [ROUNDS]

One gunicorn, one connection at a time, each from its own address; all kinds in turns within one run. The medians may
differ by less than 10 %.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from pathlib import Path
from random import Random
from urllib.parse import urlencode

from tests.support.serving import Server, manage, served

SEED = 7
MAKE = """
from datetime import UTC, datetime
from django.contrib.auth.models import User
from orbsite.models.api_tokens import Token
User.objects.create_superuser("somebody", password="right")
User.objects.create_superuser("gone", password="right", is_active=False)
Token.objects.filter(name="revoked").update(revoked_at=datetime.now(UTC))
Token.objects.filter(name="expired").update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
"""


def main() -> None:
    """Serve, send the requests, and print the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        with served(work, f"sqlite:///{work}/orb.sqlite3", ORB_API_RATE="none", WEB_CONCURRENCY="1") as server:
            good, revoked, expired = (_token(server, name) for name in ("good", "revoked", "expired"))
            manage(server.environment, "shell", "--command", MAKE)
            mark, prefix, secret = good.split("_", 2)
            tokens = {
                "an unknown token": f"{mark}_00000000_{secret}",
                "a wrong secret": f"{mark}_{prefix}_{secret[::-1]}",
                "a revoked token": revoked,
                "an expired token": expired,
            }
            names = {"an unknown name": "nobody", "a wrong password": "somebody", "a wrong one of who is gone": "gone"}
            print(f"{rounds} rounds, {datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}")
            _print({what: lambda token=token: _api(server, token) for what, token in tokens.items()}, rounds)
            _print({what: lambda name=name: _login(server, name) for what, name in names.items()}, max(1, rounds // 5))


_addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count(1))


def _token(server: Server, name: str) -> str:
    return manage(server.environment, "create_orb_token", "--name", name, "--scope", "read", "--user", "ana").strip()


def _api(server: Server, token: str) -> float:
    began = time.perf_counter()
    answer = server.ask("GET", "/api/v1/users/ana/profiles", None, token, X_Forwarded_For=next(_addresses))
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise RuntimeError(answer)
    return time.perf_counter() - began


def _login(server: Server, name: str) -> float:
    origin, address = {"Referer": "https://orb.example.org/"}, next(_addresses)
    page = server.ask("GET", "/admin/login/", None, None, X_Forwarded_For=address)
    key = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1].decode()  # type: ignore[index]
    form = urlencode({"username": name, "password": "wrong", "csrfmiddlewaretoken": key}).encode()
    cookie = page.headers["set-cookie"].partition(";")[0]
    began = time.perf_counter()
    answer = server.ask("POST", "/admin/login/", form, None, X_Forwarded_For=address, Cookie=cookie,
                        Content_Type="application/x-www-form-urlencoded", **origin)  # fmt: skip
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(answer)
    return time.perf_counter() - began


def _print(kinds: dict[str, Callable[[], float]], rounds: int) -> None:
    draw, took = Random(SEED), {what: list[float]() for what in kinds}
    for _ in range(rounds):
        for what in draw.sample(list(kinds), len(kinds)):
            took[what].append(kinds[what]())
    medians, fastest = ({what: of(one) for what, one in took.items()} for of in (statistics.median, min))
    for what in kinds:
        ratios = [found[what] / min(found.values()) for found in (medians, fastest)]
        print(f"{what:28} {medians[what] * 1000:8.2f} ms   medians {ratios[0]:5.2f} x   fastest {ratios[1]:5.2f} x")


if __name__ == "__main__":
    main()
