"""What no page may do: fail, speak of an error, break the Content-Security-Policy, open a dialog, ask another host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

    from tests.browser.site import Site

_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  orbTellViolation(`${event.violatedDirective} at ${event.documentURI}: ${event.blockedURI} ${event.sample}`));
"""
_OURS = ("data", "blob", "about")


class Guard:
    """Collects what the pages of one browser context did wrong."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self._context, self._site = context, site
        self._host = urlsplit(site.address).netloc
        self._allowed: list[str] = []
        self.problems: list[str] = []
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("response", self._response)
        context.expose_binding("orbTellViolation", lambda _, text: self._note(f"policy: {text}"))
        context.add_init_script(_TELL_VIOLATIONS)

    def allow(self, pattern: str) -> None:
        """Let a test do what is refused on purpose, such as look for a page that is not there for somebody."""
        self._allowed.append(pattern)

    def check(self) -> None:
        """Fail where anything was wrong until now."""
        for page in self._context.pages:
            page.evaluate("1")  # whatever it has told before has arrived now
        found = list(dict.fromkeys(one for one in self.problems if not any(re.search(p, one) for p in self._allowed)))
        assert not found, "\n".join(found)

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._note(f"console: {message.type} at {message.location.get('url')}: {message.text}")

    def _error(self, error: WebError) -> None:
        self._note(f"error: {error.error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in _OURS and parts.netloc != self._host:
            self._note(f"request: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            lines = [line for line in self._site.server.lines() if line["level"] == "ERROR"]
            told = [(line["error"], line["at"][-3:]) for line in lines[-1:] if "error" in line]
            self._note(f"answer: {response.status} of {response.request.method} {response.url}: {told}")
