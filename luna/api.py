"""The REST resources of Luna: profiles, the active mode, and the list of a user's modes."""

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

_FROM_ADDRESS = ("userId", "modeId")


class LunaView(OrbView):
    """The base class of Luna's resources."""

    domain = DOMAIN

    def page_of_profiles(self, wanted: PageRequest, user: str) -> tuple[list[Profile], list[Finding]]:
        """Return a user's profiles by mode, one more than the page shows, and the findings for undecodable ones."""
        unreadable = list[Finding]()
        where = {"user_id": user}
        listed = self.store.find(Profile, where, **wanted.bounds, oldest_first=True, findings=unreadable)
        return listed, unreadable

    def profile(self, user: str, mode: str) -> Profile | None:
        """Return a user's profile, or None. Raises RecordUnreadable if the stored profile cannot be decoded."""
        return fetched(self.store, Profile, (user, mode), user)


class Profiles(LunaView):
    """The profiles of a user, one for each mode."""

    parameters = ("limit", "cursor")

    @extend_schema(operation_id="listProfiles", parameters=[*PAGED, IF_NONE_MATCH], responses={200: page_of(Profile)})
    def get(self, request: Request, user: str) -> Any:
        """List the profiles of a user, ordered by mode."""
        wanted = PageRequest.of(request, Profile, {"user": user})
        profiles, unreadable = self.may_be_stale(lambda: self.page_of_profiles(wanted, user))
        return wanted.page(profiles, unreadable=unreadable)

    @extend_schema(
        operation_id="createProfile",
        parameters=[IDEMPOTENT],
        request={"application/json": fields_of(Profile, required=("modeId",), without=("userId",))},
        responses={201: shape(Profile)},
    )
    def post(self, request: Request, user: str) -> Any:
        """Create a profile from the mode's preset and the given fields. An existing profile is not changed (409)."""
        return once(self, lambda attempt: self._create(attempt, user), can_replay=True)

    def _create(self, attempt: IdempotentRequest, user: str) -> Any:
        given = self.object_of(self.body())
        mode = given.get("modeId")
        if not isinstance(mode, str):
            raise Problem(BAD, errors=[(step(ROOT, "modeId"), "is missing, or no text")])
        preset = new_profile(user, mode, attempt.moment).as_json()
        profile = self.record(Profile, preset | given | {"userId": self.owner_of(given, user)})
        taken = "The user already has a profile in this mode. Change it with PUT or PATCH."
        return self.created(profile, taken=taken, is_replay=attempt.is_replay)


class OneProfile(LunaView):
    """The profile of a user in one mode."""

    @extend_schema(operation_id="getProfile", parameters=[IF_NONE_MATCH], responses={200: shape(Profile)})
    def get(self, request: Request, user: str, mode: str) -> Any:
        """Return the profile of a user in one mode."""
        return self.shown(found(self.profile(user, mode)))

    @extend_schema(
        operation_id="saveProfile",
        parameters=[IF_MATCH],
        request={"application/json": fields_of(Profile, ("preferences", "constraints"), _FROM_ADDRESS)},
        responses={200: shape(Profile), 201: shape(Profile)},
    )
    def put(self, request: Request, user: str, mode: str) -> Any:
        """Create a profile or replace it completely. `updatedAt` defaults to the current time."""
        given = self.object_of(self.body())
        whole = {"updatedAt": spell(utc_now())} | given | {"userId": self.owner_of(given, user)}
        profile = self.record(Profile, whole | {"modeId": self.same(given, "modeId", mode)})
        return self.saved(profile, self.profile(user, mode))

    @extend_schema(
        operation_id="changeProfile",
        parameters=[IF_MATCH],
        request={"application/merge-patch+json": fields_of(Profile, without=_FROM_ADDRESS)},
        responses={200: shape(Profile)},
    )
    def patch(self, request: Request, user: str, mode: str) -> Any:
        """Change parts of a profile (JSON Merge Patch). `updatedAt` defaults to the current time."""
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
        """Delete a profile. The user's active mode does not change."""
        return self.removed(self.profile(user, mode))


class TheActiveMode(LunaView):
    """The active mode of a user."""

    @extend_schema(operation_id="getActiveMode", parameters=[IF_NONE_MATCH], responses={200: shape(ActiveMode)})
    def get(self, request: Request, user: str) -> Any:
        """Return the active mode of a user."""
        return self.shown(found(self._current(user)))

    @extend_schema(
        operation_id="setActiveMode",
        parameters=[IF_MATCH],
        request={"application/json": fields_of(ActiveMode, required=("modeId",), without=("userId", "updatedAt"))},
        responses={200: shape(ActiveMode)},
    )
    def put(self, request: Request, user: str) -> Any:
        """Set the active mode of a user. The user needs no profile in that mode."""
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
        wanted = PageRequest.of(request, Profile, {"user": user, "modes": True})
        profiles, unreadable = self.may_be_stale(lambda: self.page_of_profiles(wanted, user))
        return wanted.page(profiles, [profile.mode_id for profile in profiles], unreadable=unreadable)
