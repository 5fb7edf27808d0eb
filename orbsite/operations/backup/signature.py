"""The signature of a backup: an HMAC-SHA256 over its manifest, which has the sums of everything else.

Sums tell damage, and whoever changes a backup can make them anew; a signature takes the key. It is a comment in
SHA256SUMS, which `sha256sum --check` passes over: `# HMAC-SHA256 KEY-ID HEX`.
"""

from __future__ import annotations

import hmac
import re

from django.utils.crypto import salted_hmac

from orbsite.conf import app_settings

_SALT = "orbsite.operations.signature"
_LINE = re.compile(r"# HMAC-SHA256 (?P<key>[0-9a-f]{8}) (?P<code>[0-9a-f]{64})\n")


def line_of(manifest: bytes) -> bytes:
    """Return the line that signs a manifest, by the first key."""
    key = app_settings.backup_keys()[0]
    return f"# HMAC-SHA256 {_id_of(key)} {_code(key, manifest)}\n".encode()


def problem_of(line: bytes, manifest: bytes) -> str | None:
    """Return what is wrong with a line that signs a manifest; None where one of the keys has made it."""
    match = _LINE.fullmatch(line.decode("ascii", "replace"))
    if match is None:
        return "its signature is none"
    keys = [key for key in app_settings.backup_keys() if _id_of(key) == match["key"]]
    if not keys:
        return f"it is signed by a key that is not known here ({match['key']})"
    is_right = any(hmac.compare_digest(_code(key, manifest), match["code"]) for key in keys)
    return None if is_right else "its signature does not go with its manifest: somebody has changed it"


def _code(key: str, manifest: bytes) -> str:
    return salted_hmac(_SALT, manifest, secret=key, algorithm="sha256").hexdigest()


def _id_of(key: str) -> str:
    """Return what tells keys apart, and nothing about them."""
    return salted_hmac(f"{_SALT}.id", "", secret=key, algorithm="sha256").hexdigest()[:8]
