"""What Luna does, over any store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from luna.presets import new_profile
from luna.records import ActiveMode, Profile
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now


class Preferences:
    """The profiles and active modes of all users."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._now = now

    def get_profile(self, user_id: str, mode_id: str) -> Profile | None:
        """Return a user's profile in a mode, or None."""
        return self._store.fetch(Profile, [(user_id, mode_id)], user_id=user_id).get((user_id, mode_id))

    def get_or_create_profile(self, user_id: str, mode_id: str) -> Profile:
        """Return a user's profile in a mode, made from the mode's preset where there is none; never made twice."""
        found = self.get_profile(user_id, mode_id)
        return found or self._store.add(new_profile(user_id, mode_id, self._now()))[0]

    def save_profile(self, profile: Profile, *, expect: str | None = None) -> None:
        """Save a profile as it is, its `updated_at` included; see `Store.put` for `expect`."""
        self._store.put([profile], expect=expect)

    def get_active_mode(self, user_id: str) -> str | None:
        """Return the mode that a user is in, or None."""
        found = self._store.fetch(ActiveMode, [(user_id,)], user_id=user_id).get((user_id,))
        return None if found is None else found.mode_id

    def set_active_mode(self, user_id: str, mode_id: str) -> None:
        """Put a user into a mode; the mode needs no profile."""
        self._store.put([ActiveMode(user_id=user_id, mode_id=mode_id, updated_at=self._now())])

    def list_modes(self, user_id: str) -> list[str]:
        """Return the modes in which a user has a profile, by code point."""
        return [profile.mode_id for profile in self._store.find(Profile, {"user_id": user_id}, oldest_first=True)]

    def delete_profile(self, user_id: str, mode_id: str) -> bool:
        """Delete a profile, and tell whether there was one; the active mode stays."""
        return bool(self._store.delete(Profile, [(user_id, mode_id)], user_id=user_id))

    def delete_user(self, user_id: str) -> int:
        """Delete a user's profiles and active mode, and return how many records that was."""
        return sum(self._store.delete_where(kind, {"user_id": user_id}) for kind in (Profile, ActiveMode))
