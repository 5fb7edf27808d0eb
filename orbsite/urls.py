"""The URLs of the API, the admin, the health checks and the metrics."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from orbsite.web import health, metrics
from orbsite.web.error_handlers import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("livez", health.live),
    path("readyz", health.ready),
    path("metrics", metrics.Metrics.as_view()),
    path("", include("orbsite.api.urls")),
]
