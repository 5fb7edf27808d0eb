"""Handles failures of standard output and standard error: a full disk, a closed stream, a pipe without a reader.

If standard output fails, the command ends with one line on standard error and a separate exit code. Standard error is
best effort: text that cannot be written there is dropped, and the exit code reports the outcome of the command.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

OUTPUT_FAILED = 2
"""The exit code if the output could not be written."""
PIPE_ENDED = 141
"""The exit code if the reader of the output has ended. Shells report the same code for SIGPIPE."""
_NULL_MODES = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}


class OutputLost(OSError):
    """Standard output could not be written."""

    @property
    def exit_code(self) -> int:
        """The exit code for this error."""
        return exit_code_of(self)


def exit_code_of(problem: BaseException) -> int:
    """Return the exit code for an error of standard output."""
    return PIPE_ENDED if isinstance(problem, OSError) and problem.errno == errno.EPIPE else OUTPUT_FAILED


def reason_of(problem: BaseException) -> str:
    """Return why the output could not be written, without quoting the output."""
    if isinstance(problem, OSError) and problem.errno != errno.EBADF:
        return problem.strerror or type(problem).__name__
    return type(problem).__name__ if isinstance(problem, UnicodeError) else "it is closed"


class _Output(io.FileIO):
    """Standard output. It raises OutputLost once and drops later output, so that Python exits without more errors."""

    lost: OutputLost | None = None

    def write(self, data: Any) -> int:
        if self.lost is not None:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as problem:
            self.lost = OutputLost(problem.errno, problem.strerror)
            raise self.lost from problem


class _Errors(io.FileIO):
    """Standard error, which drops text that cannot be written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard both streams while a command runs. Raises SystemExit if standard output could not be written."""
    _hold_closed_descriptors()
    output = _Output(1, "w", closefd=False)
    sys.stdout = _rewrapped(sys.stdout, output)
    sys.stderr = _rewrapped(sys.stderr, _Errors(2, "w", closefd=False))
    try:
        yield
    except OutputLost as problem:
        raise SystemExit(_report_lost(problem)) from problem
    except SystemExit as end:
        lost = _flushed(output)
        if lost is not None and not end.code:
            raise SystemExit(_report_lost(lost)) from lost
        raise
    lost = _flushed(output)
    if lost is not None:
        raise SystemExit(_report_lost(lost)) from lost


def _hold_closed_descriptors() -> None:
    """Open the null device, in a mode that refuses use, in place of each closed standard stream.

    Otherwise the next opened file, for example a database, would get the descriptor of standard output.
    """
    for descriptor, mode in _NULL_MODES.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # open() takes the lowest free descriptor


def _rewrapped(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    """Return a text stream over `raw` with the options of `stream`. A terminal is returned as it is, for prompts."""
    if stream is not None and stream.isatty():
        return stream
    unbuffered = bool(getattr(stream, "write_through", False))
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=getattr(stream, "errors", None) or "backslashreplace",
        line_buffering=bool(getattr(stream, "line_buffering", isinstance(raw, _Errors))),
        write_through=unbuffered,
    )


def _flushed(output: _Output) -> OutputLost | None:
    """Flush standard output, and return the first error that it has had, or None."""
    try:
        sys.stdout.flush()
    except OutputLost as problem:
        return problem
    return output.lost


def _report_lost(problem: OutputLost) -> int:
    """Report on standard error that the output is lost, and return the exit code."""
    sys.stderr.write(f"The output could not be written: {reason_of(problem)}. The lines above show what was done.\n")
    return problem.exit_code
