"""Addresses of source databases: parses them, and shows them without user names and passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlencode

from orbsite.storage.errors import StoreUnavailable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_POSTGRESQL = ("postgres", "postgresql")
_SECRET = re.compile(r"pass(word|file|phrase)?$|secret|token", re.IGNORECASE)
_PRIVATE = ("user", "options")
_PASSWORD = re.compile(r"((?:ssl)?pass(?:word|file)\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)
_HIDDEN = "***"
NEEDS_PSYCOPG = "cannot be read without psycopg; run: pip install 'orb-persistence[postgres]'"


class Address:
    """The address of a database, as the user gave it."""

    def __init__(self, text: str) -> None:
        """Parse the address. Raises StoreUnavailable where it is not valid."""
        self.text = text
        self.path: Path | None = None
        """The file, if the address names one."""
        self._secrets: set[str] = set()
        scheme = _SCHEME.match(text)
        if _is_keywords(text):
            self.name = self._named_by_keywords(text)
        elif scheme is None:
            self.name, self.path = text, Path(text)
        else:
            self.name = self._named_by_url(text, scheme[1])
            if scheme[1].lower() == "sqlite":
                self.path = _path_of(text)
            elif scheme[1].lower() not in _POSTGRESQL:
                raise StoreUnavailable(
                    f"{self.name} is not an address of SQLite or PostgreSQL; use path/to/orb.db, "
                    "sqlite:////path/to/orb.db, or postgresql://user@host/name"
                )

    def masked(self, message: object) -> str:
        """Return a driver's message without the secrets of the address, which the driver may repeat."""
        shown = str(message).replace(self.text, self.name)
        for secret in sorted(self._secrets, key=len, reverse=True):
            shown = shown.replace(secret, _HIDDEN)
        return " ".join(_PASSWORD.sub(rf"\1{_HIDDEN}", shown).split())

    def _named_by_keywords(self, text: str) -> str:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo  # `_is_keywords` has tried it

        known = conninfo_to_dict(text)
        self._keep_secret(str(value) for name, value in known.items() if _SECRET.search(name))
        shown = {name: value for name, value in known.items() if not _SECRET.search(name) and name not in _PRIVATE}
        return make_conninfo("", **shown)

    def _named_by_url(self, text: str, scheme: str) -> str:
        """Return the address without user and password, in any part of it."""
        rest = text[len(scheme) + 1 :]
        slashes = "//" if rest.startswith("//") else ""
        rest = rest.removeprefix("//")
        if slashes and scheme.lower() != "sqlite":
            rest = self._without_sign_in(rest)
        place, mark, query = rest.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        self._keep_secret(value for name, value in pairs if _SECRET.search(name))
        self._keep_secret(part.partition("=")[2] for part in query.split("&") if _SECRET.search(part.partition("=")[0]))
        shown = [(name, value) for name, value in pairs if not _SECRET.search(name) and name not in _PRIVATE]
        if len(shown) < len(pairs):
            query = urlencode(shown, safe="/:,", quote_via=quote)
        return f"{scheme}:{slashes}{place}{mark if query else ''}{query}"

    def _without_sign_in(self, rest: str) -> str:
        """Return the address after the user and password, which may hold characters that should be percent-encoded."""
        head = rest.partition("?")[0]
        if "@" in head:
            sign_in, _, kept = head.rpartition("@")
            kept += rest[len(head) :]
        elif "@" in rest and not re.match(r"[^:/]*(:[0-9]*)?(/|$)", head):
            sign_in, _, kept = rest.rpartition("@")
        else:
            return rest
        self._keep_secret([sign_in.partition(":")[2]])
        return kept

    def _keep_secret(self, secrets: Iterable[str]) -> None:
        for secret in filter(None, secrets):
            self._secrets |= {secret, unquote(secret), unquote_plus(secret), quote(secret, safe="")}


def _is_keywords(text: str) -> bool:
    """Tell whether an address has the form `host=... dbname=...` and is not the name of a file."""
    if "=" not in text or _SCHEME.match(text) or _exists(text):
        return False
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as problem:
        raise StoreUnavailable(f"the address is no file, and another database {NEEDS_PSYCOPG}") from problem
    try:
        return bool(conninfo_to_dict(text))
    except psycopg.Error:
        return bool(_PASSWORD.search(text)) and _refuse_keywords()


def _refuse_keywords() -> bool:
    raise StoreUnavailable(
        "the address has keywords that PostgreSQL does not know; use host=... dbname=..., or postgresql://user@host/name"
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _path_of(text: str) -> Path:
    # as in DATABASE_URL: three slashes before a relative path, four before one from the root
    place = text.partition(":")[2].partition("?")[0]
    if place.startswith("//"):
        place = place[2:].partition("/")[2]
    return Path(unquote(place))
