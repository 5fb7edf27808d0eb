"""The files for a deployment name only variables that the settings read, and give no secret a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file()]
PAGES = [ROOT / "docs/how-to/container.md", ROOT / "docs/how-to/upgrade.md"]
READERS = [
    ROOT / "orbsite/settings.py",
    *(ROOT / "orbsite/conf").glob("*.py"),
    *(ROOT / "orbsite/runtime").glob("*.py"),
]
READ = re.compile(
    r'(?:env\.\w+|environ\.get|_text|_number|_flag|path_of)\(\s*"([A-Z][A-Z_]+)"|^VARIABLE = "(\w+)"', re.M
)
NAMED = re.compile(r"\bORB_[A-Z_]+\b|\b(?:SECRET_KEY|ALLOWED_HOSTS|DATABASE_URL|WEB_CONCURRENCY|DEBUG)\b")
SET = re.compile(r"^(?:ENV |Environment=| +)?([A-Z][A-Z_]{3,})[=:]", re.M)
OF_OTHERS = {
    *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
    *("POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"),  # of the image of PostgreSQL
}


def _read() -> set[str]:
    return {name for path in READERS for found in READ.findall(path.read_text()) for name in found if name}


def test_the_variables_that_the_settings_read_are_found() -> None:
    assert len(_read()) > 40
    assert {"ORB_HOME", "SECRET_KEY", "ORB_PROXIES", "ORB_BIND", "ORB_STATIC_ROOT", "ORB_API_RATE"} <= _read()


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_names_and_sets_only_variables_that_are_read(path: Path) -> None:
    text = path.read_text()
    assert set(NAMED.findall(text)) <= _read()
    assert set(SET.findall(text)) <= _read() | OF_OTHERS


def test_a_variable_that_is_not_read_is_found() -> None:
    assert NAMED.findall("# ORB_PROXY=1 and `ORB_PROXIES`") == ["ORB_PROXY", "ORB_PROXIES"]
    assert SET.findall("ENV ORB_A=1 \\\n    ORB_B=2\n      SECRET: ${X}\nEnvironment=HOMES=1") == [
        "ORB_A",
        "ORB_B",
        "SECRET",
        "HOMES",
    ]


def test_secrets_have_no_value_and_no_default() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy/orb.env.example").read_text(), re.MULTILINE))
    assert {name: settings[name] for name in ("SECRET_KEY", "ALLOWED_HOSTS", "POSTGRES_PASSWORD")} == dict.fromkeys(
        ("SECRET_KEY", "ALLOWED_HOSTS", "POSTGRES_PASSWORD"), ""
    )
    for path in FILES:
        for name, given in re.findall(r"^\s*(SECRET_KEY|POSTGRES_PASSWORD)[=:] *(\S*)", path.read_text(), re.M):
            assert given in ("", f"${{{name}:?set"), f"{path}: {name}"
