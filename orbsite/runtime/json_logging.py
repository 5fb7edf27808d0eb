"""Logs as lines of JSON, each with the request that it belongs to, and never with a traceback's texts.

A message is whatever the code says, which names ids at most; an error is told by its type and by where it happened,
because the texts of errors quote what they choked on. That holds for the arguments of a message too, and for libraries
that quote requests in theirs: gunicorn quotes addresses and headers, Django the hosts that it refuses.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this thread is about, or nothing."""

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_PLAIN = (str, int, float, bool, type(None))
_OURS = ("orbsite.", "luna.", "te.")
_HIDDEN = "…"
_OF_GUNICORN = re.compile(
    r"Starting gunicorn|Listening at:|Using worker:|Handling signal:|Ignoring unknown signal|Unhandled signal|"
    r"Booting worker|Worker exiting|WORKER TIMEOUT|Worker \(pid|Reaped unknown|Hang up:|Parent changed|"
    r"Shutting down:"
)
"""Messages of gunicorn about itself, whose arguments are process ids, signals and its own addresses."""
_REFUSED = re.compile(r"Invalid request from ip=([0-9A-Fa-f.:]*): ")
_QUOTES = re.compile("[\"':\\n]")


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
    """Return what a record says; where a library names the path of a request, which names users, it is left out."""
    if record.name.startswith("gunicorn"):
        return _of_gunicorn(record)
    if record.name.startswith("django.security.") and not record.args:
        return _beginning(str(record.msg))
    path = getattr(getattr(record, "request", None), "path", None)
    if not isinstance(record.args, tuple):
        return record.getMessage()
    return _filled(record, tuple(_HIDDEN if path is not None and one == path else _told(one) for one in record.args))


def _of_gunicorn(record: logging.LogRecord) -> str:
    """Return what gunicorn says, without what it quotes of requests."""
    message = str(record.msg)
    if _OF_GUNICORN.match(message):
        return record.getMessage()
    if match := _REFUSED.match(message):
        kind = sys.exc_info()[0]
        return match[0] + (_HIDDEN if kind is None else kind.__name__)
    if not isinstance(record.args, tuple) or not record.args:
        return _beginning(message)
    return _filled(record, tuple(one if isinstance(one, int) else _HIDDEN for one in record.args))


def _filled(record: logging.LogRecord, arguments: tuple[Any, ...]) -> str:
    return str(record.msg) % arguments if arguments else str(record.msg)


def _beginning(message: str) -> str:
    """Return a message up to where it begins to quote."""
    match = _QUOTES.search(message)
    return message if match is None else f"{message[: match.start()]} {_HIDDEN}"


def _told(argument: Any) -> Any:
    """Return an argument of a message; of an error that is not this project's, the type and the system's reason."""
    if not isinstance(argument, BaseException) or type(argument).__module__.startswith(_OURS):
        return argument
    reason = getattr(argument, "strerror", None) if isinstance(argument, OSError) else None
    return f"{type(argument).__name__}: {reason}" if reason else type(argument).__name__


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN)


def _frames(trace: Any) -> list[traceback.FrameSummary]:
    return list(traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False))


def logging_to_standard_error(level: str) -> dict[str, Any]:
    """Return the settings that write every log as lines of JSON; those of Django that quote addresses are left out."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "orbsite.runtime.json_logging.JSONLines"}},
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
