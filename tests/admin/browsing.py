"""Pages as a browser has them: the form that it would send, and the links that it would follow."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

_UNSENT = {"submit", "button", "image", "file"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[dict[str, list[str]]] = []
        self.links: list[str] = []
        self.boxes: list[tuple[str, str]] = []
        self.shapes: set[tuple[str, ...]] = set()
        self._inert, self._area = 0, ""
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.shapes.add((tag, *sorted(found)))
        if tag == "template":
            self._inert += 1
        if self._inert:
            return
        if tag == "form":
            self.forms.append({})
        elif tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "textarea" and found.get("name"):
            self._area, self._text = found["name"], []
        elif tag == "input" and found.get("type") == "checkbox" and "checked" not in found:
            self.boxes.append((found.get("name", ""), _sent(found.get("value", "on"))))
        elif tag == "input" and found.get("name") and found.get("type") not in _UNSENT:
            value = found.get("value", "on" if found.get("type") == "checkbox" else "")
            self._send(found["name"], re.sub("[\r\n]", "", value) if found.get("type") == "text" else value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "template":
            self._inert -= 1
        if tag == "textarea" and self._text is not None:
            self._send(self._area, re.sub("^\n", "", "".join(self._text)))
            self._text = None

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def _send(self, name: str, value: str) -> None:
        if self.forms:
            self.forms[-1].setdefault(name, []).append(_sent(value))


def form_of(response: Any, having: str) -> dict[str, list[str]]:
    """Return what a browser sends of the form that has such a field, where nobody changes anything."""
    page = _parsed(response)
    return next(form for form in page.forms if having in form)


def link_of(response: Any, fitting: str) -> str:
    """Return the address that a browser asks for when it follows the link that a pattern fits."""
    (href, *_) = (one for one in _parsed(response).links if re.search(fitting, one))
    return followed(response, href)


def followed(response: Any, href: str) -> str:
    """Return what a browser makes of an address: segments that are dots, `%2e` too, are taken out."""
    dots = re.sub("%2e", ".", href, flags=re.IGNORECASE)
    return urljoin(f"http://testserver{response.request['PATH_INFO']}", dots).removeprefix("http://testserver")


def shapes_of(response: Any) -> set[tuple[str, ...]]:
    """Return each element that a page has, with the names of its attributes: what no text of a user may add to."""
    return _parsed(response).shapes


def boxes_of(response: Any, name: str) -> list[str]:
    """Return what a browser sends for each box of a name that is not ticked yet."""
    return [value for one, value in _parsed(response).boxes if one == name]


def _sent(value: str) -> str:
    return re.sub("\r\n?|\n", "\r\n", value)


def _parsed(response: Any) -> _Page:
    assert response.status_code == 200, response.status_code
    page = _Page()
    page.feed(response.content.decode().replace("\r\n", "\n"))
    return page
