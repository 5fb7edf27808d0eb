"""Standard output and standard error that may fail: a full disk, a closed stream, a pipe whose reader has ended.

Standard output that fails ends the command with one line on standard error and an exit code of its own. Standard error
is best effort: what cannot be written there is dropped, and the exit code says how the command went.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

NOT_TOLD = 2
"""The exit code where the output could not be written."""
PIPE_ENDED = 141
"""The exit code where the reader of the output has ended: what a shell reports for SIGPIPE."""
_NULL_MODES = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}


class OutputLost(OSError):
    """Standard output could not be written."""

    @property
    def exit_code(self) -> int:
        """The exit code that tells of it."""
        return exit_code_of(self)


def exit_code_of(problem: BaseException) -> int:
    """Return the exit code for an error of standard output."""
    return PIPE_ENDED if isinstance(problem, OSError) and problem.errno == errno.EPIPE else NOT_TOLD


def reason_of(problem: BaseException) -> str:
    """Return why output could not be written; never what was to be written."""
    if isinstance(problem, OSError) and problem.errno != errno.EBADF:
        return problem.strerror or type(problem).__name__
    return type(problem).__name__ if isinstance(problem, UnicodeError) else "it is closed"


class _Output(io.FileIO):
    """Standard output, which raises OutputLost once; what comes after that is dropped, so that Python ends quietly."""

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
    """Standard error, which drops what cannot be written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard both streams while a command runs. Raises SystemExit where standard output could not be written."""
    _hold_closed_descriptors()
    output = _Output(1, "w", closefd=False)
    sys.stdout = _rewrapped(sys.stdout, output)
    sys.stderr = _rewrapped(sys.stderr, _Errors(2, "w", closefd=False))
    try:
        yield
    except OutputLost as problem:
        raise SystemExit(_told(problem)) from problem
    except SystemExit as end:
        lost = _flushed(output)
        if lost is not None and not end.code:
            raise SystemExit(_told(lost)) from lost
        raise
    lost = _flushed(output)
    if lost is not None:
        raise SystemExit(_told(lost)) from lost


def _hold_closed_descriptors() -> None:
    """Put something that refuses to be used in the place of each closed standard stream.

    Otherwise the next file that is opened, a database for example, is what others take for standard output.
    """
    for descriptor, mode in _NULL_MODES.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest number that is free is this one


def _rewrapped(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    """Return a text stream over `raw` that is like `stream`; a terminal is left as it is, for prompts need it."""
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
    """Write what is left, and return what went wrong with the output at any time."""
    try:
        sys.stdout.flush()
    except OutputLost as problem:
        return problem
    return output.lost


def _told(problem: OutputLost) -> int:
    """Say that the output is lost, and return the exit code."""
    sys.stderr.write(f"The output could not be written: {reason_of(problem)}. See above what was done.\n")
    return problem.exit_code
