"""Laws of decoding and cleaning: no bytes raise, and equal events give equal clicks."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_app.core.clean import (
    LATEST_MS,
    MAX_DWELL_MS,
    MAX_ID_BYTES,
    SYNONYMS,
    Cleaned,
    Click,
    Heartbeat,
    Rejected,
    canonical_action,
    epoch_ms,
    reader,
)
from stream_app.core.config import CoreConfig
from stream_app.core.depth import MAX_DEPTH
from stream_app.core.events import REASONS, RawClick
from tests.core.streams import KEY, START_MS

CONFIG = CoreConfig(pseudonym_key=KEY)
read = reader(CONFIG)
FIELDS = RawClick.__struct_fields__
LAW = settings(deadline=None)
MANY = settings(deadline=None, max_examples=300)

SENTINEL, NUMBER = "zq7xj", 918_273_645

# Tokens that Python's own encoder cannot write, or that parsers of numbers stumble over.
TOKENS = ["1e999", "-1e999", "NaN", "-Infinity", "1" + "0" * 400, "-" + "9" * 5000, "0.1e-400"]
TOKENS += ["-0", "1e308", "18446744073709551616", "-9223372036854775809", "01", "1.", "+1", ".5"]
TOKENS += [
    "true",
    "nul",
    "[]",
    "{}",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    '"\\x"',
    '"',
    "",
]


def text() -> st.SearchStrategy[str]:
    return st.one_of(st.text(max_size=12), st.sampled_from(["2024-01-01T00:00:00Z", "1.7e9", "-1"]))


def numbers() -> st.SearchStrategy[int | float]:
    return st.one_of(
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.integers(0, LATEST_MS),
        st.floats(allow_nan=False, allow_infinity=False),
    )


def scalars() -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.booleans(), numbers(), text())


def anything() -> st.SearchStrategy[Any]:
    some = scalars()
    return (
        some | st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=4), some, max_size=2)
    )


def likely() -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose fields are mostly of the right type."""
    ids = st.one_of(st.text(max_size=8), st.integers(-9, 10**12), st.none())
    numeric = st.one_of(st.none(), st.integers(-9, 10**10), st.floats(-1e9, 1e9))
    right: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(
        ("event_id", "session_id", "item_id", "promotion_id"), ids
    )
    right |= dict.fromkeys(("dwell_ms", "price", "quantity"), numeric)
    right |= dict.fromkeys(("event_type", "query", "device", "ip"), st.none() | st.text(max_size=8))
    wrong = {name: st.one_of(kind, kind, kind, anything()) for name, kind in right.items()}
    always = {
        "user_id": st.one_of(st.text(min_size=1, max_size=8), st.integers(0, 99), anything()),
        "timestamp": st.one_of(st.integers(10**11, LATEST_MS - 1), anything()),
    }
    return st.fixed_dictionaries(always, optional=wrong)


def hostile_objects() -> st.SearchStrategy[dict[str, Any]]:
    names = st.one_of(st.sampled_from(FIELDS), st.text(max_size=6))
    odd = st.one_of(anything(), st.floats(), st.text(st.characters(codec=None), max_size=4))
    return st.dictionaries(names, odd, max_size=6) | likely()


# Made once: composites would build them anew for every example.
LIKELY, HOSTILE = likely(), hostile_objects()
BAD_TOKENS = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(TOKENS), max_size=3)


@st.composite
def with_tokens(draw: st.DrawFn) -> bytes:
    """JSON objects written by hand, with numbers and strings that are none."""
    good = {"user_id": '"u1"', "timestamp": str(START_MS)}
    bad = draw(BAD_TOKENS)
    return (
        "{" + ",".join(f'"{name}":{token}' for name, token in (good | bad).items()) + "}"
    ).encode()


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """An object as JSON in some encoding, or as MessagePack."""
    event = draw(HOSTILE)
    as_json = json.dumps(event, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
        return as_json.encode(encoding, "surrogatepass")
    try:
        return msgspec.msgpack.encode(event)
    except (UnicodeEncodeError, OverflowError):
        return as_json.encode(errors="replace")


WHOLE = encoded() | with_tokens()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Bytes of an event with a few cuts, copies and insertions."""
    value = draw(WHOLE)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(start + 8, len(value))))
        middle = draw(st.one_of(st.binary(max_size=4), st.just(value[start:end] * 2)))
        value = value[:start] + middle + value[end:]
    return value


def assert_sound(cleaned: Cleaned) -> None:
    if isinstance(cleaned, Rejected):
        assert cleaned.reason in REASONS
        assert 0 < len(cleaned.detail) <= 200
    elif isinstance(cleaned, Heartbeat):
        assert 0 <= cleaned.at_ms < LATEST_MS
    else:
        ids = (cleaned.user_id, cleaned.event_id, cleaned.session_id, cleaned.item_id)
        assert cleaned.user_id
        assert all(name is None or 0 < len(name.encode()) <= MAX_ID_BYTES for name in ids)
        assert cleaned.action == canonical_action(cleaned.action)
        assert not cleaned.action.startswith("_")
        assert 0 <= cleaned.at_ms < LATEST_MS
        assert cleaned.dwell_ms is None or 0 <= cleaned.dwell_ms <= MAX_DWELL_MS


@MANY
@given(value=st.one_of(st.binary(max_size=200), mutated()), key=st.none() | st.binary(max_size=140))
@example(value=b'{"user_id":"a","timestamp":1' + b"0" * 400 + b"}", key=None)
@example(value=b'{"user_id":"a","timestamp":1,"dwell_ms":-1' + b"0" * 400 + b"}", key=None)
@example(value=b'{"user_id":"\\ud800","timestamp":1}', key=None)
def test_no_bytes_raise(value: bytes, key: bytes | None) -> None:
    cleaned = read(key, value, -1)
    assert_sound(cleaned)
    assert_sound(read(key, value, START_MS))
    assert read(key, value, -1) == cleaned


@LAW
@given(event=LIKELY)
def test_json_and_messagepack_of_an_object_are_the_same_event(event: dict[str, Any]) -> None:
    packed = msgspec.msgpack.encode(event)
    assert read(None, packed, -1) == read(None, msgspec.json.encode(event), -1)
    assert read(None, packed, -1) == read(None, json.dumps(event, indent=1).encode(), -1)


@LAW
@given(event=LIKELY, names=st.permutations(["uid", "when", "sku", "kind", "device", "w"]))
def test_fields_of_other_names_are_the_same_event(event: dict[str, Any], names: list[str]) -> None:
    mapped = ("user_id", "timestamp", "item_id", "event_type", "dwell_ms", "device")
    fields = dict(zip(mapped, names, strict=True))
    config = msgspec.structs.replace(CONFIG, fields=fields)
    renamed = {fields.get(name, name): value for name, value in event.items()}
    expected = read(None, msgspec.json.encode(event), -1)
    found = reader(config)(None, msgspec.json.encode(renamed), -1)
    if isinstance(expected, Rejected) and expected.reason == "schema":
        assert isinstance(found, Rejected)
        assert found.reason == "schema"
    else:
        assert found == expected


def test_a_mapping_of_a_field_that_does_not_exist_is_refused() -> None:
    config = msgspec.structs.replace(CONFIG, fields={"user": "uid"})
    with pytest.raises(ValueError, match=r"input\.fields maps user; the known fields are user_id"):
        reader(config)


@LAW
@given(event=LIKELY, extra=st.dictionaries(st.text(max_size=5), anything(), max_size=3))
def test_unknown_fields_are_ignored(event: dict[str, Any], extra: dict[str, Any]) -> None:
    with_extra = {name: value for name, value in extra.items() if name not in FIELDS} | event
    assert read(None, msgspec.json.encode(with_extra), -1) == read(
        None, msgspec.json.encode(event), -1
    )


@st.composite
def marked(draw: st.DrawFn) -> bytes:
    """Refused events whose every value holds the sentinel."""
    wrong: list[Any] = [SENTINEL, [SENTINEL], {SENTINEL: SENTINEL}, SENTINEL * 40, NUMBER]
    wrong += [NUMBER + 0.5, NUMBER * 10**30, "2024-13-" + SENTINEL]
    names = st.one_of(st.sampled_from(FIELDS), st.just(SENTINEL))
    event = draw(st.dictionaries(names, st.sampled_from(wrong), min_size=1, max_size=5))
    value = json.dumps(event).encode()
    return value[: len(value) - draw(st.sampled_from([0, 0, 1, 5]))]


@LAW
@given(value=marked())
def test_a_rejection_never_quotes_the_record(value: bytes) -> None:
    cleaned = read(SENTINEL.encode(), value, -1)
    if isinstance(cleaned, Rejected):
        assert SENTINEL not in cleaned.detail
        assert str(NUMBER) not in cleaned.detail


def deeper(frames: int, call: Callable[[], Cleaned]) -> Cleaned:
    return call() if frames == 0 else deeper(frames - 1, call)


@pytest.mark.parametrize("frames", [0, 150, 300])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
def test_the_verdict_on_nesting_does_not_depend_on_the_caller(
    frames: int, packed: bool, levels: int
) -> None:
    plain = {"user_id": "a", "timestamp": START_MS}
    if packed:
        head = b"\x83" + msgspec.msgpack.encode(plain)[1:] + b"\xa1x"
        value = head + b"\x91" * levels + b"\x00"
    else:
        value = json.dumps(plain).encode()[:-1] + b',"x":' + b"[" * levels + b"]" * levels + b"}"
    cleaned = deeper(frames, lambda: read(None, value, -1))
    if levels < MAX_DEPTH:  # the object itself is one level
        assert isinstance(cleaned, Click)
    else:
        assert cleaned == Rejected("depth", "nested too deeply")


HUGE = reader(msgspec.structs.replace(CONFIG, max_event_bytes=1 << 20))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"[" * 100_000, "depth"),
        (b'{"a":' * 100_000, "depth"),
        (b"\x91" * 100_000, "depth"),
        (b"\x81\xa1a" * 100_000, "depth"),
        (b"\xdd\xff\xff\xff\xff" * 100_000, "depth"),
        (b'{"user_id":"' + b"x" * 1_000_000 + b'","timestamp":1}', "schema"),
        (b'{"user_id":"a","timestamp":"' + b"1" * 1_000_000 + b'"}', "timestamp"),
        (b'{"user_id":"a","timestamp":' + b"1" * 1_000_000 + b"}", "schema"),
        (b'{"user_id":"a","timestamp":"1","x":[' + b'"' * 1_000_000, "syntax"),
        (b'{"user_id":"\xff","timestamp":1}', "encoding"),
        (b'{"user_id":"\xed\xa0\x80","timestamp":1}', "encoding"),
        ('{"user_id":"a","timestamp":1}'.encode("utf-16-le"), "syntax"),
        (b'{"user_id":"a","timestamp":1,"dwell_ms":NaN}', "syntax"),
        (msgspec.msgpack.encode({"timestamp": 1, "price": float("nan")}), "not_finite"),
        (msgspec.msgpack.encode({"user_id": "a", "timestamp": float("inf")}), "timestamp"),
        (b'{"user_id":"","timestamp":1}', "user"),
        (b'{"timestamp":1}', "user"),
        (b'{"user_id":"a"}', "timestamp"),
        (b'{"user_id":true,"timestamp":1}', "schema"),
        (b"", "empty"),
        (b"x" * ((1 << 20) + 1), "size"),
    ],
    ids=lambda part: part if isinstance(part, str) else repr(part[:24]),
)
def test_hostile_bytes_are_refused_for_their_reason(value: bytes, reason: str) -> None:
    cleaned = HUGE(None, value, -1)
    assert isinstance(cleaned, Rejected)
    assert cleaned.reason == reason


def test_sizes_are_capped_before_anything_is_parsed() -> None:
    event = b'{"user_id":"a","timestamp":1}'
    config = msgspec.structs.replace(CONFIG, max_event_bytes=100, max_key_bytes=16)
    small = reader(config)
    assert isinstance(small(b"k" * 16, event.ljust(100), -1), Click)
    assert small(b"k" * 16, event.ljust(101), -1) == Rejected("size", "101 bytes; at most 100")
    assert small(b"k" * 17, event, -1) == Rejected("size", "key of 17 bytes; at most 16")
    assert small(None, None, -1) == Rejected("empty", "the record has no value")


@LAW
@given(
    at_ms=st.integers(10**11, LATEST_MS - 1),
    behind=st.one_of(st.integers(-(10**6), 10**6), st.sampled_from([59_999, 60_000, 60_001])),
    kind=st.sampled_from(["view", "_heartbeat"]),
)
def test_the_future_begins_a_minute_after_arrival_where_something_vouches_for_it(
    at_ms: int, behind: int, kind: str
) -> None:
    value = msgspec.json.encode({"user_id": "a", "timestamp": at_ms, "event_type": kind})
    received_ms = max(at_ms - behind, 0)
    cleaned = read(None, value, received_ms)
    is_future = at_ms > received_ms + CONFIG.future_ms
    assert isinstance(cleaned, Rejected) == is_future
    if isinstance(cleaned, Rejected):
        assert cleaned.reason == "future"
    assert not isinstance(read(None, value, -1), Rejected)


@LAW
@given(at_ms=st.integers(10**11, LATEST_MS - 1), rest=st.integers(0, 999_999))
def test_units_of_time_agree(at_ms: int, rest: int) -> None:
    numbers: list[int | float] = [at_ms, float(at_ms), at_ms * 1000 + rest // 1000]
    numbers += [at_ms * 1_000_000 + rest, at_ms / 1000, float(at_ms * 1000)]
    for number in numbers:
        assert epoch_ms(number) == at_ms
        assert epoch_ms(f" {number!r} ") == at_ms
    assert epoch_ms(f"{at_ms // 1000}.{at_ms % 1000:03}") == at_ms
    assert epoch_ms(at_ms // 1000) == at_ms // 1000 * 1000


def zones() -> st.SearchStrategy[timezone]:
    return st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@LAW
@given(
    moment=st.datetimes(datetime(1970, 1, 2), datetime(2248, 1, 1), timezones=zones()),  # noqa: DTZ001
    separator=st.sampled_from("Tt "),
)
def test_rfc_3339_is_the_same_moment(moment: datetime, separator: str) -> None:
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    text = moment.isoformat(separator)
    assert epoch_ms(text) == expected
    universal = moment.astimezone(UTC).isoformat(separator)
    assert epoch_ms(universal.replace("+00:00", "Z")) == expected
    assert epoch_ms(universal.replace("+00:00", "z")) == expected
    assert epoch_ms(universal.replace("+00:00", "")) == expected  # no zone means UTC


def test_the_zone_of_the_machine_changes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert epoch_ms("2024-01-01T00:00:00") == 1_704_067_200_000
    finally:
        monkeypatch.undo()
        time.tzset()


@LAW
@given(
    timestamp=st.one_of(
        st.floats(max_value=-1e-300),
        st.floats(min_value=1e19),
        st.integers(max_value=-1),
        st.integers(min_value=10**19),
        st.integers(LATEST_MS, 10**14 - 1),
        st.just(float("nan")),
        st.text(st.characters(categories=("L", "P", "S")), max_size=40),
        st.text("0123456789", min_size=41, max_size=60),
    )
)
def test_what_is_no_time_is_none(timestamp: float | str) -> None:
    assert epoch_ms(timestamp) is None


@LAW
@given(name=st.text(st.characters(codec="ascii"), max_size=60))
def test_actions_have_one_spelling(name: str) -> None:
    action = canonical_action(name)
    assert canonical_action(name.upper()) == canonical_action(f"  {name} ") == action
    assert canonical_action(action) == action
    assert action
    assert not action.startswith("_")
    assert action not in SYNONYMS


def test_an_event_without_an_action_is_a_view_and_reserved_names_are_other() -> None:
    assert canonical_action(None) == "view"
    assert canonical_action("") == canonical_action("_close") == canonical_action(" _x") == "other"


@LAW
@given(dwell=st.one_of(st.integers(-(10**30), 10**30), st.floats(-1e300, 1e300)))
def test_dwell_is_clipped_never_refused(dwell: float) -> None:
    event = json.dumps({"user_id": 7, "timestamp": START_MS, "dwell_ms": dwell}).encode()
    cleaned = read(None, event, -1)
    assert isinstance(cleaned, Click)
    assert cleaned.user_id == "7"
    assert cleaned.dwell_ms == int(min(max(dwell, 0), MAX_DWELL_MS))


@LAW
@given(size=st.integers(MAX_ID_BYTES - 3, MAX_ID_BYTES + 3), letter=st.sampled_from("aé€𝄞"))
def test_an_id_has_at_most_128_bytes(size: int, letter: str) -> None:
    name = letter * (size // len(letter.encode()))
    for field in ("user_id", "event_id", "session_id", "item_id"):
        event = {"user_id": "a", "timestamp": START_MS, field: name}
        cleaned = read(None, msgspec.json.encode(event), -1)
        assert isinstance(cleaned, Click) == (len(name.encode()) <= MAX_ID_BYTES)
