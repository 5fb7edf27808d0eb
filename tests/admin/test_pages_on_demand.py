"""Commands and scripts do not import the pages of the admin; whatever serves or checks them has all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ROOT, production

PAGES = {
    "auth.Group": "GuardedGroupAdmin",
    "auth.User": "GuardedUserAdmin",
    "luna.ProfileRow": "ProfileAdmin",
    "orbsite.Event": "EventAdmin",
    "orbsite.RetentionPolicy": "RetentionPolicyAdmin",
    "orbsite.Token": "TokenAdmin",
    "te.ReflectionRow": "ReflectionAdmin",
}
SERVED = ("te.console", "orbsite.admin.site", "orbsite.urls", "rest_framework.views", "drf_spectacular.views")
BEGIN = """
import json, sys
import django
django.setup()
from django.contrib import admin
def imported(): return [name for name in SERVED if name in sys.modules]
def pages(): return {model._meta.label: type(page).__name__ for model, page in admin.site._registry.items()}
"""


def _printed(work: Path, program: str) -> Any:
    environment = production(work, DATABASE_URL=f"sqlite:///{work / 'db'}", DJANGO_SETTINGS_MODULE="orbsite.settings")
    command = [sys.executable, "-c", f"SERVED = {SERVED}{BEGIN}{program}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_command_over_files_imports_none_of_what_is_served(tmp_path: Path) -> None:
    program = """
import io
from django.core.management import call_command
call_command("orb_stats", data_dir=None, stdout=io.StringIO())
print(json.dumps(imported()))
"""
    assert _printed(tmp_path, f"from django.conf import settings\nsettings.ORB_PERSISTENCE = 'memory'\n{program}") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "look",
    [
        "import orbsite.urls",
        "from django.urls import reverse; reverse('admin:te_reflectionrow_changelist')",
        "from django.core.checks import run_checks; run_checks(tags=['admin'])",
        "from luna.models import ProfileRow; admin.site.is_registered(ProfileRow)",
    ],
)
def test_whatever_needs_the_pages_has_all_of_them(tmp_path: Path, look: str) -> None:
    found = _printed(
        tmp_path, f"before = imported()\n{look}\nprint(json.dumps([before, admin.site._are_imported, pages()]))"
    )
    assert found[:2] == [[], True]
    assert {name: found[2].get(name) for name in PAGES} == PAGES
    assert "otp_totp.TOTPDevice" not in found[2]


def test_the_checks_find_an_error_of_a_page(tmp_path: Path) -> None:
    program = """
from django.core.checks import run_checks
from django.test.utils import override_settings
import te.console
te.console.ReflectionAdmin.list_display = ("no_such_field",)
print(json.dumps([one.id for one in run_checks() if one.id.startswith("admin.")]))
"""
    assert "admin.E108" in _printed(tmp_path, program)


def test_sign_ins_are_heard_and_roles_are_kept_before_the_pages_are_imported(tmp_path: Path) -> None:
    program = """
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_migrate
signals = (user_logged_in, user_logged_out, user_login_failed, post_migrate)
heard = [{one[0][0] for one in signal.receivers} for signal in signals]
wanted = ("orb_signed_in", "orb_signed_out", "orb_sign_in_failed", "orb_groups")
print(json.dumps([name in names for name, names in zip(wanted, heard)] + imported()))
"""
    assert _printed(tmp_path, program) == [True, True, True, True]
