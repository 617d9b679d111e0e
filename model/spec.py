"""The contract between the stream and the model: what a token is, what memory is, what comes back.

The core, the engine and the training code agree on this module and on nothing else; it imports
neither torch nor ONNX Runtime.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Hidden = npt.NDArray[np.float16] | npt.NDArray[np.float32]

Places = npt.NDArray[np.intp]

CLOSE, OTHER = 0, 1
RESERVED_ACTIONS = ("_close", "other")
FORMAT = 1


class SpecError(ValueError):
    """A model's spec contradicts itself, or two parts come from different models."""

    exit_code: ClassVar[int] = 2


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that state, features and engine must know about a model.

    Item codes: ``0 .. item_count-1`` known items, then ``cold_buckets`` hash buckets for unknown
    ones (inputs only, never predicted), then one code for "no item". Action codes index
    ``actions``; gap code 0 means "no previous event", code g >= 1 is the g-th interval of
    ``gap_edges_ms``. Times are integer milliseconds, intervals are half-open.
    """

    name: str
    actions: tuple[str, ...] = RESERVED_ACTIONS
    item_count: int
    cold_buckets: int = 16
    hidden_width: int
    memory_dtype: Literal["float16", "float32"] = "float16"
    features: tuple[str, ...] = ()
    gap_edges_ms: tuple[int, ...] = ()
    reset_at_session: bool = False
    session_gap_ms: int = 1_800_000
    window_ms: int = 1_800_000
    ring_length: int = 50
    top_k: int = 20
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise SpecError(f"model format {self.format} is not the supported format {FORMAT}")
        if self.actions[:2] != RESERVED_ACTIONS:
            raise SpecError(f"actions must begin with {RESERVED_ACTIONS}, got {self.actions[:2]}")
        if len({action_hash(name) for name in self.actions}) != len(self.actions):
            raise SpecError("two actions share a name or a 16-bit hash; rename one of them")
        if not 2 <= len(self.actions) <= 64:
            raise SpecError(f"2 to 64 actions are supported, got {len(self.actions)}")
        if list(self.gap_edges_ms) != sorted(set(self.gap_edges_ms)):
            raise SpecError("gap_edges_ms must rise strictly")
        if min(self.item_count, self.cold_buckets, self.hidden_width) < 1:
            raise SpecError("item_count, cold_buckets and hidden_width must be at least 1")
        if not 2 <= self.ring_length <= 250:
            raise SpecError(f"ring_length must be 2 to 250, got {self.ring_length}")
        if not 0 < self.window_ms <= 14 * 86_400_000:
            raise SpecError("window_ms must be above 0 and at most 14 days")
        if not 1 <= self.top_k <= self.item_count:
            raise SpecError(f"top_k must be 1 to item_count={self.item_count}, got {self.top_k}")

    @property
    def input_count(self) -> int:
        """Rows of the input item table: items, cold buckets, and the row for "no item"."""
        return self.item_count + self.cold_buckets + 1

    @property
    def no_item(self) -> int:
        return self.item_count + self.cold_buckets

    @property
    def gap_count(self) -> int:
        """Gap codes: "no previous event" and one per interval between the edges."""
        return len(self.gap_edges_ms) + 2


def action_hash(name: str) -> int:
    """16-bit hash of an action's name: what the state keeps, whatever model reads it later."""
    return zlib.crc32(name.encode()) & 0xFFFF


def item_hash(item_id: str) -> int:
    """32-bit hash of an item id, never 0 (0 stands for "no item" in the state)."""
    return zlib.crc32(item_id.encode()) or 1


class Vocabulary:
    """Item ids to codes; unknown ids fold into the cold buckets by their hash."""

    def __init__(self, items: Sequence[str], cold_buckets: int) -> None:
        self.items = tuple(items)
        self.cold_buckets = cold_buckets
        self.codes = {item: code for code, item in enumerate(self.items)}
        if len(self.codes) != len(self.items):
            raise SpecError("the item vocabulary names an item twice")
        # Hash 0 stands for "no item". A stable sort leaves the first of equal hashes in front.
        hashes = np.array([0, *map(item_hash, self.items)], np.uint32)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._hash_codes = np.where(order == 0, self.code(None), order - 1).astype(np.int32)

    def code(self, item_id: str | None) -> int:
        """The code of an item id, of its cold bucket, or of "no item" for None."""
        if item_id is None:
            return len(self.items) + self.cold_buckets
        code = self.codes.get(item_id)
        if code is None:
            return len(self.items) + item_hash(item_id) % self.cold_buckets
        return code

    def codes_of(self, hashes: npt.NDArray[np.uint32]) -> Ints:
        """Codes of items of which the state has kept the hash only; 0 is "no item".

        Of known items that share a hash the first is meant, and an unknown item that shares a known
        one's is read as that one: of n known items about n in 4 billion unknown ones do.
        """
        place = np.searchsorted(self._hashes, hashes)
        place = np.minimum(place, len(self._hashes) - 1)
        cold = len(self.items) + (hashes % self.cold_buckets).astype(np.int32)
        codes = np.where(self._hashes[place] == hashes, self._hash_codes[place], cold)
        return codes.astype(np.int32)


class Tokens(msgspec.Struct, frozen=True):
    """One event of each of B users, as the model reads it."""

    item: Ints  # [B] item codes
    action: Ints  # [B] action codes
    gap: Ints  # [B] gap codes
    dense: Floats  # [B, len(spec.features)]

    def rows(self, places: Places | slice) -> "Tokens":
        """Some of the events."""
        return Tokens(*(getattr(self, name)[places] for name in self.__struct_fields__))


class Memory(msgspec.Struct, frozen=True):
    """What the model keeps of each of B users between two events."""

    hidden: Hidden  # [B, spec.hidden_width] in spec.memory_dtype
    log_z: Floats  # [B] log of the softmax denominator over the items, under ``hidden``


class Advance(msgspec.Struct, frozen=True):
    """What one step gives back for B rows. Surprises price the token under the memory before it;
    everything else follows from the memory after it."""

    memory: Memory
    item_surprise: Floats  # [B] -log p(item) in nats; 0 for cold and absent items
    action_surprise: Floats  # [B] -log p(action) in nats
    top_items: Ints  # [B, K] item codes, best first
    top_logp: Floats  # [B, K] log-probabilities of ``top_items``
    action_logp: Floats  # [B, A] log-probabilities of the next action, CLOSE included
    cart: Floats  # [B] probability of a cart event later in the session
    purchase: Floats  # [B] probability of a purchase later in the session
    gap_logp: Floats  # [B, G-1] log-probabilities of the next gap code, codes 1 .. G-1

    def rows(self, places: Places | slice) -> "Advance":
        """What it says of some of the rows."""
        memory = Memory(self.memory.hidden[places], self.memory.log_z[places])
        names = self.__struct_fields__[1:]
        return Advance(memory, *(getattr(self, name)[places] for name in names))


Rounds = Sequence[int]
"""How many of B users have a first token, a second one, ..: B and then ever fewer, or as many. The
tokens come round by round, in each of them those of the first users in the same order; no rounds
are one."""


class Engine(Protocol):
    """A served model. ``advance`` is a pure function of each user's memory and tokens: the same
    bits beside any others. Users may be of any partition."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def version(self) -> str:
        """Name and fingerprint, as outputs carry them."""

    @property
    def fingerprint(self) -> bytes:
        """8 bytes that name the exact weights and spec; state from another one is refused."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def calibration(self) -> Mapping[str, Floats]:
        """Per alert kind, the held-out scores that the export shipped (ascending; may be empty)."""

    def initial(self, rows: int) -> Memory:
        """Memory of ``rows`` users who have done nothing yet."""

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        """One step of B users, or several: see ``Rounds``. What comes back says of each of the N
        tokens what a call with it alone would, under the memory that the one before it left."""


def fingerprint_of(spec: ModelSpec, items: Sequence[str], arrays: Mapping[str, Any]) -> bytes:
    """8 bytes of blake2b over the spec, the vocabulary and every weight (name, shape, bytes)."""
    digest = hashlib.blake2b(digest_size=8, person=b"clickahead-model")
    digest.update(msgspec.json.encode(spec, order="sorted"))
    digest.update(msgspec.json.encode(list(items)))
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.digest()
