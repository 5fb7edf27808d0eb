from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.support.installed import ROOT

TEXT = (ROOT / "deploy/compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(SERVICES.keys() - {"postgres"})
PROGRAM = {"serve", "worker"}  # the commands of `orb` that are none of Django's


def test_the_services_are_a_database_a_migration_a_server_a_worker_and_maintenance() -> None:
    assert SERVICES.keys() == {"postgres", "migrate", "server", "worker", "maintenance"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_read_only_root_and_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {place.partition(":")[0] for place in service["tmpfs"]} >= {"/tmp"}
    assert [place.partition(":")[0] in COMPOSE["volumes"] for place in service["volumes"]] == [True]


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_a_command_that_exists(name: str) -> None:
    assert SERVICES[name]["command"][0] in PROGRAM | get_commands().keys()


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_the_database_is_migrated_before_a_service_starts(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_only_the_server_is_reached_and_only_from_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"server": ["127.0.0.1:8000:8000"]}


def test_every_variable_is_required_and_in_the_example() -> None:
    example = (ROOT / "deploy/orb.env.example").read_text()
    used = re.findall(r"\$\{(\w+)(:\?[^}]+)?\}", TEXT)
    assert used
    for name, required in used:
        assert required, f"{name} may be empty"
        assert re.search(rf"^{name}=", example, re.MULTILINE), name
