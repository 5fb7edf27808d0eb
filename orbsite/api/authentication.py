"""Who asks: the bearer of one of our tokens. Cookies mean nothing here.

`request.auth` is the `Token`, `request.user` a `Caller`, which is nobody in Django's user table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from orbsite.api.throttling import note_guess
from orbsite.models.api_tokens import Token, bearer
from orbsite.storage.clock import utc_now

_WORDS = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever bears a token."""

    token: Token
    is_authenticated: bool = True

    @property
    def pk(self) -> int:
        """What throttles tell callers apart by."""
        return self.token.pk


class TokenAuthentication(BaseAuthentication):
    """Reads `Authorization: Bearer orb_…`. The answer is the same whatever is wrong with a token."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        """Return the caller and the token; None where no token was sent."""
        words = request.headers.get("Authorization", "").split(" ")
        if words[0].lower() != "bearer":
            return None
        now = utc_now()
        token = bearer(words[1], now) if len(words) == _WORDS else None
        if token is None:
            note_guess(request)
            raise AuthenticationFailed
        token.note_use(now)
        return Caller(token), token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- REST framework's signature
        """Return what a 401 asks for."""
        return 'Bearer realm="orb"'
