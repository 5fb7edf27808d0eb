from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.support.installed import ROOT

UNITS = ROOT / "deploy/systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
PROGRAM = {"serve", "worker"}  # the commands of `orb` that are none of Django's
MOST_EXPOSED = 20
"""The threshold of `systemd-analyze security`, in tenths: 0 is not exposed, 100 is."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists on this host."""
    copy = Path(shutil.copytree(UNITS, tmp_path / "units"))
    for name in SERVICES:
        text = (copy / name).read_text()
        (copy / name).write_text(text.replace("/opt/orb/bin/orb", "/bin/true"))
    return copy


def _analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_accepts_the_units(units: Path) -> None:
    done = _analyze("verify", "--man=no", *sorted(units.glob("*.service")), *units.glob("*.timer"))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_refuses_an_option_that_does_not_exist(units: Path) -> None:
    path = units / "orb-server.service"
    path.write_text(path.read_text().replace("Restart=", "Restarts="))
    assert "Restarts" in _analyze("verify", "--man=no", path).stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_little_exposed(units: Path, name: str) -> None:
    analyze = ["security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}"]
    done = _analyze(*analyze, units / name)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(units / "orb-.service.d")
    assert _analyze(*analyze, units / name).returncode != 0, "the options of all services are not read"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    (command,) = re.findall(r"^ExecStart=/opt/orb/bin/orb (\S+)", (UNITS / name).read_text(), re.MULTILINE)
    assert name.startswith("orb-"), "the options of all services apply to this name"
    assert command in PROGRAM | get_commands().keys() or (name, command) == ("orb-command@.service", "%i")


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.timer")), ids=lambda path: path.name)
def test_a_timer_starts_a_service_that_exists(path: Path) -> None:
    named = re.findall(r"^Unit=(\S+)$", path.read_text(), re.MULTILINE) or [f"{path.stem}.service"]
    template, _, command = named[0].removesuffix(".service").partition("@")
    assert f"{template}{'@' if command else ''}.service" in SERVICES
    assert not command or command in get_commands()


def test_all_services_have_a_user_a_private_home_and_one_writable_directory() -> None:
    options = dict(re.findall(r"^(\w+)=(.*)$", (UNITS / "orb-.service.d/common.conf").read_text(), re.MULTILINE))
    wanted = {"User": "orb", "UMask": "0077", "StateDirectory": "orb orb/.orb-data", "StateDirectoryMode": "0700"}
    wanted |= {"ProtectSystem": "strict", "NoNewPrivileges": "yes", "PrivateTmp": "yes"}
    assert wanted.items() <= options.items()
    assert "ReadWritePaths" not in options
    assert re.search(r"^u orb ", (UNITS / "orb.sysusers.conf").read_text(), re.MULTILINE)
