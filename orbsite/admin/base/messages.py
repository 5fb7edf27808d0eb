"""Messages for actions that failed, or whose outcome is unknown."""

from __future__ import annotations

from orbsite.storage.errors import OrbError, SaveOutcomeUnknown


def refused(done: str, problem: OrbError) -> str:
    """Return the message for a failed action; `done` is the action's past participle, such as `saved`."""
    if isinstance(problem, SaveOutcomeUnknown):
        return f"It is unknown whether the change was {done}. Reload the page and check the current state. {problem}"
    return f"Nothing was {done}: {problem}"
