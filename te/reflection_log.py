"""What Te does, over any store."""

from __future__ import annotations

import msgspec

from orbsite.storage.base.store import Store
from orbsite.storage.errors import SeveralUsers
from te.records import Reflection

DEFAULT_SESSION = "default"
"""The session of a reflection that is saved without one."""


class ReflectionLog:
    """The reflections of all users."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save_reflection(self, reflection: Reflection, user_id: str, session_id: str | None = None) -> Reflection:
        """Save a reflection as this user's, and return it with its user and session.

        The user's reflection of that id is replaced; another user's of the same id stays as it is.
        """
        session = DEFAULT_SESSION if session_id is None else session_id
        saved = msgspec.structs.replace(reflection, user_id=user_id, session_id=session)
        self._store.put([saved])
        return saved

    def get_reflections(self, user_id: str, limit: int | None = 100) -> list[Reflection]:
        """Return a user's reflections, newest first."""
        return self._store.find(Reflection, {"user_id": user_id}, limit=limit)

    def get_reflections_by_session(
        self, session_id: str, limit: int | None = 100, user_id: str | None = None
    ) -> list[Reflection]:
        """Return a session's reflections, newest first; of all its users, or of one."""
        return self._store.find(Reflection, _owned({"session_id": session_id}, user_id), limit=limit)

    def get_reflection(self, id: str, user_id: str | None = None) -> Reflection | None:  # noqa: A002 -- the guide's name
        """Return one reflection, or None where there is none, or none of this user's.

        Raises SeveralUsers where no user is named and several have a reflection of this id.
        """
        if user_id is not None:
            return self._store.fetch(Reflection, [(user_id, id)]).get((user_id, id))
        found = self._store.find(Reflection, {"id": id}, limit=2)
        if len(found) > 1:
            raise SeveralUsers("several users have a reflection of this id; name the user too")
        return found[0] if found else None

    def delete_reflection(self, id: str, user_id: str | None = None) -> bool:  # noqa: A002
        """Delete one reflection, and tell whether there was one. Raises SeveralUsers as `get_reflection` does."""
        found = None if user_id is not None else self.get_reflection(id)
        owner = user_id if found is None else found.user_id
        return owner is not None and bool(self._store.delete(Reflection, [(owner, id)]))

    def delete_session(self, session_id: str, user_id: str | None = None) -> int:
        """Delete a session's reflections, of all its users or of one, and return how many there were."""
        return self._store.delete_where(Reflection, _owned({"session_id": session_id}, user_id))

    def delete_user(self, user_id: str) -> int:
        """Delete a user's reflections, and return how many there were."""
        return self._store.delete_where(Reflection, {"user_id": user_id})


def _owned(where: dict[str, str], user_id: str | None) -> dict[str, str]:
    return where if user_id is None else where | {"user_id": user_id}
