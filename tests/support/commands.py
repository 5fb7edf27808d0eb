"""Runs commands one after the other, each in a fork of a process that has imported them: python -m tests.support.commands.

Standard input has one JSON object: `commands`, a list of arguments each, and `output`, where standard output goes: a
path, `closed`, or nothing for a file of our own. Standard output has a JSON list of what became of each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from typing import Any


def main() -> None:
    asked = json.load(sys.stdin)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    import django
    from django.core.management import get_commands, load_command_class
    from django.urls import get_resolver

    import manage

    django.setup()
    _ = get_resolver().url_patterns
    for name, app in get_commands().items():
        if app == "orbsite":
            load_command_class(app, name)
    ended = [_run(manage.main, arguments, asked.get("output")) for arguments in asked["commands"]]
    json.dump(ended, sys.stdout)


def _run(act: Any, arguments: list[str], output: str | None) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os._exit(_in_child(act, arguments, output, out.fileno(), err.fileno()))
        _, status = os.waitpid(pid, 0)
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode())
    return {"code": os.waitstatus_to_exitcode(status), "out": told[0], "err": told[1]}


def _in_child(act: Any, arguments: list[str], output: str | None, out: int, err: int) -> int:
    sys.argv = ["manage.py", *arguments]
    os.dup2(err, 2)
    if output == "closed":
        os.close(1)
        sys.stdout = None
    else:
        os.dup2(out if output is None else os.open(output, os.O_WRONLY), 1)
    try:
        act()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
        traceback.print_exc()
        code = 1
    else:
        code = 0
    if sys.stdout is not None:
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    main()
