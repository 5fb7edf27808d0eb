"""Runs a harness as a program of its own, on a file system in memory where there is one: no power goes here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SEED = os.environ.get("ORB_SEED", "11")
_MEMORY = Path("/dev/shm")


def run(module: str, *arguments: str, before: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
    """Return what it prints; `arguments` are its kind, and what follows the directory."""
    kind, *rest = arguments
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="orb-torture-") as work:
        command = [*before, sys.executable, "-m", f"tests.torture.{module}", kind, work, *rest]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment}
        root = Path(__file__).parents[2]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment, check=True)
    result: dict[str, Any] = json.loads(ended.stdout)
    counts = {name: value for name, value in result.items() if name != "violations"}
    sys.stdout.write(f"{module} {' '.join(arguments)}: {counts}, {len(result['violations'])} violations\n")
    return result
