"""The URLs of Te's resources, under /api/v1/."""

from __future__ import annotations

from django.urls import path

from te import api

urlpatterns = [
    path("users/<id:user>/reflections", api.Reflections.as_view()),
    path("users/<id:user>/reflections/<id:reflection>", api.OneReflection.as_view()),
    path("users/<id:user>/sessions", api.Sessions.as_view()),
    path("users/<id:user>/sessions/<id:session>/reflections", api.OneSession.as_view()),
]
