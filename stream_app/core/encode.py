"""Predictions from columns to bytes: compiled, and as structs of the wire, which are the reference
and give the same bytes."""

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import islice
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import numpy.typing as npt

from model.spec import Floats, Ints, ModelSpec, Vocabulary
from stream_app.core.answers import FALLBACKS, Answers
from stream_app.core.batch import PackedRecords, Record, Route
from stream_app.core.c_library import addresses, library
from stream_app.core.calm import Verdicts
from stream_app.core.events import Prediction, RankedItem, Source
from stream_app.core.privacy import PSEUDONYM_BYTES

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_encode = msgspec.json.Encoder().encode
# What a prediction takes at first sight; more is made room for.
_FIRST_BYTES = 2048


class Frame(msgspec.Struct, frozen=True):
    """What all predictions of a batch have in common."""

    topic: str
    partition: int
    version: str  # of the model
    route: Route
    spec: ModelSpec
    vocabulary: Vocabulary
    most: int  # items of the model that a prediction names


class Outlook(msgspec.Struct, frozen=True):
    """What the model expects, by entry of the results."""

    top_items: Ints  # [N, K]
    top: Doubles  # [N, K] probabilities
    actions: Doubles  # [N, A] probabilities
    cart: Floats | None  # [N] probabilities; None where training never saw the action
    purchase: Floats | None  # [N]
    next_ms: Doubles | None  # [N] expected time to the next event


def encode(
    frame: Frame,
    answers: Answers,
    outlook: Outlook,
    verdicts: Verdicts,
    compiled: bool | None = None,
) -> Sequence[Record]:
    """One record per prediction, key = pseudonym. ``compiled`` False asks for the form in Python;
    None takes the compiled one where it is there and can write these numbers."""
    form = None if compiled is False else compiled_form()
    packed = None if form is None else form.encode(frame, answers, outlook, verdicts)
    return _as_structs(frame, answers, outlook, verdicts) if packed is None else packed


def _as_structs(
    frame: Frame, answers: Answers, outlook: Outlook, verdicts: Verdicts
) -> list[Record]:
    records = []
    for k in range(len(answers.rows)):
        prediction = _prediction(k, frame, answers, outlook, verdicts)
        row, key = int(answers.rows[k]), prediction.user.encode()
        records.append(Record(row, key, _encode(prediction)))
    return records


def _prediction(
    k: int, frame: Frame, answers: Answers, outlook: Outlook, verdicts: Verdicts
) -> Prediction:
    entry, place = int(answers.entries[k]), int(answers.lists[k])
    actions = np.round(np.minimum(outlook.actions[entry], 1.0), 6).tolist()  # [A]
    next_ms = outlook.next_ms
    return Prediction(
        event_id=answers.event_ids[k],
        user=answers.users[k].hex(),
        source=Source(frame.topic, frame.partition, int(answers.offsets[k])),
        at_ms=int(answers.at_ms[k]),
        revision=int(answers.revisions[k]),
        model=frame.version,
        arm=frame.route.arm,
        as_of=frame.route.as_of,
        items=_ranked(entry, frame, outlook) if place < 0 else answers.ranked[place],
        actions=dict(zip(frame.spec.actions, actions, strict=True)),
        cart=_head(outlook.cart, entry),
        purchase=_head(outlook.purchase, entry),
        next_event_ms=None if next_ms is None else float(np.round(next_ms[entry], 1)),
        anomaly=verdicts.tell(entry),
        fallback=FALLBACKS[answers.fallbacks[k]],
        degraded=frame.route.degraded,
    )


def _ranked(entry: int, frame: Frame, outlook: Outlook) -> list[RankedItem]:
    """The model's likeliest items. Blocked ones leave a gap: the model names no more than K."""
    items, blocked = frame.vocabulary.items, frame.route.blocked
    shares = np.round(np.minimum(outlook.top[entry], 1.0), 6).tolist()  # [K]
    pairs = zip(outlook.top_items[entry].tolist(), shares, strict=True)
    named = (RankedItem(items[code], p) for code, p in pairs if items[code] not in blocked)
    return [*islice(named, frame.most)]


def _head(heads: Floats | None, entry: int) -> float | None:
    """A head's probability; None where training never saw the action."""
    return None if heads is None else round(min(max(float(heads[entry]), 0.0), 1.0), 6)


# --- the compiled form


class _Texts(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_void_p), ("ends", ctypes.c_void_p))


class _Predictions(ctypes.Structure):
    _fields_ = (
        *((name, _Texts) for name in ("parts", "actions", "items", "ids", "lists")),
        *((name, ctypes.c_void_p) for name in ("blocked", "users", "entries", "offsets", "at_ms")),
        *((name, ctypes.c_void_p) for name in ("revisions", "list", "fallbacks", "states")),
        *((name, ctypes.c_void_p) for name in ("scores", "p_values", "top_items", "top")),
        *((name, ctypes.c_void_p) for name in ("action", "cart", "purchase", "next_ms")),
        *((name, ctypes.c_int64) for name in ("n", "item_count", "top_count", "action_count")),
        ("most", ctypes.c_int64),
    )


class Texts:
    """Texts behind one another, as the compiled form reads them."""

    def __init__(self, bytes_: npt.NDArray[np.uint8], ends: Numbers) -> None:
        self._bytes, self._ends = bytes_, ends
        self.pointers = _Texts(*addresses(bytes_, ends))

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> "Texts":
        if not texts:
            return _no_texts()
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        return cls(np.frombuffer(b"".join(texts), np.uint8), ends)


@cache
def _no_texts() -> Texts:
    return Texts(np.zeros(0, np.uint8), np.zeros(0, np.int64))


class ItemTexts:
    """A vocabulary's item ids as they stand in JSON, and which of them are blocked."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self._blocked: frozenset[str] = frozenset()
        self._marks: npt.NDArray[np.uint8] | None = None

    def marks(
        self, blocked: frozenset[str], vocabulary: Vocabulary
    ) -> npt.NDArray[np.uint8] | None:
        """1 where an item is blocked [V]; None where none is."""
        if blocked is not self._blocked:
            marks = np.zeros(len(vocabulary.items), np.uint8)
            codes = [vocabulary.code(item) for item in blocked]
            marks[[code for code in codes if code < len(marks)]] = 1
            self._blocked, self._marks = blocked, marks if marks.any() else None
        return self._marks


class CompiledForm:
    """``native/predictions.c``"""

    def __init__(self, found: ctypes.CDLL) -> None:
        self._write, self._split = found.predictions_write, found.predictions_texts
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._write.argtypes = (
            ctypes.POINTER(_Predictions),
            number,
            pointer,
            number,
            *[pointer] * 2,
        )
        self._split.argtypes = (ctypes.c_char_p, number, pointer, pointer)
        self._write.restype = self._split.restype = number
        self._items: WeakKeyDictionary[Vocabulary, ItemTexts] = WeakKeyDictionary()

    def encode(
        self, frame: Frame, answers: Answers, outlook: Outlook, verdicts: Verdicts
    ) -> PackedRecords | None:
        """None where a number is none, or too large for this form."""
        held, route = self.items(frame.vocabulary), frame.route
        ids, lists = self.quoted(answers.event_ids), [_encode(one) for one in answers.ranked]
        texts = (_parts(frame), _actions(frame.spec.actions), held.texts, ids, Texts.of(lists))
        users = np.frombuffer(b"".join(answers.users), np.uint8)
        columns = (
            *(held.marks(route.blocked, frame.vocabulary), users, answers.entries),
            *(answers.offsets, answers.at_ms, answers.revisions, answers.lists, answers.fallbacks),
            *(verdicts.states, verdicts.scores, verdicts.p_values, outlook.top_items, outlook.top),
            *(outlook.actions, outlook.cart, outlook.purchase, outlook.next_ms),
        )
        n = len(answers.rows)
        counts = (n, frame.spec.item_count, frame.spec.top_k, len(frame.spec.actions), frame.most)
        pointers = [text.pointers for text in texts]
        told = _Predictions(*pointers, *addresses(*columns), *counts)
        names = np.empty((n, 2 * PSEUDONYM_BYTES), np.uint8)
        written = self._written(told, n, names)
        if written is None:
            return None
        values, ends = written
        return PackedRecords(answers.rows, names, values, ends)

    def _written(
        self, told: _Predictions, n: int, names: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], Numbers] | None:
        values, ends = np.empty((n + 1) * _FIRST_BYTES, np.uint8), np.empty(n, np.int64)
        done = 0
        while True:
            into, *found = addresses(values, ends, names)
            done = self._write(ctypes.byref(told), done, into, len(values), *found)
            if done < 0:
                return None
            if done == n:
                return values, ends
            values = np.concatenate([values, np.empty(len(values) + (1 << 20), np.uint8)])

    def items(self, vocabulary: Vocabulary) -> ItemTexts:
        held = self._items.get(vocabulary)
        if held is None:
            held = self._items[vocabulary] = ItemTexts(self.quoted(vocabulary.items))
        return held

    def quoted(self, texts: Sequence[str]) -> Texts:
        """Texts as JSON strings."""
        array = _encode(texts)
        bytes_, ends = np.empty(len(array), np.uint8), np.empty(len(texts), np.int64)
        self._split(array, len(array), *addresses(bytes_, ends))
        return Texts(bytes_, ends)


@cache
def compiled_form() -> CompiledForm | None:
    """None where it was not built."""
    found = library(__file__, "predictions", 1)
    return None if found is None else CompiledForm(found)


def _parts(frame: Frame) -> Texts:
    route = frame.route
    return _common(
        frame.topic, frame.partition, frame.version, route.arm, route.as_of, route.degraded
    )


@lru_cache(maxsize=256)
def _common(topic: str, partition: int, version: str, arm: str, as_of: int, degraded: int) -> Texts:
    """What stands between what differs."""
    place = b'","source":{"topic":%b,"partition":%d,"offset":' % (_encode(topic), partition)
    model = b',"model":%b,"arm":%b,"as_of":%d,"items":' % (_encode(version), _encode(arm), as_of)
    return Texts.of(
        [
            b'{"event_id":',
            b',"user":"',
            place,
            b'},"at_ms":',
            b',"revision":',
            model,
            b',"anomaly":{"state":"',
            b'","score":',
            b',"degraded":%d}' % degraded,
        ]
    )


@lru_cache(maxsize=64)
def _actions(names: tuple[str, ...]) -> Texts:
    return Texts.of([_encode(name) + b":" for name in names])
