"""The operations of Te on reflections, for any store."""

from __future__ import annotations

import msgspec

from orbsite.storage.base.store import Store
from orbsite.storage.errors import SeveralUsers
from te.records import Reflection

DEFAULT_SESSION = "default"
"""The session of a reflection that is saved without one."""


class ReflectionLog:
    """Reads and writes reflections in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save_reflection(self, reflection: Reflection, user_id: str, session_id: str | None = None) -> Reflection:
        """Save a reflection for a user, and return it with its user and session.

        An existing reflection of the user with the same id is replaced. Those of other users do not change.
        """
        session = DEFAULT_SESSION if session_id is None else session_id
        saved = msgspec.structs.replace(reflection, user_id=user_id, session_id=session)
        self._store.put([saved])
        return saved

    def get_reflections(self, user_id: str, limit: int | None = 100) -> list[Reflection]:
        """Return the newest reflections of a user, newest first."""
        return self._store.find(Reflection, {"user_id": user_id}, limit=limit)

    def get_reflections_by_session(
        self, session_id: str, limit: int | None = 100, user_id: str | None = None
    ) -> list[Reflection]:
        """Return the newest reflections of a session, newest first, of all users or of one."""
        return self._store.find(Reflection, _owned({"session_id": session_id}, user_id), limit=limit)

    def get_reflection(self, id: str, user_id: str | None = None) -> Reflection | None:  # noqa: A002 -- the guide's name
        """Return the reflection with an id, of any user or of the given one, or None.

        Raises SeveralUsers if no user is given and several users have a reflection with this id.
        """
        if user_id is not None:
            return self._store.fetch(Reflection, [(user_id, id)]).get((user_id, id))
        matches = self._store.find(Reflection, {"id": id}, limit=2)
        if len(matches) > 1:
            raise SeveralUsers("several users have a reflection with this id; pass user_id too")
        return matches[0] if matches else None

    def delete_reflection(self, id: str, user_id: str | None = None) -> bool:  # noqa: A002
        """Delete a reflection, and tell whether it existed. Raises SeveralUsers as `get_reflection` does."""
        reflection = None if user_id is not None else self.get_reflection(id)
        owner = user_id if reflection is None else reflection.user_id
        return owner is not None and bool(self._store.delete(Reflection, [(owner, id)]))

    def delete_session(self, session_id: str, user_id: str | None = None) -> int:
        """Delete the reflections of a session, of all users or of one, and return their number."""
        return self._store.delete_where(Reflection, _owned({"session_id": session_id}, user_id))

    def delete_user(self, user_id: str) -> int:
        """Delete the reflections of a user, and return their number."""
        return self._store.delete_where(Reflection, {"user_id": user_id})


def _owned(where: dict[str, str], user_id: str | None) -> dict[str, str]:
    return where if user_id is None else where | {"user_id": user_id}
