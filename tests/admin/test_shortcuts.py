"""Each shortcut has a letter of its own, and leads to a page that its reader may open."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.admin.people import staff_client

pytestmark = pytest.mark.django_db
_GO = re.compile(r'<a href="([^"]+)" data-orb-go="(\w)">')


def letters(client: Client) -> dict[str, str]:
    body = client.get(reverse("admin:index")).content.decode()
    found = [(letter, address) for address, letter in _GO.findall(body)]
    assert len({letter for letter, _ in found}) == len(found)
    return dict(found)


def test_a_viewer_is_led_to_what_a_viewer_may_open() -> None:
    client = staff_client("vera", group="viewer")
    found = letters(client)
    assert set(found) == set("drpxojuty")
    assert {client.get(address).status_code for address in found.values()} == {200}
    assert set(letters(staff_client("nora"))) == {"d"}


def test_the_sign_in_has_no_shortcuts(client: Client) -> None:
    body = client.get(reverse("admin:login")).content.decode()
    assert "orb-shortcuts" not in body
    assert "shortcuts.js" not in body
