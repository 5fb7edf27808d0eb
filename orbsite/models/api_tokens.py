"""API tokens: their scopes, their users and their secrets."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections, models

from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.sql.compiled_query import QueryParameter

logger = logging.getLogger(__name__)

SCOPES = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "operate": frozenset({"operate"}),
    "admin": frozenset({"read", "write", "operate", "admin"}),
}
"""The scopes of tokens, each with the scopes that it includes."""
SCOPE_MEANINGS = {
    "read": "reads records and exports users",
    "write": "reads and changes records",
    "operate": "starts checks, backups, exports and compaction, follows its jobs, and reads figures",
    "admin": "does all of that; also erases users, migrates, rolls back and forces compaction",
}
"""What each scope allows, for help texts and pages."""
MARK = "orb"
_BETWEEN_NOTES = timedelta(minutes=1)
_MOST_OF_AN_ID = 255


def scopes_help() -> str:
    """Return the descriptions of all scopes as one text."""
    return " ".join(f'"{scope}" {meaning}.' for scope, meaning in SCOPE_MEANINGS.items())


def check_scopes(value: Any) -> None:
    """Raise ValidationError unless the value is a list of one or more known scopes."""
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(SCOPES):
        raise ValidationError(f"enter a list of scopes: {', '.join(SCOPES)}")


def check_users(value: Any) -> None:
    """Raise ValidationError unless the value is a list of user ids."""
    if not isinstance(value, list) or not all(map(_is_an_id, value)):
        raise ValidationError('enter a list of user ids, such as ["ana"]; [] for none')


def _is_an_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MOST_OF_AN_ID and UNCLEAN.search(value) is None


class Token(models.Model):
    """An API token: named, limited and revocable. Its secret is shown once, and only a digest is stored."""

    name = models.CharField(max_length=100, help_text="What it is for.")
    prefix = models.CharField(max_length=8, unique=True, editable=False, help_text="Tells tokens apart; no secret.")
    digest = models.CharField(max_length=64, editable=False, help_text="SHA-256 of its secret.")
    scopes = models.JSONField(default=list, validators=[check_scopes], help_text=scopes_help())
    users = models.JSONField(
        default=list,
        blank=True,
        validators=[check_users],
        help_text='Whose data it is for, such as ["ana"]. It may start work that concerns these users alone.',
    )
    every_user = models.BooleanField(
        default=False, help_text="Whether it is for the data of every user. Work over the whole store needs this."
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")
    created_at = models.DateTimeField(editable=False)
    created_by = models.CharField(max_length=255, blank=True, editable=False)

    class Meta:
        db_table = "orb_tokens"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def allows(self, scope: str) -> bool:
        """Tell whether a scope of the token includes this scope."""
        return any(scope in SCOPES.get(one, ()) for one in self.scopes)

    def is_for(self, user_id: str) -> bool:
        """Tell whether the token allows access to a user's data."""
        return self.every_user or user_id in self.users

    def is_valid(self, now: datetime) -> bool:
        """Tell whether the token is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def note_use(self, now: datetime) -> None:
        """Save the time of the last use, at most once a minute. An error of the database is only logged."""
        if self.last_used_at is None or not timedelta() <= now - self.last_used_at < _BETWEEN_NOTES:
            try:
                Token.objects.filter(pk=self.pk).update(last_used_at=now)
            except DatabaseError as problem:
                logger.debug("the time of a token's last use was not saved: %s", type(problem).__name__)


def issue(token: Token, now: datetime) -> str:
    """Give a new token its secret, save it, and return the text that its bearer sends. It cannot be shown again."""
    token.prefix = secrets.token_hex(4)
    secret = secrets.token_urlsafe(32)
    token.digest, token.created_at = digest_of(secret), now
    token.full_clean()
    token.save(force_insert=True)
    return f"{MARK}_{token.prefix}_{secret}"


def bearer(text: str, now: datetime) -> Token | None:
    """Return the valid token of a bearer's text, or None. The time taken does not depend on the error."""
    mark, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    token = _of_prefix(prefix if prefix.isascii() and prefix.isalnum() else "")
    is_it = hmac.compare_digest(digest_of(secret), token.digest if token else digest_of(""))
    return token if token and is_it and mark == MARK and token.is_valid(now) else None


def _of_prefix(prefix: str) -> Token | None:
    connection, fields = connections["default"], Token._meta.concrete_fields
    with connection.cursor() as cursor:
        cursor.execute(_prefix_query(connection.vendor), [prefix])
        row = cursor.fetchone()
    if row is None:
        return None
    values = [_value(field, value) for field, value in zip(fields, row, strict=True)]
    return Token.from_db("default", [field.attname for field in fields], values)


@cache
def _prefix_query(vendor: str) -> str:  # noqa: ARG001 -- the key of the cache
    """Return the SQL query for a token by its prefix. Every request runs it, and Django compiles it slowly."""
    wanted = QueryParameter("prefix", Token._meta.get_field("prefix"))
    return str(Token.objects.filter(prefix=wanted).query.get_compiler("default").as_sql()[0])


def _value(field: Any, value: Any) -> Any:
    """Convert a raw column value as Django's field does."""
    if isinstance(field, models.JSONField):
        return json.loads(value)
    if isinstance(field, models.DateTimeField) and value is not None and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return bool(value) if isinstance(field, models.BooleanField) else value


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret. A random secret of 256 bits needs no slow hash."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
