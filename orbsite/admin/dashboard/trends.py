"""The page of trends: plots that answer questions, each with its data as a table, and with what to do first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path

from orbsite.admin.base.permissions import may, may_see, page
from orbsite.admin.dashboard.charts import Chart
from orbsite.admin.dashboard.plot import Plot, plotted
from orbsite.admin.dashboard.trend_charts import trend_charts
from orbsite.admin.dashboard.trend_data import read_trends
from orbsite.models.ledger import Reject, Run
from orbsite.models.statistics import Growth
from orbsite.operations.monitoring.alert import Link, May, form
from orbsite.operations.monitoring.console_pages import page_address
from orbsite.storage.clock import utc_now

_FIRST = {
    "forecast": ("maintain", "Run maintenance…"),
    "retention": ("maintain", "Run maintenance…"),
    "cutover": ("measure", "Count and compare…"),
    "verifications": ("verify", "Verify…"),
    "rejects": ("migrate", "Migrate…"),
}
"""The operation that gives a chart its first data, by the first word of the chart's name."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A question with its plot; without data, with a link to what gives it some."""

    chart: Chart
    plot: Plot | None
    links: list[Link]


def urls(site: AdminSite) -> list[Any]:
    """Return the URL pattern of the page."""

    def show(request: HttpRequest) -> Any:
        shown = {"title": "Trends", "trends": list(trends(request.user))}
        return TemplateResponse(request, "console/trends.html", site.each_context(request) | shown)

    return [path("console/trends/", page(site, show, allowed=may_look), name="trends")]


def may_look(request: HttpRequest) -> bool:
    """Return whether the user may open the page."""
    return may_see_some(request.user)


def may_see_some(user: Any) -> bool:
    """Return whether the user may view the data of at least one plot."""
    return any(may_see(user, model) for model in (Growth, Run, Reject))


def trends(user: Any) -> Iterator[Trend]:
    """Yield each question that the user may see the answer of."""
    for chart in trend_charts(read_trends(user, utc_now())):
        is_empty = not chart.labels or chart.is_empty
        links = list(_first(chart.name, user, partial(may, user))) if is_empty else []
        yield Trend(chart, None if is_empty else plotted(chart), links)


def _first(name: str, user: Any, allowed: May) -> Iterator[Link]:
    word = name.partition("-")[0]
    if word in _FIRST:
        yield from form(allowed, *_FIRST[word])
    elif user.has_perm("orbsite.add_token"):
        yield Link("Create a token…", partial(page_address, "orbsite_token_add"))
