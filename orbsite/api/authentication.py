"""Authenticates requests by bearer token. Cookies are ignored.

`request.auth` is the `Token`, `request.user` a `Caller`, which has no row in Django's user table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from typing_extensions import override

from orbsite.api.throttling import note_guess
from orbsite.models.api_tokens import Token, bearer
from orbsite.storage.clock import utc_now

_SCHEME_AND_TOKEN = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated sender of a request: the bearer of a token."""

    token: Token
    is_authenticated: bool = True

    @property
    def pk(self) -> int:
        """The primary key of the token, by which throttles distinguish callers."""
        return self.token.pk


class TokenAuthentication(BaseAuthentication):
    """Reads `Authorization: Bearer orb_…`. Unknown, expired and revoked tokens get the same response."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """Return the caller and the token, or None if the request has no token. Raises AuthenticationFailed."""
        words = request.headers.get("Authorization", "").split(" ")
        if words[0].lower() != "bearer":
            return None
        now = utc_now()
        token = bearer(words[1], now) if len(words) == _SCHEME_AND_TOKEN else None
        if token is None:
            note_guess(request)
            raise AuthenticationFailed
        token.note_use(now)
        return Caller(token), token

    @override
    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="orb"'
