"""docs/openapi.json is what the code says, and says all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from luna.records import Profile
from te.records import Reflection
from tests.api.conftest import Caller
from tests.support.serving import manage, production

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
TOLD = json.loads(DOCUMENT.read_text())
UNTOLD = {"/livez", "/readyz", "/api/schema", "/api/docs"}
"""What asks for no token, or for a session of staff."""


def test_the_document_is_as_the_code_says(tmp_path: Path) -> None:
    made = tmp_path / "openapi.json"  # by the project's own settings, without the domain that tests add
    manage(production(tmp_path), "spectacular", "--format", "openapi-json", "--fail-on-warn", "--file", str(made))
    assert made.read_text() == DOCUMENT.read_text(), "run: make openapi"


def _addresses(patterns: Any, start: str = "/") -> Iterator[tuple[str, Any]]:
    for one in patterns:
        address = start + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _addresses(one.url_patterns, address)
        elif isinstance(one, URLPattern):
            yield address, one.callback


def test_every_address_of_the_api_and_every_method_is_told() -> None:
    found = {}
    for address, view in _addresses(get_resolver().url_patterns):
        if address.startswith("/admin/") or address == "/":
            continue
        plain = address.replace("<id:", "{").replace("<int:", "{").replace(">", "}")
        made = getattr(view, "cls", None)
        methods = {name for name in ("get", "post", "put", "patch", "delete") if hasattr(made, name)}
        found[plain] = methods
    assert set(found) >= UNTOLD
    told = {address: {name for name in methods if name != "parameters"} for address, methods in TOLD["paths"].items()}
    assert {address: methods for address, methods in found.items() if address not in UNTOLD} == told


def test_every_operation_tells_who_may_and_how_it_is_refused() -> None:
    for path, methods in TOLD["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] == [{"token": []}], (method, path)
            assert f"Scope: `{operation['x-required-scope']}`." in operation["description"], (method, path)
            assert {"400", "401", "403", "404", "405", "406", "429", "503"} <= set(operation["responses"]), (
                method,
                path,
            )
            assert any(status.startswith("2") for status in operation["responses"])
            if "requestBody" in operation:
                assert operation["requestBody"]["required"]
                assert {"413", "415"} <= set(operation["responses"])
            if method in ("put", "patch"):
                assert {"409", "412", "428"} <= set(operation["responses"])


@pytest.mark.parametrize("kind", [Profile, Reflection])
def test_the_records_have_one_declaration(kind: Any) -> None:
    schema = TOLD["components"]["schemas"][kind.__name__]
    assert set(schema["properties"]) == {one.encode_name for one in _fields(kind) if one.name != "extra"}
    assert "run_id" not in json.dumps(TOLD)


def _fields(kind: Any) -> Any:
    import msgspec

    return msgspec.structs.fields(kind)


@pytest.mark.django_db
def test_what_is_answered_has_the_shape_that_is_told(ana: Caller) -> None:
    ana.put(
        "/api/v1/users/ana/profiles/mars",
        {"preferences": ["a"], "constraints": ["b", {"id": "c", "type": "other", "active": True}]},
    )
    ana.post("/api/v1/users/ana/reflections", {"input": "i", "output": "o", "score": {"a": [1.5, None]}})
    for name, address in (("Profile", "profiles"), ("Reflection", "reflections"), ("Session", "sessions")):
        items = ana.get(f"/api/v1/users/ana/{address}").json()["items"]
        assert len(items) == 1
        _check(name, items[0])
        with pytest.raises(jsonschema.ValidationError):
            _check(name, items[0] | {"createdAt": "now", "updatedAt": "now", "newest": 5})
    _check("Problem", ana.get("/api/v1/users/bo/profiles").json())


def _check(name: str, value: Any) -> None:
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": TOLD["components"]})
