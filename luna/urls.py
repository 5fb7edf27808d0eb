"""The URLs of Luna's resources, under /api/v1/."""

from __future__ import annotations

from django.urls import path

from luna import api

urlpatterns = [
    path("users/<id:user>/profiles", api.Profiles.as_view()),
    path("users/<id:user>/profiles/<id:mode>", api.OneProfile.as_view()),
    path("users/<id:user>/active-mode", api.TheActiveMode.as_view()),
    path("users/<id:user>/modes", api.Modes.as_view()),
]
