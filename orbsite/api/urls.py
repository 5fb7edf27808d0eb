"""The URLs of the API. The `urls.py` of each app with a domain is included."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.renderers import TemplateHTMLRenderer
from typing_extensions import override

from orbsite.api import operations, url_converters, users  # noqa: F401 -- url_converters registers the path converter
from orbsite.storage.records.domain import registered


class AdminLetsIn(BasePermission):
    """Allows users who may use the admin: staff with a valid session, and with a second factor if it is required."""

    @override
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(admin.site.has_permission(request._request))


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI document, for signed-in staff."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (AdminLetsIn,)


class DocsView(SpectacularSwaggerSplitView):
    """The interactive API documentation, for signed-in staff. It loads our own static files only."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (AdminLetsIn,)
    renderer_classes = [TemplateHTMLRenderer]
    template_name = "api/docs.html"
    url_name = "api-schema"


def _resources() -> list[str]:
    """Return the URL modules of the apps that have resources."""
    names = [apps.get_containing_app_config(type(domain.layout).__module__) for domain in registered()]
    return [f"{one.name}.urls" for one in names if one is not None and find_spec(f"{one.name}.urls")]


urlpatterns = [
    path("api/schema", SchemaView.as_view(), name="api-schema"),
    path("api/docs", DocsView.as_view(), name="api-docs"),
    *(path("api/v1/", include(name)) for name in _resources()),
    path("api/v1/users/<id:user>", users.User.as_view()),
    path("api/v1/users/<id:user>/export", users.UserExport.as_view()),
    path("api/v1/operations/stats", operations.Stats.as_view()),
    *(path(f"api/v1/operations/{name}", operations.view_of(name).as_view()) for name in operations.OFFERED),
    path("api/v1/operations/jobs/<int:job>", operations.OneJob.as_view()),
    path("api/v1/operations/jobs/<int:job>/cancel", operations.Cancel.as_view()),
]
