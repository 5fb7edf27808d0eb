from __future__ import annotations

import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from orbsite.runtime import home
from orbsite.runtime.home import Home, find_home

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ORB_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(home, "_PARENT", tmp_path / "site-packages")


def test_a_checkout_is_its_own_home() -> None:
    assert find_home() == Home(ROOT, ROOT)


def test_orb_home_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORB_HOME", "~/mine")
    assert find_home() == Home(tmp_path / "mine", tmp_path / "mine")
    monkeypatch.setenv("ORB_HOME", "~no-such-user/x")
    with pytest.raises(ImproperlyConfigured, match="ORB_HOME begins with ~no-such-user"):
        find_home()


@pytest.mark.usefixtures("_installed")
def test_an_installed_package_is_at_home_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert find_home() == Home(tmp_path / ".config/orb", tmp_path / ".local/share/orb")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/somewhere")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # as if it were not set
    assert find_home() == Home(Path("/etc/somewhere/orb"), tmp_path / ".local/share/orb")


@pytest.mark.usefixtures("_installed")
def test_an_installed_package_on_macos_is_at_home_in_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    place = tmp_path / "Library/Application Support/orb"
    assert find_home() == Home(place, place)
