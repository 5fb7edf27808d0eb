"""Tokens for the API, and the answers that are kept for whoever asks for the same again."""

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
"""What a token may be allowed, and what each of it contains."""
SCOPE_MEANINGS = {
    "read": "reads records and exports users",
    "write": "reads and changes records",
    "operate": "starts checks, backups, exports and compaction, follows its jobs, and reads figures",
    "admin": "does all of that; also erases users, migrates, rolls back and forces compaction",
}
"""What each scope lets a token do, for the data that the token is for."""
MARK = "orb"
_BETWEEN_NOTES = timedelta(minutes=1)
_MOST_OF_AN_ID = 255


def scopes_help() -> str:
    """Return what each scope lets a token do, as one text."""
    return " ".join(f'"{scope}" {meaning}.' for scope, meaning in SCOPE_MEANINGS.items())


def check_scopes(value: Any) -> None:
    """Raise ValidationError unless this is a list of scopes."""
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(SCOPES):
        raise ValidationError(f"a list of scopes is wanted: {', '.join(SCOPES)}")


def check_users(value: Any) -> None:
    """Raise ValidationError unless this is a list of ids."""
    if not isinstance(value, list) or not all(map(_is_an_id, value)):
        raise ValidationError('a list of user ids is wanted, such as ["ana"]; [] for none')


def _is_an_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MOST_OF_AN_ID and UNCLEAN.search(value) is None


class Token(models.Model):
    """What lets a program in: named, limited and revocable. Its secret is shown once and kept as a digest alone."""

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
        """Tell whether one of its scopes contains this one."""
        return any(scope in SCOPES.get(one, ()) for one in self.scopes)

    def is_for(self, user_id: str) -> bool:
        """Tell whether it is for the data of a user."""
        return self.every_user or user_id in self.users

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def note_use(self, now: datetime) -> None:
        """Remember that it was used, at most once a minute, and where that can be: nobody is refused for the note."""
        if self.last_used_at is None or not timedelta() <= now - self.last_used_at < _BETWEEN_NOTES:
            try:
                Token.objects.filter(pk=self.pk).update(last_used_at=now)
            except DatabaseError as problem:
                logger.debug("the use of a token was not noted: %s", type(problem).__name__)


def issue(token: Token, now: datetime) -> str:
    """Give a new token its secret, save it, and return what its bearer sends; nobody can tell it again later."""
    token.prefix = secrets.token_hex(4)
    secret = secrets.token_urlsafe(32)
    token.digest, token.created_at = digest_of(secret), now
    token.full_clean()
    token.save(force_insert=True)
    return f"{MARK}_{token.prefix}_{secret}"


def bearer(text: str, now: datetime) -> Token | None:
    """Return the valid token that a bearer has sent, or None; takes as long whatever is wrong with it."""
    mark, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    token = _of_prefix(prefix if prefix.isascii() and prefix.isalnum() else "")
    is_it = hmac.compare_digest(digest_of(secret), token.digest if token else digest_of(""))
    return token if token and is_it and mark == MARK and token.is_valid(now) else None


def _of_prefix(prefix: str) -> Token | None:
    connection, fields = connections["default"], Token._meta.concrete_fields
    with connection.cursor() as cursor:
        cursor.execute(_asked(connection.vendor), [prefix])
        row = cursor.fetchone()
    if row is None:
        return None
    values = [_value(field, value) for field, value in zip(fields, row, strict=True)]
    return Token.from_db("default", [field.attname for field in fields], values)


@cache
def _asked(vendor: str) -> str:  # noqa: ARG001 -- the database that it is compiled for
    """Return the query for a token by its prefix, which each request asks; Django takes long to write it."""
    wanted = QueryParameter("prefix", Token._meta.get_field("prefix"))
    return str(Token.objects.filter(prefix=wanted).query.get_compiler("default").as_sql()[0])


def _value(field: Any, value: Any) -> Any:
    """Return a column's value as Django reads it."""
    if isinstance(field, models.JSONField):
        return json.loads(value)
    if isinstance(field, models.DateTimeField) and value is not None and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return bool(value) if isinstance(field, models.BooleanField) else value


def digest_of(secret: str) -> str:
    """Return what is kept of a secret of 256 bits; it needs no slow hash, for nobody can try them all."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()
