"""The operations of Luna on profiles and active modes, for any store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from luna.presets import new_profile
from luna.records import ActiveMode, Profile
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now


class Preferences:
    """Reads and writes profiles and active modes in a store."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._now = now

    def get_profile(self, user_id: str, mode_id: str) -> Profile | None:
        """Return a user's profile in a mode, or None."""
        return self._store.fetch(Profile, [(user_id, mode_id)], user_id=user_id).get((user_id, mode_id))

    def get_or_create_profile(self, user_id: str, mode_id: str) -> Profile:
        """Return a user's profile in a mode. A missing profile is created from the mode's preset, exactly once."""
        existing = self.get_profile(user_id, mode_id)
        return existing or self._store.add(new_profile(user_id, mode_id, self._now()))[0]

    def save_profile(self, profile: Profile, *, expect: str | None = None) -> None:
        """Save a profile unchanged, including its `updated_at`. See `Store.put` for `expect`."""
        self._store.put([profile], expect=expect)

    def get_active_mode(self, user_id: str) -> str | None:
        """Return the id of a user's active mode, or None."""
        active = self._store.fetch(ActiveMode, [(user_id,)], user_id=user_id).get((user_id,))
        return None if active is None else active.mode_id

    def set_active_mode(self, user_id: str, mode_id: str) -> None:
        """Set the active mode of a user. The user needs no profile in that mode."""
        self._store.put([ActiveMode(user_id=user_id, mode_id=mode_id, updated_at=self._now())])

    def list_modes(self, user_id: str) -> list[str]:
        """Return the modes in which a user has a profile, ordered by code point."""
        return [profile.mode_id for profile in self._store.find(Profile, {"user_id": user_id}, oldest_first=True)]

    def delete_profile(self, user_id: str, mode_id: str) -> bool:
        """Delete a profile, and tell whether it existed. The active mode does not change."""
        return bool(self._store.delete(Profile, [(user_id, mode_id)], user_id=user_id))

    def delete_user(self, user_id: str) -> int:
        """Delete a user's profiles and active mode, and return the number of deleted records."""
        return sum(self._store.delete_where(kind, {"user_id": user_id}) for kind in (Profile, ActiveMode))
