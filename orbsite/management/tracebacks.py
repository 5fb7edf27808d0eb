"""Prints tracebacks on standard error, without the row values that errors of database drivers contain."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType

from orbsite.storage.driver_errors import driver_message, is_of_driver


def install() -> None:
    """Install `lines_of` as the format of uncaught exceptions, in the main thread and in other threads."""
    sys.excepthook = _print
    threading.excepthook = _print_of_thread


def lines_of(problem: BaseException) -> Iterator[str]:
    """Yield the traceback lines of an exception, its causes first."""
    if problem.__cause__ is not None:
        yield from lines_of(problem.__cause__)
        yield "\nThe above exception was the direct cause of the following exception:\n\n"
    elif problem.__context__ is not None and not problem.__suppress_context__:
        yield from lines_of(problem.__context__)
        yield "\nDuring handling of the above exception, another exception occurred:\n\n"
    if problem.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(problem.__traceback__)
    if is_of_driver(problem):
        yield f"{type(problem).__module__}.{type(problem).__qualname__}: {driver_message(problem)}\n"
    else:
        yield from traceback.format_exception_only(problem)


def _print(kind: type[BaseException], problem: BaseException, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, problem, problem.__traceback__)
    else:
        sys.stderr.write("".join(lines_of(problem)))


def _print_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        sys.stderr.write(f"Exception in thread {arguments.thread.name if arguments.thread else '?'}:\n")
        sys.stderr.write("".join(lines_of(arguments.exc_value)))
