"""Records of a partition's changelog: their keys, how they are sealed, and how they are refused."""

from collections.abc import Callable, Iterable

import msgspec

from stream_app.core.privacy import PSEUDONYM_BYTES
from stream_app.core.state import StateError

Change = tuple[bytes, bytes | None]
Seal = Callable[[bytes, bytes], bytes]

USER, BLOCK, TRANSITION = b"u", b"c", b"t"
"""First byte of the keys of users, of blocks of calibration scores, of learned transitions."""
USER_KEY_BYTES = len(USER) + PSEUDONYM_BYTES


def unsealed(key: bytes, value: bytes) -> bytes:
    """The default ``seal`` and ``open_``: bytes as they are."""
    return value


def readably(apply: Callable[[bytes, bytes | None], None], key: bytes, value: bytes | None) -> None:
    """Apply a record; StateError for whatever is wrong with it."""
    try:
        apply(key, value)
    except StateError:
        raise
    except (msgspec.MsgspecError, ValueError, LookupError) as error:
        raise StateError(f"changelog record {key[:8]!r} is unreadable: {error}") from error


def foreign(key: bytes) -> StateError:
    """For a key that this program never writes."""
    return StateError(
        f"changelog key {key[:8]!r} is not ClickAhead's. The topic belongs to another "
        "program: choose another worker.app_id."
    )


def block_key(number: int, block: int) -> bytes:
    """Key of a reservoir's block; ``number`` is its place among the kinds of alerts."""
    return BLOCK + bytes([number]) + block.to_bytes(2, "big")


def keyed_blocks(number: int, blocks: Iterable[tuple[int, bytes]]) -> list[tuple[bytes, bytes]]:
    """A reservoir's (block, scores) with their keys."""
    return [(block_key(number, block), scores) for block, scores in blocks]
