"""Generates the bill of materials of the running project, sbom.json (CycloneDX 1.6), from the pins of base.txt.

python sbom.py writes it; with --check the exit code is 1 if it does not match the pins. It has no time and no random
number, so that equal pins give equal bytes. The requirements of packages come from metadata.json, as in check.py.
"""

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).parents[1]))

from requirements.check import FOLDER, Metadata, Pin, chosen, environments, read_direct, read_pins, required_by

FILE = "sbom.json"
_PROJECT = "orb-persistence"


def made(folder: Path = FOLDER) -> str:
    """Return the CycloneDX document."""
    pins = read_pins(folder / "base.txt")
    metadata: Metadata = json.loads((folder / "metadata.json").read_text())
    direct = list(read_direct(folder / "base.in"))
    names = {canonicalize_name(one.name) for one in direct}
    needed = _needed(pins, metadata, direct)
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_number(pins)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": _PROJECT, "name": _PROJECT}},
        "components": [_component(pin) for pin in pins],
        "dependencies": [
            {"ref": _PROJECT, "dependsOn": [_ref(pin) for pin in pins if pin.name in names]},
            *({"ref": _ref(pin), "dependsOn": needed[pin.key]} for pin in pins),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _component(pin: Pin) -> dict[str, Any]:
    hashes = [one.partition(":") for one in sorted(pin.hashes)]
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": _ref(pin),
        "hashes": [{"alg": "SHA-256", "content": code} for kind, _, code in hashes if kind == "sha256"],
    }
    if pin.marker is not None:
        made["properties"] = [{"name": "orb:marker", "value": str(pin.marker)}]
    return made


def _needed(pins: list[Pin], metadata: Metadata, direct: list[Requirement]) -> dict[str, list[str]]:
    """Return the requirements of each release on any system, including the extras that the project uses."""
    found: dict[str, set[str]] = {pin.key: set() for pin in pins}
    extras = {(canonicalize_name(one.name), extra) for one in direct for extra in one.extras}
    for _, environment in environments():
        here = {pin.name: pin for pin in chosen(pins, environment)}
        for pin in here.values():
            required = required_by(pin, metadata, environment)
            for name, extra in extras:
                required += required_by(pin, metadata, environment, extra) if name == pin.name else []
            names = {canonicalize_name(one.name) for one in required}
            found[pin.key] |= {_ref(here[name]) for name in names if name in here}
    return {key: sorted(refs) for key, refs in found.items()}


def _number(pins: list[Pin]) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(f"{pin.key} {pin.digest}" for pin in pins))


def _ref(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}"


def main() -> int:
    """Write sbom.json, or check it with --check. Returns 1 if it does not match the pins."""
    parser = argparse.ArgumentParser(description="Generate the bill of materials.")
    parser.add_argument("--check", action="store_true", help="only check whether it matches the pins")
    path = FOLDER / FILE
    if not parser.parse_args().check:
        path.write_text(made())
    elif not path.exists() or path.read_text() != made():
        sys.stderr.write(f"{path.name} does not match the pins; run `make sbom`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
