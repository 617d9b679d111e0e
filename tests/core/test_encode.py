"""Laws of what predictions look like in bytes: the compiled form writes what msgspec writes."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.spec import ModelSpec, Vocabulary
from stream_app.core.answers import Answers
from stream_app.core.batch import PackedRecords, Record, Route
from stream_app.core.calm import UNCALIBRATED, Verdicts
from stream_app.core.encode import Frame, Outlook, encode
from stream_app.core.events import RankedItem

LAW = settings(deadline=None, max_examples=60)
ITEMS, TOP, ACTIONS = 7, 4, ("_close", "other", 'a "quoted" öne')
# Texts of all kinds for whatever is a text.
TEXTS = st.lists(st.text(max_size=40), min_size=ITEMS, max_size=24, unique=True)
EDGES = [0.0, 1e-6, 4e-7, 5e-7, 9.5e-6, 9.4999999e-6, 1e-5, 0.1, 0.5, 0.9999995, 1.0, 1.0000001]

Case = tuple[Frame, Answers, Outlook, Verdicts]
Doubles = npt.NDArray[np.float64]


class Draw:
    """Numbers of a seed."""

    def __init__(self, seed: int, texts: list[str]) -> None:
        self.rng, self.texts = np.random.default_rng(seed), texts

    def text(self) -> str:
        return self.texts[self.rng.integers(len(self.texts))]

    def shares(self, *shape: int) -> Doubles:
        """Six decimals, whatever rounds to them, and edges."""
        rng = self.rng
        kinds = rng.random(shape), rng.integers(0, 10**6, shape) / 1e6, rng.choice(EDGES, shape)
        small = 10.0 ** -rng.uniform(3, 8, shape)
        return np.choose(rng.integers(0, 4, shape), [*kinds, small])

    def numbers(self, n: int) -> Doubles:
        """Of any size that a form in columns takes, zeros included."""
        found = self.rng.uniform(0, 10.0 ** self.rng.integers(-6, 12, n))
        return found * self.rng.choice([1.0, 1.0, 0.0, -0.0], n)

    def p_values(self, n: int) -> Doubles:
        """As a reservoir gives them; at some sizes they are ties at the sixth decimal."""
        size = (
            self.rng.choice([64, 128, 12_800, 16_384, 10_001, 999], n)
            + 1
            - (self.rng.integers(0, 2, n))
        )
        found = self.rng.integers(1, size + 1) / size
        return np.where(self.rng.random(n) < 0.2, np.nan, found)

    def frame(self) -> Frame:
        spec = ModelSpec(
            name="m", actions=ACTIONS, item_count=ITEMS, hidden_width=4, top_k=TOP,
            gap_edges_ms=(1,),
        )  # fmt: skip
        rng, items = self.rng, self.texts[:ITEMS]
        blocked = frozenset(self.text() for _ in range(rng.integers(0, 4)))
        numbers = int(rng.integers(0, 1 << 62)), int(rng.integers(0, 4))
        route = Route("m", self.text(), numbers[0], degraded=numbers[1], blocked=blocked)
        place = self.text(), int(rng.integers(0, 999)), self.text()
        return Frame(*place, route, spec, Vocabulary(items, 2), int(rng.integers(1, TOP + 1)))

    def answers(self, rows: int) -> Answers:
        rng, n = self.rng, int(self.rng.integers(1, 7))
        ranked = [
            [RankedItem(self.text(), round(p, 6)) for p in rng.random(rng.integers(0, 4)).tolist()]
            for _ in range(rng.integers(0, 3))
        ]
        return Answers(
            rows=np.arange(n),
            users=[rng.bytes(16) for _ in range(n)],
            event_ids=[self.text() for _ in range(n)],
            entries=rng.integers(0, rows, n),
            offsets=rng.integers(0, 1 << 62, n) >> rng.integers(0, 62, n),
            at_ms=rng.integers(-(1 << 62), 1 << 62, n) >> rng.integers(0, 62, n),
            revisions=rng.integers(0, 65_536, n),
            fallbacks=rng.integers(0, 3, n).astype(np.uint8),
            lists=rng.integers(-1, len(ranked), n),
            ranked=ranked,
        )

    def outlook(self, rows: int) -> Outlook:
        rng = self.rng
        heads = [(self.shares(rows) * 1.5 - 0.2).astype(np.float32) for _ in range(2)]
        return Outlook(
            top_items=rng.integers(0, ITEMS, (rows, TOP)).astype(np.int32),
            top=self.shares(rows, TOP),
            actions=self.shares(rows, len(ACTIONS)),
            cart=heads[0] if rng.integers(2) else None,
            purchase=heads[1] if rng.integers(2) else None,
            next_ms=np.abs(self.numbers(rows)) if rng.integers(4) else None,
        )

    def case(self) -> Case:
        rows = int(self.rng.integers(1, 5))
        states = self.rng.integers(0, 3, rows).astype(np.uint8)
        verdicts = Verdicts(states, self.numbers(rows), self.p_values(rows))
        return self.frame(), self.answers(rows), self.outlook(rows), verdicts


def both(case: Case) -> tuple[Sequence[Record], list[Record]]:
    plain = encode(*case, compiled=False)
    assert isinstance(plain, list)
    return encode(*case, compiled=True), plain


@LAW
@given(texts=TEXTS, seed=st.integers(0, 1 << 32))
def test_both_forms_give_the_same_bytes(texts: list[str], seed: int) -> None:
    draw = Draw(seed, texts)
    for _ in range(8):
        compiled, plain = both(draw.case())
        assert isinstance(compiled, PackedRecords)
        assert list(compiled) == plain == [compiled[k] for k in range(len(plain))]


def plain_case(n: int = 1, **columns: object) -> Case:
    spec = ModelSpec(name="m", item_count=ITEMS, hidden_width=4, top_k=TOP, gap_edges_ms=(1,))
    told = Frame("t", 0, "m", Route("m"), spec, Vocabulary([f"i{k}" for k in range(ITEMS)], 2), TOP)
    numbers = np.arange(n)
    answers = Answers(
        numbers, [b"u" * 16] * n, ["e"] * n, numbers, numbers, numbers, numbers * 0,
        np.zeros(n, np.uint8), numbers * 0 - 1, [],
    )  # fmt: skip
    given_ = {
        "top_items": np.zeros((n, TOP), np.int32),
        "top": np.zeros((n, TOP)),
        "actions": np.zeros((n, 2)),
        "cart": None,
        "purchase": None,
        "next_ms": np.zeros(n),
    }
    verdicts = Verdicts(np.full(n, UNCALIBRATED, np.uint8), np.zeros(n), np.full(n, np.nan))
    return told, answers, Outlook(**(given_ | columns)), verdicts  # type: ignore[arg-type]


def test_every_number_of_six_decimals_reads_back_as_it_is() -> None:
    """All of them, not a sample: the texts are msgspec's, and those are the shortest."""
    units = np.arange(1_000_001 + TOP)[: 1_000_004 // TOP * TOP]
    shares = np.minimum(units, 1_000_000).reshape(-1, TOP) / 1e6
    records = encode(*plain_case(len(shares), top=shares), compiled=True)
    assert isinstance(records, PackedRecords)
    whole = records.values[: records.ends[-1]].tobytes()
    texts = [part.partition(b"}")[0] for part in whole.split(b'"probability":')[1:]]
    assert b"[%b]" % b",".join(texts) == msgspec.json.encode(shares.reshape(-1).tolist())


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e15, 1e300])
def test_a_number_that_is_none_or_too_large_is_told_all_the_same(strange: float) -> None:
    told = plain_case(2, next_ms=np.array([5.0, strange]))
    compiled, plain = both(told)
    assert list(compiled) == plain
    assert b'"next_event_ms":5.0' in plain[0].value


def test_room_is_made_for_whatever_is_long() -> None:
    told, answers, outlook, verdicts = plain_case(3)
    ids = ["e" * 100_000, "", "é" * 9_999]
    answers = msgspec.structs.replace(answers, event_ids=ids)
    compiled, plain = both((told, answers, outlook, verdicts))
    assert isinstance(compiled, PackedRecords)
    assert list(compiled) == plain


def test_packed_records_are_a_sequence() -> None:
    packed, plain = both(plain_case(5))
    assert packed == plain
    assert packed[1:3] == plain[1:3]
    assert packed[-1] == plain[-1]
    with pytest.raises(IndexError):
        packed[5]
