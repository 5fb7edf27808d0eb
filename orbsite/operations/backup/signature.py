"""The signature of a backup: an HMAC-SHA256 over its manifest, which has the checksums of all other files.

Checksums reveal damage, but an attacker can compute them anew; a signature needs the key. It is a comment in
SHA256SUMS, which `sha256sum --check` ignores: `# HMAC-SHA256 KEY-ID HEX`.
"""

from __future__ import annotations

import hmac
import re

from django.utils.crypto import salted_hmac

from orbsite.conf import app_settings

_SALT = "orbsite.operations.signature"
_LINE = re.compile(r"# HMAC-SHA256 (?P<key>[0-9a-f]{8}) (?P<code>[0-9a-f]{64})\n")


def line_of(manifest: bytes) -> bytes:
    """Return the line that signs a manifest with the first key."""
    key = app_settings.backup_keys()[0]
    return f"# HMAC-SHA256 {_id_of(key)} {_code(key, manifest)}\n".encode()


def problem_of(line: bytes, manifest: bytes) -> str | None:
    """Return the problem of a signature line; None where one of the keys made it."""
    match = _LINE.fullmatch(line.decode("ascii", "replace"))
    if match is None:
        return "its signature is malformed"
    keys = [key for key in app_settings.backup_keys() if _id_of(key) == match["key"]]
    if not keys:
        return f"it is signed with an unknown key ({match['key']})"
    is_right = any(hmac.compare_digest(_code(key, manifest), match["code"]) for key in keys)
    return None if is_right else "its signature does not match its manifest, which was changed"


def _code(key: str, manifest: bytes) -> str:
    return salted_hmac(_SALT, manifest, secret=key, algorithm="sha256").hexdigest()


def _id_of(key: str) -> str:
    """Return a short id of a key, which reveals nothing about the key."""
    return salted_hmac(f"{_SALT}.id", "", secret=key, algorithm="sha256").hexdigest()[:8]
