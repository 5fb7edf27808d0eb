from __future__ import annotations

import re
import tomllib

from tests.support.installed import ROOT

TEXT = (ROOT / "deploy/Containerfile").read_text()
STAGES = re.split(r"^FROM .*$", TEXT, flags=re.MULTILINE)[1:]


def copied() -> list[str]:
    """Return the paths of the checkout that the first stage copies."""
    lines = re.findall(r"^COPY (?!--)(.+)$", STAGES[0], re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def test_what_is_copied_exists_and_is_what_the_wheel_needs() -> None:
    assert all((ROOT / name).exists() for name in copied())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*packages, project["project"]["readme"], "pyproject.toml", "requirements", "deploy/install.sh", "LICENSE"}
    assert needed == set(copied())


def test_what_is_copied_is_not_ignored() -> None:
    lines = (ROOT / "deploy/Containerfile.dockerignore").read_text().split()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert {name.partition("/")[0] for name in copied()} == allowed


def test_the_image_runs_the_server_as_a_user_without_rights_and_asks_for_its_health() -> None:
    last = STAGES[-1]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^RUN deploy/install\.sh /opt/orb$", STAGES[0], re.MULTILINE)
    assert 'ENTRYPOINT ["/opt/orb/bin/orb"]\nCMD ["serve"]' in last
    assert re.search(r'^HEALTHCHECK .* CMD \["/opt/orb/bin/python", "/opt/orb/healthcheck\.py"\]$', last, re.MULTILINE)
    assert re.findall(r"^VOLUME (.+)$", last, re.MULTILINE) == ["/var/lib/orb"]
