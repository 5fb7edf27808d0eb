"""Logs as lines of JSON, each with the request that it belongs to, and never with a traceback's texts.

A message is whatever the code says, which names ids at most; an error is told by its type and by where it happened,
because the texts of errors quote what they choked on.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this thread is about, or nothing."""

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_PLAIN = (str, int, float, bool, type(None))


class JSONLines(logging.Formatter):
    """Formats a record as one line of ASCII: line breaks, colours and directions of text cannot pass for others."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if request := request_id.get():
            line["request"] = request
        line |= {name: value for name, value in record.__dict__.items() if name not in _USUAL and _is_plain(value)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{one.filename}:{one.lineno} {one.name}" for one in _frames(record.exc_info[2])]
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    """Return what a record says; where Django names the path of a request, which names users, it is left out."""
    path = getattr(getattr(record, "request", None), "path", None)
    if path is None or not isinstance(record.args, tuple):
        return record.getMessage()
    return str(record.msg) % tuple("…" if one == path else one for one in record.args)


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN)


def _frames(trace: Any) -> list[traceback.FrameSummary]:
    return list(traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False))


def logging_to_standard_error(level: str) -> dict[str, Any]:
    """Return the settings that write every log as lines of JSON; those of Django that quote addresses are left out."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "orbsite.logs.JSONLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},
            "axes": {"level": "ERROR"},
            "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
            "gunicorn.access": {"handlers": [], "level": "ERROR", "propagate": True},
        },
    }
