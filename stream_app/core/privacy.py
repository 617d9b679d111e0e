"""Pseudonyms: nothing after this line of the flow knows a person, only a keyed hash."""

from collections.abc import Callable
from hashlib import blake2b

PSEUDONYM_BYTES, HASH_BYTES = 16, 6
USER_PERSON, EVENT_PERSON = b"clickahead-user", b"clickahead-event"


def pseudonymiser(key: bytes) -> Callable[[str], bytes]:
    """A function from a user id to its 16-byte pseudonym: blake2b keyed with 16 to 64 bytes, so
    that whoever lacks the key can neither invert nor confirm a guess."""
    keyed = blake2b(key=key, digest_size=PSEUDONYM_BYTES, person=USER_PERSON)

    def pseudonym(user_id: str) -> bytes:
        digest = keyed.copy()
        digest.update(user_id.encode())
        return digest.digest()

    return pseudonym


def event_hasher(key: bytes) -> Callable[[str], int]:
    """A function from an event or session id to 48 bits, never 0, keyed so that nobody can craft
    an id that collides with another user's history."""
    keyed = blake2b(key=key, digest_size=HASH_BYTES, person=EVENT_PERSON)

    def event_hash(event_id: str) -> int:
        digest = keyed.copy()
        digest.update(event_id.encode())
        return int.from_bytes(digest.digest(), "little") or 1

    return event_hash
