"""The URLs of the API. The `urls.py` of each app with a domain is included."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.views import APIView, exception_handler
from typing_extensions import override

from orbsite.api import operations, url_converters, users  # noqa: F401 -- url_converters registers the path converter
from orbsite.conf.openapi_settings import SPECTACULAR
from orbsite.storage.records.domain import registered

_IS_OURS = settings.ROOT_URLCONF == "orbsite.urls"
"""Whether this is our own server, and not another project that includes the API."""


class AdminLetsIn(BasePermission):
    """Allows users who may use the admin: staff with a valid session, and with a second factor if it is required."""

    @override
    def has_permission(self, request: Any, view: Any) -> bool:
        return bool(admin.site.has_permission(request._request))


class _Defaults(APIView):
    """The framework's defaults, which the settings of another project may have replaced."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (AdminLetsIn,)
    throttle_classes = ()
    versioning_class = None

    def get_exception_handler(self) -> Any:
        """Return the handler that makes every error a response with its detail."""
        return exception_handler


class SchemaView(_Defaults, SpectacularJSONAPIView):
    """The OpenAPI document, for signed-in staff. In another project it has this API alone."""

    custom_settings = None if _IS_OURS else {name: SPECTACULAR[name] for name in SPECTACULAR if "SERVE" not in name}
    urlconf = None if _IS_OURS else "orbsite.api.urls"


class DocsView(_Defaults, SpectacularSwaggerSplitView):
    """The interactive API documentation, for signed-in staff. It loads our own static files only."""

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
    path("api/v1/operations/bulk-migrations/<int:bulk>", operations.OneBulkMigration.as_view()),
    path("api/v1/operations/jobs/<int:job>/cancel", operations.Cancel.as_view()),
]
