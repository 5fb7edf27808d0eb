"""Checks that the pins are complete: every requirement of every pinned package is satisfied by the pins.

The pins are installed with `pip install --no-deps`, so that pip neither adds nor replaces a package. Without this
check, a missing package would only be noticed when the project runs. The check covers extras and environment markers on
each supported Python and system.

It needs no network: metadata.json has the requirements of each package. `make lock` writes that file, with a digest of
each package's hashes, so that an entry always belongs to its pin.
"""

import argparse
import functools
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PATCHES = ("0", "30")
"""The first release of a Python and a late one: markers may name a release between them."""
SYSTEMS = (
    ("linux", "Linux", "posix", "x86_64"),
    ("linux", "Linux", "posix", "aarch64"),
    ("darwin", "Darwin", "posix", "x86_64"),
    ("darwin", "Darwin", "posix", "arm64"),
    ("win32", "Windows", "nt", "AMD64"),
    ("win32", "Windows", "nt", "ARM64"),
)
FOLDER = Path(__file__).parent
NAMES = ("base", "dev", "docs")
"""The files of pins: NAME.txt, made from NAME.in. The other files have all packages of base.txt, with the same pins."""

Environment = dict[str, str]
Metadata = dict[str, dict[str, Any]]


class Pin(NamedTuple):
    """One line of a file of pins."""

    name: str
    version: str
    marker: Marker | None
    hashes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The pinned release, as name==version."""
        return f"{self.name}=={self.version}"

    @property
    def digest(self) -> str:
        """A digest of the hashes of the release."""
        return hashlib.sha256("\n".join(sorted(self.hashes)).encode()).hexdigest()

    def line(self) -> str:
        """Return the line of a requirements file that pins the release on every system."""
        return " ".join([self.key, *(f"--hash={one}" for one in self.hashes)])


def check(folder: Path = FOLDER) -> list[str]:
    """Return the errors in the files of pins, compared with the files that they are made from and metadata.json."""
    found: dict[str, list[str]] = defaultdict(list)
    pinned = {name: read_pins(folder / f"{name}.txt") for name in NAMES}
    metadata: Metadata = json.loads((folder / "metadata.json").read_text())
    if stale := stale_entries(itertools.chain(*pinned.values()), metadata):
        return [f"metadata.json has no entry for the pin {key}; run `make lock`" for key in stale]
    direct = {name: list(read_direct(folder / f"{name}.in")) for name in NAMES}
    for place, environment in environments():
        keys = {name: {pin.key for pin in chosen(pins, environment)} for name, pins in pinned.items()}
        for name, pins in pinned.items():
            for problem in unsatisfied(pins, direct[name], metadata, environment):
                found[f"{name}.txt: {problem}"].append(place)
            for key in sorted(keys["base"] - keys[name]):
                found[f"base.txt has {key}, and {name}.txt does not"].append(place)
    return [f"{problem} ({_places(places)})" for problem, places in found.items()]


def unsatisfied(
    pins: list[Pin], direct: list[Requirement], metadata: Metadata, environment: Environment
) -> Iterator[str]:
    """Yield the errors of the pins in one environment, given the direct requirements."""
    here: dict[str, Pin] = {}
    for pin in chosen(pins, environment):
        if pin.name in here:
            yield f"{here[pin.name].key} and {pin.key} are both pinned"
        here[pin.name] = pin
        yield from _wrong_python(pin, metadata, environment)
    todo = [("the project", one) for one in direct if _applies(one, environment)]
    todo += [(pin.key, one) for pin in here.values() for one in required_by(pin, metadata, environment)]
    extras: set[tuple[str, str]] = set()
    while todo:
        by, requirement = todo.pop()
        found = here.get(canonicalize_name(requirement.name))
        if lack := _lack(requirement, found):
            yield f"{by} requires {requirement}, and {lack}"
        for pin, extra in ((found, extra) for extra in requirement.extras if found):
            if (pin.name, extra) not in extras:
                extras.add((pin.name, extra))
                by_extra = required_by(pin, metadata, environment, extra)
                todo += [(f"{pin.name}[{extra}]=={pin.version}", one) for one in by_extra]
            if canonicalize_name(extra) not in map(canonicalize_name, metadata[pin.key]["extras"]):
                yield f"{by} requires {requirement}, and {pin.key} has no extra of that name"


def chosen(pins: list[Pin], environment: Environment) -> list[Pin]:
    """Return the pins that are installed in an environment."""
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]


def _lack(requirement: Requirement, pin: Pin | None) -> str:
    if pin is None:
        return "it is not pinned"
    if requirement.url:
        return "a URL cannot be checked"
    if not requirement.specifier.contains(pin.version, prereleases=True):
        return f"{pin.key} is pinned"
    return ""


def _wrong_python(pin: Pin, metadata: Metadata, environment: Environment) -> Iterator[str]:
    accepted = metadata[pin.key]["python"]
    if not SpecifierSet(accepted).contains(environment["python_full_version"], prereleases=True):
        yield f"{pin.key} requires Python {accepted}"


def required_by(pin: Pin, metadata: Metadata, environment: Environment, extra: str = "") -> list[Requirement]:
    """Return the requirements of a pinned package, or of one of its extras, in one environment."""
    requirements = map(_parsed, metadata[pin.key]["requires"])
    return [one for one in requirements if _applies(one, environment, extra)]


@functools.cache
def _parsed(text: str) -> Requirement:
    return Requirement(text)


def _applies(requirement: Requirement, environment: Environment, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def environments() -> Iterator[tuple[str, Environment]]:
    """Yield the name and the markers of every supported environment."""
    for python, patch, (platform, system, os_name, machine) in itertools.product(PYTHONS, PATCHES, SYSTEMS):
        version = f"{python}.{patch}"
        environment = {
            "implementation_name": "cpython",
            "implementation_version": version,
            "os_name": os_name,
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": system,
            "platform_version": "",
            "python_full_version": version,
            "python_version": python,
            "sys_platform": platform,
            "extra": "",
        }
        yield f"Python {version} on {platform} {machine}", environment


def _places(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]}, and {len(places) - 1} more"


def read_pins(path: Path) -> list[Pin]:
    """Return the pins of a file. Raises ValueError for a pin without an exact version or a hash."""
    return [_pin(line, path) for line in _lines(path)]


def _pin(line: str, path: Path) -> Pin:
    text, *hashes = line.split(" --hash=")
    requirement = _requirement(text, path)
    versions = [one.version for one in requirement.specifier if one.operator == "==" and "*" not in one.version]
    if len(versions) != 1 or len(requirement.specifier) != 1 or not hashes:
        raise ValueError(f"{path}: {text} is not pinned with == and a hash; run `make lock`")
    found = tuple(one.strip() for one in hashes)
    return Pin(canonicalize_name(requirement.name), versions[0], requirement.marker, found)


def read_direct(path: Path) -> Iterator[Requirement]:
    """Yield the requirements of a .in file, and of the files that it includes."""
    for line in _lines(path):
        if line.startswith("-r "):
            yield from read_direct(path.parent / line[3:].strip())
        elif not line.startswith("-"):
            yield _requirement(line, path)


def _requirement(text: str, path: Path) -> Requirement:
    try:
        return Requirement(text.strip())
    except InvalidRequirement as problem:
        raise ValueError(f"{path}: {text}: {problem}") from problem


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a requirements file without comments, joined with their continuation lines."""
    kept = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(kept).replace("\\\n", " ")
    yield from (" ".join(line.split()) for line in joined.splitlines() if line.strip())


def stale_entries(pins: Iterable[Pin], metadata: Metadata) -> list[str]:
    """Return the releases whose metadata is missing, belongs to other hashes, or has no pin."""
    pinned = {(pin.key, pin.digest) for pin in pins}
    return sorted({key for key, _ in pinned ^ {(key, entry["digest"]) for key, entry in metadata.items()}})


def renew(folder: Path = FOLDER) -> None:
    """Fetch the metadata of every pin without an entry from the package index, and write metadata.json."""
    path = folder / "metadata.json"
    pins = {pin.key: pin for name in NAMES for pin in read_pins(folder / f"{name}.txt")}
    old: Metadata = json.loads(path.read_text()) if path.exists() else {}
    kept = {key: old[key] for key, pin in pins.items() if old.get(key, {}).get("digest") == pin.digest}
    missing: dict[str, list[Pin]] = defaultdict(list)
    for pin in pins.values():
        if pin.key not in kept:
            missing[pin.name].append(pin)
    for releases in itertools.zip_longest(*missing.values()):  # pip takes one release of a name at a time
        kept |= _entries([pin for pin in releases if pin])
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n")


def _entries(pins: list[Pin]) -> Metadata:
    """Return the metadata entries of pins from the report of pip, which installs nothing."""
    options = ["--dry-run", "--ignore-installed", "--ignore-requires-python", "--no-deps", "--require-hashes"]
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        wanted.write_text("".join(f"{pin.line()}\n" for pin in pins))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
        subprocess.run([*command, "--report", str(report), "-r", str(wanted)], check=True)
        packages = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    by_name = {str(canonicalize_name(one["name"])): one for one in packages}
    return {pin.key: _entry(pin, by_name[pin.name]) for pin in pins}


def _entry(pin: Pin, package: dict[str, Any]) -> dict[str, Any]:
    return {
        "digest": pin.digest,
        "python": package.get("requires_python", ""),
        "extras": sorted(package.get("provides_extra", [])),
        "requires": package.get("requires_dist", []),
    }


def main() -> int:
    """Check the pins, after renewing metadata.json with --renew. Returns 1 if there are errors."""
    parser = argparse.ArgumentParser(description="Check that the pinned requirements are complete.")
    parser.add_argument("--renew", action="store_true", help="first fetch the metadata of new pins from the index")
    arguments = parser.parse_args()
    try:
        if arguments.renew:
            renew()
        problems = check()
    except (OSError, ValueError, subprocess.CalledProcessError) as failure:
        problems = [str(failure)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
