"""Checks what a token may do: 404 for other users' data, whether it exists or not, then 403 for a missing permission.

A token has scopes, which list the actions that it allows, and a set of users whose data it may access. A view names
the scope that each method needs. An operation declares its own needs in `orbsite.operations.jobs.parameters.Request`.
"""

from __future__ import annotations

from typing import Any

from django.http import Http404
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orbsite.api.problems import FORBIDDEN, Problem
from orbsite.models.api_tokens import Token
from orbsite.models.jobs import Job
from orbsite.operations.jobs.catalog import read
from orbsite.operations.jobs.parameters import Request as Operation
from orbsite.storage.errors import OrbError

EVERY_USER = "This request concerns the data of every user. Use a token that is valid for every user."
OTHER_USER = "The token is not valid for the user that this request concerns."


class TokenMay(BasePermission):
    """Checks the user of the route, the scope that the method needs, and whether every user is needed."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the token allows the request. Raises Http404 for another user's address, and Problem."""
        token = request.auth
        if not isinstance(token, Token):
            return False
        user = view.kwargs.get("user")
        if user is not None and not token.is_for(user):
            raise Http404
        scope = view.scopes.get(request.method)
        if scope is None:
            return False
        require(token, scope)
        if view.needs_every_user and not token.every_user:
            raise Problem(FORBIDDEN, EVERY_USER)
        return True


def require(token: Token, scope: str) -> None:
    """Raise Problem if the token lacks the scope."""
    if not token.allows(scope):
        raise Problem(FORBIDDEN, f"The token lacks the scope that this request needs: {scope}.")


def require_for(token: Token, operation: Operation) -> None:
    """Raise Problem if the token does not allow the operation with these arguments."""
    require(token, operation.needed_scope)
    user = operation.user_concerned
    if user is None and not token.every_user:
        raise Problem(FORBIDDEN, EVERY_USER)
    if user is not None and not token.is_for(user):
        raise Problem(FORBIDDEN, OTHER_USER)


def job_for(token: Token, number: int) -> Job:
    """Return a job that the token may see. Raises Http404.

    A token for every user sees all jobs. Any other token sees the jobs that it started for its own users.
    """
    jobs = Job.objects.filter(pk=number)
    job = (jobs if token.every_user else jobs.filter(token=token)).first()
    if job is None or not (token.every_user or _concerns_users_of(token, job)):
        raise Http404
    return job


def _concerns_users_of(token: Token, job: Job) -> bool:
    try:
        user = read(job.operation, job.arguments).user_concerned
    except OrbError:  # an operation or an argument of another version
        return False
    return user is not None and token.is_for(user)
