"""Reads the file `.env` and expands paths that begin with `~`, for the settings."""

from __future__ import annotations

import codecs
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def dotenv_text(path: Path) -> str:
    """Return the text of a `.env` file without a UTF-8 byte order mark. Raises ImproperlyConfigured."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ImproperlyConfigured(
            f"{path} cannot be read: {problem.strerror}; make it readable for the user that runs this process"
        ) from problem
    for mark, name in _OTHER_ENCODINGS.items():
        if data.startswith(mark):
            raise ImproperlyConfigured(f"{path} is in {name}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ImproperlyConfigured(f"{path} is not UTF-8 (line {line}); save it as UTF-8") from problem
    if "\0" in text:
        raise ImproperlyConfigured(
            f"{path} contains NUL bytes, perhaps because it is UTF-16 without a byte order mark; save it as UTF-8"
        )
    return text


def path_setting(name: str, value: str, base: Path) -> Path:
    """Return the path in a setting, relative to `base`, with `~` expanded. Raises ImproperlyConfigured."""
    try:
        return base / Path(value).expanduser()
    except RuntimeError as problem:
        raise ImproperlyConfigured(
            f"{name} begins with {value.split('/')[0]}, whose home directory is unknown; set {name} to an absolute path"
        ) from problem
