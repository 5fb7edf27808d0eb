"""A forked process under strace, which kills it or fails its calls to the system as asked.

It is attached to before it begins, so that only what the store does is counted, and each run takes milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbsite.storage.errors import OrbError
from orbsite.storage.file import document
from tests.support.time_limits import time_limit
from tests.torture.oracle import Ledger, content_of, digest, open_store, perform, temporary_files
from tests.torture.scenarios import Scenario

CHANGING = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat",
    "unlink", "unlinkat", "ftruncate", "mkdir", "mkdirat", "fsetxattr",
)  # fmt: skip
PATIENCE = 10
READY = b"ready"
_CALL = re.compile(r"^(\w+)\(")


@dataclass
class Run:
    """What came of one process."""

    log: list[str] = field(default_factory=list)
    """The calls that it made, as strace prints them."""
    outcomes: list[str] = field(default_factory=list)
    """What it said of each act: done, the name of an error, or killed."""

    @property
    def hit(self) -> bool:
        return "killed" in self.outcomes or any("(INJECTED)" in line for line in self.log)

    def counts(self) -> Counter[str]:
        return Counter(match[1] for line in self.log if (match := _CALL.match(line)))


def run(dataset: Scenario, ledger: Ledger, work: Path, *inject: str, calls: tuple[str, ...] = ()) -> Run:
    """Have a traced process act in a data directory, and hold every report of it against what is there."""
    log = work / "strace"
    is_once = "+" not in "".join(inject)
    ended = follow(dataset, ledger, lambda pid: _traced(pid, log, inject, calls), is_once=is_once)
    ended.log = log.read_text(errors="replace").splitlines()
    return ended


def follow(
    dataset: Scenario, ledger: Ledger, around: Callable[[int], Any], *, is_once: bool = True, may_crash: bool = False
) -> Run:
    """Do the same, within what `around` opens for the process; what fails only once leaves no temporary file."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        _act(dataset, ledger.base, theirs)
    theirs.close()
    ours.settimeout(time_limit(PATIENCE))
    ended = Run()
    try:
        ours.recv(len(READY))
        with around(pid):
            try:
                _listen(ours, pid, dataset, ledger, ended, is_once=is_once, is_starved=may_crash)
            except TimeoutError:
                ledger.problems.append(f"the process hangs, after {ended.outcomes}")
                os.kill(pid, signal.SIGKILL)
            ours.close()
            _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    if status not in (0, signal.SIGKILL, signal.SIGSEGV if may_crash else 0):
        ledger.problems.append(f"the process ended with {status}")
    return ended


def fresh(template: Path, base: Path) -> Path:
    """Return a copy of a data directory, as empty as it where nothing was saved."""
    shutil.rmtree(base, ignore_errors=True)
    if template.exists():
        shutil.copytree(template, base)
    return base


@contextlib.contextmanager
def _traced(pid: int, log: Path, inject: tuple[str, ...], calls: tuple[str, ...]) -> Any:
    command = ["strace", "-y", "-o", str(log), "-e", f"trace={','.join(CHANGING + calls)}", "-e", "signal=none"]
    options = [part for one in inject for part in ("-e", f"inject={one}")]
    with subprocess.Popen([*command, *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        line = strace.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace does not work here: {line}")
        yield
        strace.communicate()


def _listen(
    ours: socket.socket, pid: int, dataset: Scenario, ledger: Ledger, ended: Run, *, is_once: bool, is_starved: bool
) -> None:
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    for act in dataset.acts:
        ours.send(b"go")
        outcome, message = _said(ours) or ("killed", "")
        ended.outcomes.append(outcome)
        view, why = (outcome != "killed" and _said(ours)) or ("killed", "")
        ledger.reported(act, outcome, why if view == "done" else None)
        if outcome.startswith("untyped"):
            ledger.problems.append(f"{act}: {outcome}: {message}")
        if view.startswith("untyped"):
            ledger.problems.append(f"a read after {act}: {view}: {why}")
        if view == "killed":
            if outcome != "killed":  # it was killed while it looked
                ended.outcomes.append(view)
            return
        if (
            is_once
            and not is_starved  # there may be no memory to clean up with: the next process does
            and outcome != "SaveOutcomeUnknown"
            and (left := [name for name in temporary_files(ledger.base) if f".{pid}." in name])
        ):
            ledger.problems.append(f"{act} {outcome}: left {left}")
        if not is_starved and len(os.listdir(f"/proc/{pid}/fd")) != descriptors:  # noqa: PTH208
            ledger.problems.append(f"{act} {outcome}: left descriptors open")
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def _said(ours: socket.socket) -> list[Any] | None:
    return json.loads(ours.recv(1 << 20) or b"null")


def _act(dataset: Scenario, base: Path, theirs: socket.socket) -> None:
    logging.disable()  # what it logs is written too, and is not what fails here
    status = 1
    try:
        dataset.adjust()
        store = open_store(base, dataset.above)
        document._network_file_system.cache_clear()
        theirs.send(READY)
        for act in dataset.acts:
            theirs.recv(2)
            limits = dataset
            if act is dataset.acts[-1]:
                limits = Scenario("", None, dataset.build, ())
                dataset.at_last()
            theirs.send(json.dumps(_attempt(lambda act=act: perform(store, act), limits)).encode())
            view, content = _attempt(lambda: content_of(store), limits)
            theirs.send(json.dumps([view, digest(content) if view == "done" else content]).encode())
        theirs.recv(2)
        status = 0
    except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
        traceback.print_exc()
    finally:
        os._exit(status)


def _attempt(what: Callable[[], Any], dataset: Scenario) -> tuple[str, Any]:
    try:
        dataset.limit()
        try:
            return "done", what()
        finally:
            dataset.relieve()
    except (OrbError, MemoryError) as problem:
        return type(problem).__name__, str(problem)
    except Exception as problem:  # noqa: BLE001 -- what must not come is reported, too
        return f"untyped {type(problem).__name__}", traceback.format_exc()[-1500:]
