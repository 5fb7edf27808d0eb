from django.contrib import admin
from django.urls import include, path

from hostsite.views import Own

urlpatterns = [
    path("administration/", admin.site.urls),
    path("own", Own.as_view()),
    path("memory/", include("orbsite.api.urls")),  # orb
]
