"""The program `orb`: the management commands of an installed package, and its own `init`, `serve` and `worker`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from orbsite import __version__
from orbsite.runtime.home import VARIABLE

USAGE = """\
usage: orb [--home DIR] COMMAND ...

  orb init [DIR]     make a home: settings with a new key, and a database with its tables
  orb serve          serve the API and the admin; ORB_BIND is the address
  orb worker         run the jobs that are started in the admin or by the API
  orb help           list all other commands, such as migrate_orb_files
  orb --version      print the version

The home has the settings (.env), the data and the database. It is DIR of --home, else ORB_HOME, else where the
platform has a user's files: on Linux ~/.config/orb and ~/.local/share/orb.
"""
SERVER_SETTINGS, SCRIPT_SETTINGS = "orbsite.settings", "orbsite.conf.script_settings"
_NEEDED_BY_SERVER = ("rest_framework", "drf_spectacular", "axes", "django_otp", "csp", "whitenoise")
"""Packages of the extra `server`. Without them, commands have the settings of a script."""
_COULD_NOT_RUN = 2


def main() -> None:
    """Run the command in the arguments of this process."""
    arguments = _without_home(sys.argv[1:])
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
    elif arguments == ["--version"]:
        sys.stdout.write(f"orb {__version__}\n")
    else:
        _run(arguments)


def _run(arguments: list[str]) -> None:
    name, *others = arguments
    if name == "init":
        _init(others)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SERVER_SETTINGS if has_server() else SCRIPT_SETTINGS)
    from orbsite.management import serve
    from orbsite.management.program import run_command

    if name in ("serve", "worker") and not has_server():
        _refuse(f"orb {name} needs more packages; run: pip install 'orb-persistence[server]'")
    match name:
        case "init":
            run_command(["orb", "migrate", "--verbosity", "0"])
        case "serve":
            serve.serve(others)
        case "worker":
            run_command(["orb", "db_worker", "--no-reload", *others])
        case _:
            run_command(["orb", *arguments])


def has_server() -> bool:
    """Tell whether the packages of the extra `server` are installed."""
    return all(map(find_spec, _NEEDED_BY_SERVER))


def _init(others: list[str]) -> None:
    """Make the home that `orb init` names, and go on in it."""
    from orbsite.management.init import make_home

    if len(others) > 1 or (others and others[0].startswith("-")):
        _refuse(f"orb init takes one directory, not {' '.join(others)}\n\n{USAGE}")
    if others:
        _choose(others[0])
    sys.stdout.write(make_home())


def _without_home(arguments: list[str]) -> list[str]:
    """Return the arguments after `--home DIR`, which becomes ORB_HOME."""
    if arguments and arguments[0].startswith("--home="):
        _choose(arguments[0].removeprefix("--home="))
        return arguments[1:]
    if arguments and arguments[0] == "--home":
        if len(arguments) == 1:
            _refuse(f"--home needs a directory\n\n{USAGE}")
        _choose(arguments[1])
        return arguments[2:]
    return arguments


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"{message.rstrip()}\n")
    sys.exit(_COULD_NOT_RUN)


def _choose(place: str) -> None:
    os.environ[VARIABLE] = str(Path(place).expanduser().absolute())


if __name__ == "__main__":
    main()
