"""Luna's resources: profiles, the active mode, and the modes that a user has."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from luna.domain import DOMAIN
from luna.presets import new_profile
from luna.records import ActiveMode, Profile
from orbsite.api.idempotency import IdempotentRequest, once
from orbsite.api.merge_patch import patched
from orbsite.api.pagination import PageRequest
from orbsite.api.problems import BAD, Problem
from orbsite.api.schema import IDEMPOTENT, IF_MATCH, IF_NONE_MATCH, PAGED, fields_of, page_of, shape
from orbsite.api.views import OrbView, fetched, found
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.findings import ROOT, Finding, step

_OF_THE_ADDRESS = ("userId", "modeId")


class LunaView(OrbView):
    """A resource of Luna."""

    domain = DOMAIN

    def page_of_profiles(self, asked: PageRequest, user: str) -> tuple[list[Profile], list[Finding]]:
        """Return a user's profiles by mode, one more than a page has, and what of them does not decode."""
        unreadable = list[Finding]()
        where = {"user_id": user}
        listed = self.store.find(Profile, where, **asked.bounds, oldest_first=True, findings=unreadable)
        return listed, unreadable

    def profile(self, user: str, mode: str) -> Profile | None:
        """Return a user's profile, or None. Raises RecordUnreadable where its place holds what does not decode."""
        return fetched(self.store, Profile, (user, mode), user)


class Profiles(LunaView):
    """The profiles of a user, one for each mode."""

    parameters = ("limit", "cursor")

    @extend_schema(operation_id="listProfiles", parameters=[*PAGED, IF_NONE_MATCH], responses={200: page_of(Profile)})
    def get(self, request: Request, user: str) -> Any:
        """List a user's profiles by mode."""
        asked = PageRequest.of(request, Profile, {"user": user})
        profiles, unreadable = self.page_of_profiles(asked, user)
        return asked.page(profiles, unreadable=unreadable)

    @extend_schema(
        operation_id="createProfile",
        parameters=[IDEMPOTENT],
        request={"application/json": fields_of(Profile, required=("modeId",), without=("userId",))},
        responses={201: shape(Profile)},
    )
    def post(self, request: Request, user: str) -> Any:
        """Create a profile, from the mode's preset but for what is given. One that is there already stays (409)."""
        return once(self, lambda attempt: self._create(attempt, user), can_replay=True)

    def _create(self, attempt: IdempotentRequest, user: str) -> Any:
        given = self.object_of(self.body())
        mode = given.get("modeId")
        if not isinstance(mode, str):
            raise Problem(BAD, errors=[(step(ROOT, "modeId"), "is missing, or no text")])
        start = new_profile(user, mode, attempt.moment).as_json()
        profile = self.record(Profile, start | given | {"userId": self.owner_of(given, user)})
        taken = "The user has a profile in this mode already."
        return self.created(profile, taken=taken, is_replay=attempt.is_replay)


class OneProfile(LunaView):
    """A user's profile in a mode."""

    @extend_schema(operation_id="getProfile", parameters=[IF_NONE_MATCH], responses={200: shape(Profile)})
    def get(self, request: Request, user: str, mode: str) -> Any:
        """Return a profile."""
        return self.shown(found(self.profile(user, mode)))

    @extend_schema(
        operation_id="saveProfile",
        parameters=[IF_MATCH],
        request={"application/json": fields_of(Profile, ("preferences", "constraints"), _OF_THE_ADDRESS)},
        responses={200: shape(Profile), 201: shape(Profile)},
    )
    def put(self, request: Request, user: str, mode: str) -> Any:
        """Save a profile as a whole. `updatedAt` is now where it is not given."""
        given = self.object_of(self.body())
        whole = {"updatedAt": spell(utc_now())} | given | {"userId": self.owner_of(given, user)}
        profile = self.record(Profile, whole | {"modeId": self.same(given, "modeId", mode)})
        return self.saved(profile, self.profile(user, mode))

    @extend_schema(
        operation_id="changeProfile",
        parameters=[IF_MATCH],
        request={"application/merge-patch+json": fields_of(Profile, without=_OF_THE_ADDRESS)},
        responses={200: shape(Profile)},
    )
    def patch(self, request: Request, user: str, mode: str) -> Any:
        """Change parts of a profile (JSON Merge Patch). `updatedAt` is now where it is not given."""
        return self.shown(
            patched(
                self,
                request,
                lambda: self.profile(user, mode),
                fixed={"userId": user, "modeId": mode},
                implied={"updatedAt": spell(utc_now())},
            )
        )

    @extend_schema(operation_id="deleteProfile", parameters=[IF_MATCH], responses={204: None})
    def delete(self, request: Request, user: str, mode: str) -> Any:
        """Delete a profile; the active mode stays."""
        return self.removed(self.profile(user, mode))


class TheActiveMode(LunaView):
    """The mode that a user is in."""

    @extend_schema(operation_id="getActiveMode", parameters=[IF_NONE_MATCH], responses={200: shape(ActiveMode)})
    def get(self, request: Request, user: str) -> Any:
        """Return the mode that a user is in."""
        return self.shown(found(self._current(user)))

    @extend_schema(
        operation_id="setActiveMode",
        parameters=[IF_MATCH],
        request={"application/json": fields_of(ActiveMode, required=("modeId",), without=("userId", "updatedAt"))},
        responses={200: shape(ActiveMode)},
    )
    def put(self, request: Request, user: str) -> Any:
        """Put a user into a mode; the mode needs no profile."""
        given = self.object_of(self.body())
        whole = given | {"userId": self.owner_of(given, user), "updatedAt": spell(utc_now())}
        return self.saved(self.record(ActiveMode, whole), self._current(user), new=200)

    def _current(self, user: str) -> ActiveMode | None:
        return fetched(self.store, ActiveMode, (user,), user)


class Modes(LunaView):
    """The modes in which a user has a profile."""

    parameters = ("limit", "cursor")

    @extend_schema(operation_id="listModes", parameters=[*PAGED, IF_NONE_MATCH], responses={200: page_of("Id")})
    def get(self, request: Request, user: str) -> Any:
        """List the modes in which a user has a profile."""
        asked = PageRequest.of(request, Profile, {"user": user, "modes": True})
        profiles, unreadable = self.page_of_profiles(asked, user)
        return asked.page(profiles, [profile.mode_id for profile in profiles], unreadable=unreadable)
