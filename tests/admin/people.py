"""Users with the permissions that tests need."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission, User
from django.test import Client


def staff_client(name: str, *permissions: str, group: str = "") -> Client:
    """Return a signed-in client of a staff user with permissions such as `orbsite.view_job`."""
    user = User.objects.create_user(name, password="open sesame", is_staff=True)
    if group:
        user.groups.add(Group.objects.get(name=group))
    for one in permissions:
        label, codename = one.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    client = Client()
    client.force_login(user)
    return client
