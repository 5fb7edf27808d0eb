from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest

from orbsite.storage.errors import InvalidKeys
from orbsite.storage.sealing.keys import Key, KeyRing, KeysFromFile, KeysFromText

SECRET = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()


def test_the_first_key_is_active_and_all_are_found() -> None:
    ring = KeyRing(KeysFromText(f"new:{SECRET}, old:{OTHER}").keys())
    assert ring.active.id == "new"
    old = Key("old", bytes(range(1, 33)))
    assert ring.find("old", old.check) == old


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("noise", "ID:BASE64"),
        (f"{'x' * 33}:{SECRET}", "id of a key"),
        (f":{SECRET}", "id of a key"),
        (f"é:{SECRET}", "id of a key"),
        ("a:not base64!", "ID:BASE64|not Base64"),
        ("a:é", "not Base64|ASCII"),
        (f"a:{SECRET[:20]}", "not Base64|instead of 32"),
        (f"a:{base64.b64encode(b'x' * 16).decode()}", "has 16 bytes instead of 32"),
        (f"a:{SECRET} a:{OTHER}", "same id"),
        (f"a:{SECRET} b:{SECRET}", "same key"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_not_told(text: str, says: str) -> None:
    with pytest.raises(InvalidKeys, match=says) as problem:
        KeyRing(KeysFromText(text).keys())
    assert SECRET not in str(problem.value)


def test_a_key_shows_its_secret_nowhere() -> None:
    secret = secrets.token_bytes(32)
    assert repr(secret)[2:-1] not in repr(Key("a", secret))


def _file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_file_has_comments_and_one_key_a_line(tmp_path: Path) -> None:
    path = _file(tmp_path, f"# made today\n\nnew:{SECRET}\n  old:{OTHER}\n")
    assert [key.id for key in KeysFromFile(path).keys()] == ["new", "old"]  # noqa: SIM118 -- no mapping


@pytest.mark.parametrize(("mode", "says"), [(0o640, "chmod 600"), (0o604, "chmod 600"), (0o666, "chmod 600")])
def test_a_key_file_that_others_can_access_is_refused(tmp_path: Path, mode: int, says: str) -> None:
    with pytest.raises(InvalidKeys, match=says):
        KeysFromFile(_file(tmp_path, f"a:{SECRET}", mode)).keys()


def test_a_key_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(_file(tmp_path, f"a:{SECRET}"))
    for path, says in (
        (link, "cannot be read"),
        (tmp_path, "not a regular file"),
        (tmp_path / "none", "No such file"),
        (_file(tmp_path, "# nothing\n"), "has no key"),
    ):
        with pytest.raises(InvalidKeys, match=says):
            KeysFromFile(path).keys()
