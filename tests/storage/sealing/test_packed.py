from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable, OrbError
from orbsite.storage.sealing import compression, packed
from orbsite.storage.sealing.keys import Key, KeyRing
from orbsite.storage.sealing.packed import pack, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
RING = KeyRing([NEW, OLD])
DATA = '{"ana": "größer, and the same again, the same again, the same again"}'.encode()
FORMS = [(True, NEW), (False, NEW), (True, None)]


@given(st.binary(max_size=500), st.booleans(), st.sampled_from([None, OLD, NEW]), st.text(max_size=9))
def test_any_bytes_come_back(data: bytes, is_compressed: bool, key: Key | None, name: str) -> None:
    assert unpack(pack(data, name, is_compressed=is_compressed, key=key), name, RING) == data


def violations(message: bytes, keys: KeyRing | None) -> list[str]:
    """Return the cuts, the flips and the additions that are not refused."""
    changed = {f"cut at {at}": message[:at] for at in range(len(message))}
    for at, byte in enumerate(message):
        for mask in (1, 0x80, 0xFF):
            changed[f"flipped {mask:x} at {at}"] = message[:at] + bytes([byte ^ mask]) + message[at + 1 :]
    changed |= {"longer": message + b"x", "twice": message * 2, "two halves": message[:40] + message[40:][::-1]}
    found = []
    for what, one in changed.items():
        try:
            unpack(one, "te/reflections", keys)
        except (DocumentCorrupt, KeyUnavailable):
            continue
        found.append(what)
    return found


@pytest.mark.parametrize(("is_compressed", "key"), FORMS, ids=["both", "sealed", "compressed"])
def test_no_cut_and_no_flip_is_accepted(is_compressed: bool, key: Key | None) -> None:
    message = pack(DATA, "te/reflections", is_compressed=is_compressed, key=key)
    assert violations(message, RING) == []


def test_without_checksums_a_flip_in_a_frame_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "crc32", lambda *_: 0)
    monkeypatch.setitem(compression.WRITE, zstd.CompressionParameter.checksum_flag, 0)
    assert violations(pack(DATA, "te/reflections", is_compressed=True, key=None), None)


def test_a_message_of_another_name_is_refused() -> None:
    message = pack(DATA, "luna/profiles", is_compressed=True, key=NEW)
    with pytest.raises(DocumentCorrupt, match="belongs in another place"):
        unpack(message, "te/reflections", RING)


def test_two_halves_of_two_messages_are_refused() -> None:
    one, two = (pack(DATA, "n", is_compressed=False, key=NEW) for _ in range(2))
    assert one != two
    for at in range(1, len(one)):
        if one[:at] != two[:at] and one[at:] != two[at:]:
            with pytest.raises((DocumentCorrupt, KeyUnavailable)):
                unpack(one[:at] + two[at:], "n", RING)


def test_a_missing_and_a_wrong_key_are_told_apart_from_damage() -> None:
    message = pack(DATA, "n", is_compressed=True, key=OLD)
    for ring, says in (
        (None, "no key is configured"),
        (KeyRing([NEW]), "not among the keys"),
        (KeyRing([Key("old", b"x" * 32)]), "another key than the one that has the id 'old'"),
    ):
        with pytest.raises(KeyUnavailable, match=says) as problem:
            unpack(message, "n", ring)
        assert "nothing was changed" in str(problem.value)


def test_a_newer_format_is_refused() -> None:
    message = pack(DATA, "n", is_compressed=True, key=NEW)
    with pytest.raises(DocumentCorrupt, match="format 2, and this program knows 1"):
        unpack(message[:4] + b"\x02" + message[5:], "n", RING)


def _without_size(data: bytes) -> bytes:
    compressor = zstd.ZstdCompressor()
    return compressor.compress(data) + compressor.flush()


def _with_a_large_window() -> bytes:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 1}
    compressor = zstd.ZstdCompressor(options=options)
    compressor.set_pledged_input_size(200 * 2**20)
    return compressor.compress(bytes(200 * 2**20), mode=zstd.ZstdCompressor.FLUSH_FRAME)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (lambda: zstd.compress(bytes(2**30)), "not plausible"),
        (lambda: _without_size(DATA * 99), "has no size"),
        (_with_a_large_window, "not plausible|damaged"),
        (lambda: zstd.compress(DATA) + zstd.compress(DATA), "follow"),
        (lambda: zstd.compress(DATA) + b"x", "follow"),
        (lambda: b"", "damaged|no size"),
        (lambda: DATA, "damaged"),
    ],
    ids=["a bomb", "no size", "a large window", "two frames", "more bytes", "nothing", "no frame"],
)
def test_a_frame_that_we_would_not_write_is_refused(frame: object, says: str) -> None:
    assert callable(frame)
    with pytest.raises(DocumentCorrupt, match=says):
        compression.decompress(frame())


def test_what_shrinks_beyond_plausibility_is_stored_as_it_is() -> None:
    data = bytes(compression.SAFE_SIZE + 1)
    assert compression.compress(data) is None
    message = pack(data, "n", is_compressed=True, key=None)
    assert unpack(message, "n", None) == data


def test_errors_are_of_one_tree() -> None:
    assert issubclass(KeyUnavailable, OrbError)
