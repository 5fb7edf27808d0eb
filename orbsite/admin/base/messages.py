"""What a page says where something was not done, or where nobody knows whether it was."""

from __future__ import annotations

from orbsite.storage.errors import OrbError, SaveOutcomeUnknown


def refused(done: str, problem: OrbError) -> str:
    """Return what to say; `done` is what would have become of the records, such as `saved`."""
    if isinstance(problem, SaveOutcomeUnknown):
        return f"Nobody knows whether it was {done}; look at what is there now. {problem}"
    return f"Nothing was {done}: {problem}"
