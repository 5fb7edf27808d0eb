"""Files are sealed, change their key and are opened again by commands, and nothing readable is left of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from orbsite import stores
from orbsite.storage.errors import KeyUnavailable, NotSealed
from orbsite.storage.file.tombstones import Tombstones
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.management.test_commands import run
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "canary-8d1f"
OLD, NEW, WRONG = (f"{name}:{base64.b64encode(secret * 32).decode()}" for name, secret in
                   (("old", b"o"), ("new", b"n"), ("old", b"x")))  # fmt: skip
ROOT = Path(__file__).parents[2]


@pytest.fixture
def sealed(files: Path, settings: Any) -> Path:
    """The sample and a canary in a document, a journal, a set-aside copy and a tombstone, sealed with the old key."""
    settings.ORB_DATA_DIR, settings.ORB_JOURNAL = files, "0"
    store = stores.file_store(TE, files)
    store.put([ReflectionFactory(id="canary", input=CANARY)])
    stores.file_store(LUNA, files).put([ProfileFactory(user_id="ana", preferences=(CANARY,))])
    (files / "te/reflections.json.conflict-1700000000000000000").write_text(f'{{"{CANARY}": 1}}')
    Tombstones(files).write("20240101T000000Z", [{"domain": "te", "original": CANARY}])
    settings.ORB_KEYS = OLD
    code, report = run("seal_orb_data", "--data-dir", files, "--apply")
    assert (code, report["ok"]) == (0, True)
    return files


def readable(base: Path) -> list[str]:
    """Return the files in which the canary can be read."""
    return [str(path) for path in base.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def canaries(base: Path) -> int:
    found = stores.file_store(TE, base).find(Reflection)
    return sum(one.input == CANARY for one in found)


def test_sealing_writes_what_it_announces_and_leaves_nothing_readable(files: Path, settings: Any) -> None:
    settings.ORB_DATA_DIR = files
    stores.file_store(TE, files).put([ReflectionFactory(id="canary", input=CANARY)])
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    settings.ORB_KEYS = OLD
    _, planned = run("seal_orb_data", "--data-dir", files)
    assert {path: path.read_bytes() for path in before} == before
    code, done = run("seal_orb_data", "--data-dir", files, "--apply")
    assert code == 0
    assert done["domains"]["te"]["written"] == planned["domains"]["te"]["to write"] > 0
    assert readable(files) == []
    code, again = run("seal_orb_data", "--data-dir", files, "--apply")
    assert (code, again["domains"]["te"]["written"]) == (0, 0)


def test_the_first_sealing_leaves_no_plain_previous_generation(files: Path, settings: Any) -> None:
    settings.ORB_DATA_DIR = files
    path = files / "te/reflections.json"
    path.write_bytes(path.read_bytes().replace(b'"input": "', b'"input": "%s ' % CANARY.encode(), 1))
    path.with_name(f"{path.name}.prev").unlink(missing_ok=True)
    assert readable(files) == [str(path)]
    settings.ORB_KEYS = OLD
    assert run("seal_orb_data", "--data-dir", files, "--apply")[0] == 0
    assert readable(files) == []
    assert path.with_name(f"{path.name}.prev").exists()
    assert run("orb_key_status", "--data-dir", files)[0] == 0


def test_sealed_files_are_used_as_before_and_new_saves_are_sealed(sealed: Path) -> None:
    assert readable(sealed) == []
    assert canaries(sealed) == 1
    stores.file_store(TE, sealed).put([ReflectionFactory(id="second", input=CANARY)])
    assert (sealed / "te/reflections.json.journal").exists()
    assert canaries(sealed) == 2
    for command in ("check_orb_files", "validate_orb_files"):
        code, report = run(command, "--data-dir", sealed)
        assert (code, report["ok"]) in ((0, True), (1, False)), report
    assert readable(sealed) == []


def test_unsealing_brings_the_same_bytes_back(files: Path, settings: Any) -> None:
    before = {path: path.read_bytes() for path in files.rglob("*.json")}
    settings.ORB_KEYS = OLD
    assert run("seal_orb_data", "--data-dir", files, "--apply")[0] == 0
    assert run("seal_orb_data", "--data-dir", files, "--unseal", "--apply")[0] == 0
    assert {path: path.read_bytes() for path in before} == before


def test_keys_are_rotated_and_the_status_tells_when_the_old_one_is_not_needed(sealed: Path, settings: Any) -> None:
    settings.ORB_KEYS = f"{NEW},{OLD}"
    assert canaries(sealed) == 1
    code, status = run("orb_key_status", "--data-dir", sealed)
    assert code == 1
    assert status["domains"]["te"]["key old: files"] >= 3
    assert run("rotate_orb_keys", "--data-dir", sealed)[1]["domains"]["te"]["to write"] >= 3
    assert run("rotate_orb_keys", "--data-dir", sealed, "--apply")[0] == 0
    code, status = run("orb_key_status", "--data-dir", sealed)
    assert code == 0
    assert "key old" not in str(status)
    settings.ORB_KEYS = NEW
    assert canaries(sealed) == 1


@pytest.mark.parametrize(("keys", "says"), [("", "no key is configured"), (NEW, "not among"), (WRONG, "another key")])
def test_without_the_right_key_nothing_is_read_or_written(sealed: Path, settings: Any, keys: str, says: str) -> None:
    before = {path: path.read_bytes() for path in sealed.rglob("*") if path.is_file() and path.suffix != ".lock"}
    settings.ORB_KEYS = keys
    store = stores.file_store(TE, sealed)
    with pytest.raises(KeyUnavailable, match=says):
        store.find(Reflection)
    with pytest.raises(KeyUnavailable, match=says):
        store.put([ReflectionFactory(id="new")])
    for command in (
        ("migrate_orb_files",),
        ("compact_orb_files",),
        ("check_orb_files",),
        ("repair_orb_files", "--apply"),
    ):
        code, report = run(*command, "--data-dir", sealed)
        assert code == 2, (command, report)
    if keys:
        assert run("rotate_orb_keys", "--data-dir", sealed, "--apply")[0] == 2
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["te/reflections.json", "te/reflections.json.journal"])
def test_plain_files_in_the_place_of_sealed_ones_are_refused_until_they_are_taken_in(
    sealed: Path, settings: Any, name: str
) -> None:
    stores.file_store(TE, sealed).put([ReflectionFactory(id="second", input="i")])
    settings.ORB_KEYS = ""
    plain = sealed.parent / "plain"
    for number in range(2):
        stores.file_store(TE, plain).put([ReflectionFactory(id=f"of another program {number}")])
    (sealed / name).write_bytes((plain / name).read_bytes())
    before = (sealed / name).read_bytes()
    settings.ORB_KEYS = OLD
    for act in (lambda store: store.find(Reflection), lambda store: store.put([ReflectionFactory(id="new")])):
        with pytest.raises(NotSealed, match="seal_orb_data --apply"):
            act(stores.file_store(TE, sealed))
    assert (sealed / name).read_bytes() == before
    if name.endswith(".json"):
        (sealed / f"{name}.journal").unlink()
        assert run("seal_orb_data", "--data-dir", sealed, "--only", "te", "--apply")[0] == 0
        assert [one.id for one in stores.file_store(TE, sealed).find(Reflection)] == ["of another program 0"]


def test_a_damaged_copy_is_left_and_told_and_the_rest_is_sealed(sealed: Path, settings: Any) -> None:
    path = sealed / "te/reflections.json.conflict-1700000000000000000"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    settings.ORB_KEYS = f"{NEW},{OLD}"
    code, report = run("rotate_orb_keys", "--data-dir", sealed, "--apply")
    assert (code, report["domains"]["te"]["left"]) == (1, 1)
    assert "it was left as it is" in str(report)
    assert canaries(sealed) == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ORB_COMPRESSION", "gzip", "none or zstd"),
        ("ORB_KEYS", "noise", "ID:BASE64"),
        ("ORB_KEY_FILE", "/nowhere/keys", "cannot be read"),
        ("ORB_KEY_PROVIDER", "no.such.Thing", "cannot be imported"),
    ],
)
def test_settings_that_cannot_be_used_are_told(files: Path, settings: Any, name: str, value: str, says: str) -> None:
    setattr(settings, name, value)
    code, report = run("validate_orb_files", "--data-dir", files)
    assert code == 2
    assert says in str(report)


class Keys:
    """A provider, as a key management service would have one."""

    def keys(self) -> list[Any]:
        from orbsite.storage.sealing.keys import Key

        return [Key("service", b"s" * 32)]


def test_keys_may_come_from_a_provider(files: Path, settings: Any) -> None:
    settings.ORB_KEY_PROVIDER = f"{__name__}.Keys"
    assert run("seal_orb_data", "--data-dir", files, "--apply")[0] == 0
    assert "key service: files" in run("orb_key_status", "--data-dir", files)[1]["domains"]["te"]
    settings.ORB_KEYS = OLD
    code, report = run("orb_key_status", "--data-dir", files)
    assert code == 2
    assert "keys come from one place" in str(report)


def test_a_plain_copy_is_left_by_a_rotation_and_told(sealed: Path, settings: Any) -> None:
    path = sealed / "te/reflections.json.conflict-1700000000000000001"
    path.write_text("{}")
    settings.ORB_KEYS = f"{NEW},{OLD}"
    for options in ((), ("--apply",)):
        code, report = run("rotate_orb_keys", "--data-dir", sealed, *options)
        assert (code, report["domains"]["te"]["left"]) == (1, 1)
        assert "seal_orb_data --apply" in str(report)
    assert path.read_text() == "{}"
    settings.ORB_KEYS = NEW
    assert canaries(sealed) == 1


def test_looking_at_the_keys_changes_no_mode(sealed: Path) -> None:
    directory = sealed / ".orb/tombstones"
    directory.chmod(0o750)
    assert run("orb_key_status", "--data-dir", sealed)[0] == 0
    assert run("seal_orb_data", "--data-dir", sealed)[0] == 0
    assert directory.stat().st_mode & 0o777 == 0o750
