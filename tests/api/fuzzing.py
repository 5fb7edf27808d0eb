"""Schemathesis against the project as it is served: what the OpenAPI document says is what is answered.

This module is also what schemathesis itself imports, for what a document cannot say: that a client makes up no cursors
and ETags, for these are handed out, and a new key for each creation; one request in eight does otherwise all the same.
That the id which an address encodes in base64 holds no NUL; that 5.0 is no integer here, which it is to JSON Schema,
and that integers are those of JavaScript; that only SQL is searched, that a policy and a user go together, and that a
bulk migration has arguments of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from orbsite.storage.encoding.json_printer import EXACT_INTEGERS
from orbsite.storage.encoding.url_ids import name_of
from tests.support.serving import served
from tests.support.time_limits import time_limit

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/openapi.json"
SEED = 7
PARTS = [  # as processes, for its threads are not safe on every Python
    ["--phases", "examples,coverage,stateful"],
    ["--phases", "fuzzing", "--include-path-regex", "/users/"],
    ["--phases", "fuzzing", "--exclude-path-regex", "/users/"],
]
_PATIENCE = 840
LEAST_ACCEPTED = 0.3
WRITES = ("POST", "PUT", "PATCH", "DELETE")
# Beside what schemathesis expects: conditions and keys are about what is there, not about what is sent.
_CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "412", "422"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428"]
"""


@dataclass(frozen=True)
class Outcome:
    """What a run of schemathesis came to."""

    ended: int
    told: str
    answers: Counter[tuple[str, str, int]]
    """How often each method and route was answered with each status."""
    errors: list[dict[str, Any]]
    """What the server's log says of errors."""

    @property
    def accepted(self) -> float:
        """The part of the writes that was answered 2xx: of those with a token, to addresses and methods that are there."""
        writes = {key: n for key, n in self.answers.items() if key[0] in WRITES and key[1] and key[2] not in (401, 405)}
        return sum(number for key, number in writes.items() if key[2] // 100 == 2) / sum(writes.values())

    @property
    def statuses(self) -> set[int]:
        return {status for _, _, status in self.answers}


def fuzz(work: Path, mode: str, examples: int) -> Outcome:
    """Serve from a store of a mode, and let schemathesis try every operation so many times, with all its checks."""
    address = f"sqlite:///{work}/orb.sqlite3"
    chosen = {"ORB_PERSISTENCE": mode, "ORB_HTTPS": "false", "ALLOWED_HOSTS": "127.0.0.1", "ORB_API_RATE": "none"}
    chosen |= dict.fromkeys(("ORB_TOKEN_MAX_OPEN_JOBS", "ORB_TOKEN_MAX_JOBS_PER_DAY", "ORB_TOKEN_MAX_BYTES"), "none")
    with served(work, address, **chosen, ORB_THREADS="4", DJANGO_SETTINGS_MODULE="tests.api.unthrottled") as server:
        token = server.token("--scope", "admin", "--every-user")
        config = work / "schemathesis.toml"
        config.write_text(_CONFIG)
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(DOCUMENT),
            "--url", f"http://127.0.0.1:{server.port}", "--header", f"Authorization: Bearer {token}",
            "--checks", "all", "--continue-on-failure", "--max-examples", str(examples), "--seed", str(SEED),
            "--generation-database", "none", "--no-color",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.api.fuzzing",
            "ORB_FUZZED": mode,
            "PYTHONPATH": str(ROOT),
        }

        def run(part: list[str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, *part],
                cwd=work,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=time_limit(_PATIENCE),
            )

        with ThreadPoolExecutor() as pool:
            done = list(pool.map(run, PARTS))
        lines = server.lines()
    asked = [line for line in lines if line["logger"] == "orbsite.requests"]
    answers = Counter((line["method"], line["route"], line["status"]) for line in asked)
    errors = [line for line in lines if line["level"] in ("ERROR", "CRITICAL")]
    told = "\n".join(one.stdout + one.stderr for one in done)
    return Outcome(max(one.returncode for one in done), told, answers, errors)


def check(outcome: Outcome) -> None:
    """Nothing failed, nothing broke, and enough of what was written was taken for the rest to mean anything."""
    assert outcome.ended == 0, outcome.told
    assert not [status for status in outcome.statuses if status >= 500]
    assert not outcome.errors
    assert outcome.accepted >= LEAST_ACCEPTED, outcome.answers


def _fit_body(body: dict[str, Any]) -> None:
    """Have a body keep to what a document cannot say."""
    whole = {name: int(one) for name, one in body.items() if isinstance(one, float)}
    body |= whole  # as JavaScript prints it: 5 for 5.0
    body |= {name: _exact(one) for name, one in body.items()}
    if (body.get("policy") is None) != (body.get("user") is None):
        body.pop("policy", None)
        body.pop("user", None)
    if body.get("bulk") is not None:
        for name in ("incremental", "only", "onlyRejected", "resume"):
            body.pop(name, None)


def _exact(value: Any) -> Any:
    """Return a value with floats in place of the integers that JavaScript does not hold exactly."""
    if isinstance(value, dict):
        return {name: _exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    return float(value) if isinstance(value, int) and abs(value) > EXACT_INTEGERS else value


def _has_no_nul(part: Any) -> bool:
    """Whether a part of an address encodes no NUL. An id with one is refused, which the document cannot say."""
    try:
        return "\0" not in name_of(str(part))
    except ValueError:
        return True  # it is answered 404


def _fit_address(case: Any) -> None:
    """Have an address and its query keep to what a document cannot say."""
    for name, part in (case.path_parameters or {}).items():
        case.path_parameters[name] = part if _has_no_nul(part) else "ana"
    if case.query:
        case.query.pop("cursor", None)
        if os.environ.get("ORB_FUZZED") != "sql":
            case.query.pop("search", None)


def _hooks() -> None:
    import schemathesis

    numbers = count(1)

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
            return
        _fit_address(case)
        for one in case.body if isinstance(case.body, list) else [case.body]:
            if isinstance(one, dict):
                _fit_body(one)
        if case.headers and "/" not in case.headers.get("Orb-Position", "/"):
            del case.headers["Orb-Position"]  # schemathesis sends "0", which has not the pattern of this header
        number = next(numbers)
        if case.headers and number % 8:
            case.headers.pop("If-Match", None)
            if "Idempotency-Key" in case.headers:
                case.headers["Idempotency-Key"] = f"key {number}"


if os.environ.get("SCHEMATHESIS_HOOKS") == __name__:
    _hooks()
