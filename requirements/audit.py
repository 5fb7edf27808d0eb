"""Checks the pinned releases for known vulnerabilities: python audit.py.

pip-audit is installed into a temporary environment. If it or the advisory services are unavailable, the result is
unknown, and the last line says so: UNVERIFIED. Exit code 1: there is a known vulnerability; 0: there is none, or the
result is unknown; 2 instead of 0 for an unknown result with --required.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = ("base.txt", "dev.txt", "docs.txt")
SERVICES = ("pypi", "osv")
SECONDS = 180
_LONGEST = 200
OPTIONS = ("--strict", "--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json")
FLOORS = {
    "certifi": "2024.7.4",
    "django": "5.2.8",
    "djangorestframework": "3.15.2",
    "gunicorn": "23.0.0",
    "idna": "3.7",
    "markdown-it-py": "2.2.0",
    "pip": "25.3",
    "pygments": "2.15.0",
    "pyyaml": "5.4",
    "requests": "2.32.4",
    "sqlparse": "0.5.4",
    "tqdm": "4.66.3",
    "urllib3": "2.6.3",
    "werkzeug": "3.1.4",
}
"""A manual list of minimum releases: the first one without the vulnerabilities known at the time of the entry."""


class Unverified(Exception):
    """The result is unknown; the message has the reason."""


def audit(files: list[Path], python: Path) -> list[str]:
    """Return the known vulnerabilities of the pinned releases. Raises Unverified."""
    found: dict[str, None] = {}
    for file in files:
        found |= dict.fromkeys(vulnerabilities(_reports(file, python)))
    return list(found)


def vulnerabilities(report: dict[str, Any]) -> list[str]:
    """Return a line for each vulnerability in a report of pip-audit. Raises Unverified for a skipped package."""
    lines = []
    for one in report["dependencies"]:
        if "skip_reason" in one:
            raise Unverified(f"{one['name']} was skipped: {one['skip_reason']}")
        for known in one["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no release"
            lines.append(f"{one['name']} {one['version']} has {known['id']}; it is fixed in {fixed}")
    return lines


def _reports(file: Path, python: Path) -> dict[str, Any]:
    """Return the report of the first service that responds. Raises Unverified."""
    reasons: list[str] = []
    for service in SERVICES:
        command = [str(python), "-m", "pip_audit", *OPTIONS, f"--vulnerability-service={service}", "-r", str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
            report: dict[str, Any] = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            reasons.append(f"{service} did not respond in {SECONDS} seconds")
        except ValueError:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip-audit printed nothing"]
            reasons.append(f"{service} returned no report ({lines[-1].strip()[:_LONGEST]})")
        else:
            return report
    raise Unverified("; ".join(reasons))


def _installed(place: Path) -> Path:
    """Create an environment with pip-audit, and return its Python. Raises Unverified."""
    venv.create(place, with_pip=True)
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired as problem:
        raise Unverified("pip-audit was not installed in time") from problem
    if done.returncode:
        raise Unverified("pip-audit could not be installed")
    return python


def main() -> int:
    """Run the audit, and return the exit code that the module's docstring describes."""
    parser = argparse.ArgumentParser(description="Check the pinned releases for known vulnerabilities.")
    parser.add_argument("--required", action="store_true", help="fail if the result is unknown")
    required = parser.parse_args().required
    try:
        with tempfile.TemporaryDirectory() as place:
            found = audit([FOLDER / name for name in FILES], _installed(Path(place)))
    except Unverified as problem:
        sys.stderr.write(f"UNVERIFIED: the pinned releases were not checked for vulnerabilities: {problem}.\n")
        return 2 if required else 0
    for line in found:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{len(found)} known vulnerabilities in the pinned releases.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
