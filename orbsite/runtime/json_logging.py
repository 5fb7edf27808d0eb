"""Logs JSON lines with the request id, and without the texts of exceptions.

Log messages of this project contain ids at most. An exception is logged by its type and its stack frames only, because
exception texts may quote user data. The same applies to exceptions among the arguments of a message, and to libraries
that quote requests in their messages: gunicorn quotes addresses and headers, Django quotes refused hosts.
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

from typing_extensions import override

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the current request, or an empty text."""

_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_PLAIN = (str, int, float, bool, type(None))
_OURS = ("orbsite.", "luna.", "te.")
_HIDDEN = "…"
_OF_GUNICORN = re.compile(
    r"Starting gunicorn|Listening at:|Using worker:|Handling signal:|Ignoring unknown signal|Unhandled signal|"
    r"Booting worker|Worker exiting|WORKER TIMEOUT|Worker \(pid|Reaped unknown|Hang up:|Parent changed|"
    r"Shutting down:"
)
"""Messages of gunicorn about its own processes. Their arguments are process ids, signals and listening addresses."""
_REFUSED = re.compile(r"Invalid request from ip=([0-9A-Fa-f.:]*): ")
_QUOTES = re.compile("[\"':\\n]")


class JSONLines(logging.Formatter):
    """Formats a record as one line of ASCII JSON, so that control characters cannot forge other log lines."""

    @override
    def format(self, record: logging.LogRecord) -> str:
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
    """Return the message of a record, without quoted requests and without the request path, which has user ids."""
    if record.name.startswith("gunicorn"):
        return _of_gunicorn(record)
    if record.name.startswith("django.security.") and not record.args:
        return _beginning(str(record.msg))
    path = getattr(getattr(record, "request", None), "path", None)
    if not isinstance(record.args, tuple):
        return record.getMessage()
    return _filled(
        record, tuple(_HIDDEN if path is not None and one == path else _redacted(one) for one in record.args)
    )


def _of_gunicorn(record: logging.LogRecord) -> str:
    """Return a message of gunicorn, without the parts that quote requests."""
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
    """Return a message up to its first quotation."""
    match = _QUOTES.search(message)
    return message if match is None else f"{message[: match.start()]} {_HIDDEN}"


def _redacted(argument: Any) -> Any:
    """Return a message argument; for an exception of a library, only its type and the reason of the system."""
    if not isinstance(argument, BaseException) or type(argument).__module__.startswith(_OURS):
        return argument
    reason = getattr(argument, "strerror", None) if isinstance(argument, OSError) else None
    return f"{type(argument).__name__}: {reason}" if reason else type(argument).__name__


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN)


def _frames(trace: Any) -> list[traceback.FrameSummary]:
    return list(traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False))


def logging_to_standard_error(level: str) -> dict[str, Any]:
    """Return the logging settings: JSON lines on standard error, without messages that quote addresses."""
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
