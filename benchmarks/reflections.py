"""Generates files of reflections with the size and the structure of real ones."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

SEED = 7
FILE = "te/reflections.json"
"""Where a data directory has its reflections."""
SESSION, SESSIONS_OF_A_USER = 50, 10
_WORDS = [
    "plan",
    "listing",
    "commit",
    "focus",
    "kitchen",
    "merge",
    "output",
    "retry",
    "budget",
    "draft",
    "review",
    "calendar",
    "invoice",
    "summary",
    "search",
    "travel",
    "deadline",
    "note",
    "reminder",
    "meeting",
    "groceries",
    "report",
    "lesson",
    "follow-up",
    "schedule",
    "status",
    "update",
    "question",
]
_ELSEWHERE = ["création", "予約", "заказ", "résumé", "🚀"]


def make(number: int) -> bytes:
    """Return a file of reflections: fifty per session, ten sessions per user, one text in ten not ASCII."""
    from orbsite.storage.clock import utc_now
    from orbsite.storage.encoding.json_printer import stringify
    from orbsite.storage.encoding.timestamps import spell

    draw = random.Random(SEED)
    begin = utc_now() - timedelta(days=365)
    sessions: dict[str, list[dict[str, object]]] = {}
    for index in range(number):
        item: dict[str, object] = {
            "id": f"{draw.getrandbits(128):032x}",
            "input": a_text(draw, 20),
            "output": a_text(draw, 40),
            "tags": draw.sample(_WORDS, 2),
            "notes": "Task status: completed",
            "createdAt": spell(begin + timedelta(seconds=index)),
        }
        sessions.setdefault(f"session-{index // SESSION}", []).append(item)
    users: dict[str, list[str]] = {}
    for index, session in enumerate(sessions):
        users.setdefault(f"user-{index // SESSIONS_OF_A_USER}", []).append(session)
    return stringify({"sessions": sessions, "userSessions": users})


def write(base: Path, number: int) -> bytes:
    """Write a data directory with a number of reflections, and return the bytes of its file."""
    data, path = make(number), base / FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    base.chmod(0o700)
    path.write_bytes(data)
    path.chmod(0o600)
    return data


def a_text(draw: random.Random, words: int) -> str:
    """Return a text with a number of random words."""
    text = " ".join(draw.choices(_WORDS, k=words))
    return text if draw.randrange(10) else f"{text} {draw.choice(_ELSEWHERE)}"
