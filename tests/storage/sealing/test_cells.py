"""Sealed texts of a database: bound to their place, refused when changed, and the same in every version."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable
from orbsite.storage.sealing.cells import SEALED, DataKey, escaped, key_in, message_in, unwrapped, wrapped
from orbsite.storage.sealing.keys import Key, KeyRing

KEY = DataKey("00112233445566ff", bytes(range(32)))
NAME = "reflections|input|ana|r"
KNOWN = "orb:sealed:1:ABEiM0RVZv8AAAAAAAAAAAAAAABJznZodrPmEnyYepJz4ArIdb1UVB86ag=="
"""What the first version wrote for the text "Größe" with the nonce of zeros."""
MASTER = Key("a", bytes(range(32)))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_in_its_place_alone(text: str, name: str) -> None:
    message = message_in(KEY.seal(text, name))
    assert key_in(message).hex() == KEY.id
    assert KEY.open(message, name) == text
    with pytest.raises(DocumentCorrupt):
        KEY.open(message, f"{name}x")


def test_the_format_is_that_of_the_first_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", bytes)
    made = KEY.seal("Größe", NAME)
    by_hand = AESGCM(KEY.secret).encrypt(bytes(12), "Größe".encode(), NAME.encode())
    assert made == SEALED + base64.b64encode(bytes.fromhex(KEY.id) + bytes(12) + by_hand).decode()
    assert made == KNOWN
    assert KEY.open(message_in(KNOWN), NAME) == "Größe"


def test_no_flip_no_cut_and_no_halves_are_accepted() -> None:
    one, other = KEY.seal("one text of some length", NAME), KEY.seal("other text of some length", NAME)
    tried = [one[: len(one) // 2] + other[len(other) // 2 :]]
    tried += [one[:at] for at in range(len(SEALED), len(one))]
    for at in range(len(SEALED), len(one)):
        tried += [one[:at] + chr(ord(one[at]) ^ 1 << bit) + one[at + 1 :] for bit in range(7)]
    for changed in tried:
        assert opened(changed) is None, changed
    assert len(tried) > 8 * (len(one) - len(SEALED))


def opened(text: str) -> str | None:
    """Return the text, None if it is refused, or sealed by another key, which is not there."""
    try:
        message = message_in(text)
        return KEY.open(message, NAME) if key_in(message).hex() == KEY.id else None
    except DocumentCorrupt:
        return None


def test_texts_that_begin_with_a_mark_are_escaped() -> None:
    assert [escaped(text) for text in ("orb:sealed:1:x", "orb:plain:1:", "orb", "")] == [
        "orb:plain:1:orb:sealed:1:x", "orb:plain:1:orb:plain:1:", "orb", "",
    ]  # fmt: skip


def test_a_data_key_opens_for_its_user_with_its_key_alone() -> None:
    stored, ring = wrapped(KEY, "ana", MASTER), KeyRing([MASTER])
    assert unwrapped(KEY.id, "ana", stored, ring) == KEY
    for key_id, user in ((KEY.id, "bo"), ("0" * 16, "ana")):
        with pytest.raises(DocumentCorrupt, match="is damaged"):
            unwrapped(key_id, user, stored, ring)
    with pytest.raises(KeyUnavailable, match="cannot be opened"):
        unwrapped(KEY.id, "ana", stored, KeyRing([Key("b", bytes(32 * [1]))]))
    with pytest.raises(KeyUnavailable):
        unwrapped(KEY.id, "ana", stored, None)


def test_a_data_key_shows_its_secret_nowhere() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert str(KEY.secret) not in repr(KEY)
