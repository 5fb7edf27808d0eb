"""Inputs that others have collected, with their licences beside them: files of JSON, good and bad, and naughty strings."""

from __future__ import annotations

import json
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"


def json_files(prefix: str = "") -> list[Path]:
    """Return the files of JSONTestSuite: `y_` are valid, `n_` are not, of `i_` each parser thinks as it likes."""
    return sorted((DATA / "JSONTestSuite/test_parsing").glob(f"{prefix}*.json"))


def naughty_strings() -> list[str]:
    """Return the big list of naughty strings."""
    return list(json.loads((DATA / "blns/blns.json").read_bytes()))
