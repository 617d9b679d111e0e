"""Pseudonyms: deterministic under a key, unrelated under another."""

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.privacy import PSEUDONYM_BYTES, event_hasher, pseudonymiser

LAW = settings(deadline=None)
KEYS = st.binary(min_size=16, max_size=64)
NAMES = st.text(max_size=40)


@LAW
@given(key=KEYS, name=NAMES, other=NAMES)
def test_a_pseudonym_is_a_function_of_key_and_user(key: bytes, name: str, other: str) -> None:
    pseudonym = pseudonymiser(key)
    assert (pseudonym(name) == pseudonym(other)) == (name == other)
    assert pseudonym(name) == pseudonymiser(key)(name)  # and of nothing that came before
    assert len(pseudonym(name)) == PSEUDONYM_BYTES


@LAW
@given(key=KEYS, other=KEYS, name=NAMES)
def test_another_key_gives_unrelated_pseudonyms_and_hashes(
    key: bytes, other: bytes, name: str
) -> None:
    # blake2b pads its key with zeros.
    is_same = key.ljust(64, b"\0") == other.ljust(64, b"\0") and len(key) == len(other)
    assert (pseudonymiser(key)(name) == pseudonymiser(other)(name)) == is_same
    assert (event_hasher(key)(name) == event_hasher(other)(name)) == is_same


@LAW
@given(key=KEYS, name=NAMES)
def test_without_the_key_a_guess_cannot_be_confirmed(key: bytes, name: str) -> None:
    guess = blake2b(name.encode(), digest_size=PSEUDONYM_BYTES, person=b"clickahead-user")
    assert pseudonymiser(key)(name) != guess.digest()
    keyed = blake2b(name.encode(), key=key, digest_size=PSEUDONYM_BYTES, person=b"clickahead-user")
    assert pseudonymiser(key)(name) == keyed.digest()


@LAW
@given(key=KEYS, name=NAMES, other=NAMES)
def test_an_event_hash_has_48_bits_and_is_never_0(key: bytes, name: str, other: str) -> None:
    hashed = event_hasher(key)
    assert 0 < hashed(name) < 1 << 48
    assert (hashed(name) == hashed(other)) == (name == other)


def test_users_and_events_of_one_name_are_unrelated() -> None:
    key = bytes(range(16))
    assert pseudonymiser(key)("a")[:6] != event_hasher(key)("a").to_bytes(6, "little")


def test_a_key_beyond_blake2bs_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        pseudonymiser(bytes(65))
