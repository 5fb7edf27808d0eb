"""What a token may do: 404 for other users' things, whatever there is of them, then 403 where a scope is lacking."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orbsite.tokens import Token


class TokenMay(BasePermission):
    """Asks for the user of the route, and for the scope that the view names for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the token may do this. Raises Http404 for another user's address."""
        token = request.auth
        if not isinstance(token, Token):
            return False
        user = view.kwargs.get("user")
        if user is not None and not token.is_for(user):
            raise Http404
        scope = view.scopes.get(request.method)
        return scope is not None and token.allows(scope)
