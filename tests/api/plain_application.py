"""An application for tests of the server alone: one path never answers, and another tells what the server gave it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"].startswith("/hang"):
        time.sleep(600)
    told = json.dumps({name: environ.get(name) for name in ("SCRIPT_NAME", "PATH_INFO")}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(told)))])
    return [told]
