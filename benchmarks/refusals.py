"""Measures how long refusals of tokens and passwords take, which must not reveal the reason.

python -m benchmarks.refusals [ROUNDS]

One gunicorn, one connection at a time, each from its own address; all kinds in turns within one run.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from random import Random
from urllib.parse import urlencode

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from benchmarks.timing import seconds
from tests.support.serving import Answer, Server, manage, served

TITLE = "Refused sign-ins and tokens"
NOTES = """
The kinds of a group take turns in a shuffled order; ratios compare medians with that of the fastest kind. Each
password costs one hash, for every user name (a test counts them), so that only the noise of the machine remains.
"""
SEED, ROUNDS = 7, 60
ALIKE = Bar(1.1)
"""By which the median of a kind may exceed that of the fastest one."""
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
    """Serve, send the requests, and record the times."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
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
            names = {
                "an unknown name": "nobody",
                "a wrong password": "somebody",
                "a wrong password of an inactive user": "gone",
            }
            requests = {what: partial(_api, server, token) for what, token in tokens.items()}
            signs_in = {what: partial(_login, server, name) for what, name in names.items()}
            found = _measured(requests, rounds) + _measured(signs_in, max(2, rounds // 5))
    figures.record("refusals", 0, figures.SQLITE, found)


_addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in count(1))


def _token(server: Server, name: str) -> str:
    return manage(server.environment, "create_orb_token", "--name", name, "--scope", "read", "--user", "ana").strip()


def _api(server: Server, token: str) -> float:
    address = next(_addresses)
    return _refused(
        lambda: server.ask("GET", "/api/v1/users/ana/profiles", None, token, X_Forwarded_For=address),
        HTTPStatus.UNAUTHORIZED,
    )


def _login(server: Server, name: str) -> float:
    origin, address = {"Referer": "https://orb.example.org/"}, next(_addresses)
    page = server.ask("GET", "/admin/login/", None, None, X_Forwarded_For=address)
    key = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1].decode()  # type: ignore[index]
    form = urlencode({"username": name, "password": "wrong", "csrfmiddlewaretoken": key}).encode()
    cookie = page.headers["set-cookie"].partition(";")[0]
    headers = {"X_Forwarded_For": address, "Cookie": cookie, "Content_Type": "application/x-www-form-urlencoded"}
    headers |= origin
    return _refused(lambda: server.ask("POST", "/admin/login/", form, None, **headers), HTTPStatus.OK)


def _refused(ask: Callable[[], Answer], status: int) -> float:
    """Return the seconds of a request. Raises RuntimeError for another status."""
    answers: list[Answer] = []
    took = seconds(lambda: answers.append(ask()))
    if answers[0].status != status:
        raise RuntimeError(answers[0])
    return took


def _measured(kinds: Mapping[str, Callable[[], float]], rounds: int) -> list[Figure]:
    draw, took = Random(SEED), {what: list[float]() for what in kinds}
    for _ in range(rounds):
        for what in draw.sample(list(kinds), len(kinds)):
            took[what].append(kinds[what]())
    fastest = min(map(statistics.median, took.values()))
    return [
        figure(what, times, "ms", over=fastest, peer="x the fastest kind", bar=ALIKE) for what, times in took.items()
    ]


if __name__ == "__main__":
    main()
