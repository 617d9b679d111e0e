"""What is read in C is what is read in Python, one record at a time."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_app.core import compiled
from stream_app.core.clean import LATEST_MS, MAX_ID_BYTES, Click, Rejected, reader
from stream_app.core.config import CoreConfig
from stream_app.core.reading import batch_reader
from tests.core.streams import KEY, START_MS, event_batch, hostile
from tests.core.test_clean import FIELDS, TOKENS, mutated

CONFIG = CoreConfig(pseudonym_key=KEY)
MAPPED = CoreConfig(pseudonym_key=KEY, fields={"user_id": "kind", "event_type": "user_id"})

# Values as they stand in JSON, about the edges of what is read in C.
VALUES = st.sampled_from(
    [
        *TOKENS,
        *("null", "0", "-1", "12", "12.5", "-0.5", "1e3", "99.99999999999999", "1.5E2", "0.0"),
        *("9" * 15, "9" * 18, "9" * 19, "1." + "0" * 14, "1." + "0" * 15, "86400000", "86400001"),
        *(str(at) for at in (START_MS, START_MS // 1000, START_MS * 1000, START_MS * 10**6)),
        *(str(at) for at in (LATEST_MS, LATEST_MS - 1, 10**11, 10**14, 10**17, 10**11 - 1)),
        *('""', '"u1"', '" View "', '"_heartbeat"', '"_close"', '"pv"', '"2024-01-01T00:00:00Z"'),
        *('"\u00e9"', '"\U0001f642"', '"\u0130"', '"a\x7fb"', '"a\tb"', '"\\n"', '"\\u00e9"'),
        *(f'"{"x" * MAX_ID_BYTES}"', f'"{"x" * (MAX_ID_BYTES + 1)}"', f'"{"é" * 65}"'),
        *(
            '{"a":[1,{"b":null}],"c":"d"}',
            "[true,false , -1.5]",
            "[1,]",
            '{"a"}',
            "[" * 17 + "]" * 17,
        ),
    ]
)
NAMES = st.sampled_from([*FIELDS, *FIELDS, "kind", "", "other", "us\\u0065r_id", "\u00e9"])
ENDS = st.sampled_from(["", "", "", ",", "{}"])
BLANKS = st.sampled_from(["", "", "", " ", "\n\t", "\r\n ", "\f", "\xa0"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A click, most of the time, with fields of any value, some of them twice."""
    members = [("user_id", '"u1"'), ("timestamp", str(START_MS))]
    members += draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    blank = draw(BLANKS)
    order = draw(st.permutations(members))
    inner = ",".join(f'{blank}"{name}"{blank}:{blank}{value}' for name, value in order)
    return (f"{blank}{{{inner}{blank}}}" + draw(BLANKS) + draw(ENDS)).encode()


RECORDS = st.lists(objects() | mutated() | st.none(), max_size=6)


def told(config: CoreConfig, values: list[bytes | None], key: bytes | None, at_ms: int) -> None:
    """Both forms say the same of these records."""
    read = reader(config)
    batch = event_batch(values, 0)
    batch = msgspec.structs.replace(
        batch, keys=[key] * len(values), timestamps_ms=[at_ms] * len(values)
    )
    expected = [read(key, value, at_ms) for value in values]
    found = batch_reader(config, read)(batch)
    assert found == expected
    assert [*map(repr, found)] == [*map(repr, expected)]


@settings(deadline=None, max_examples=150)
@given(
    values=RECORDS,
    key=st.sampled_from([None, b"k", b"k" * 128, b"k" * 129]),
    at_ms=st.sampled_from([-1, 0, START_MS, START_MS - 60_000, START_MS - 60_001]),
    config=st.sampled_from([CONFIG, CONFIG, MAPPED]),
)
@example(values=[b""], key=None, at_ms=-1, config=CONFIG)
def test_both_forms_read_the_same(
    values: list[bytes | None], key: bytes | None, at_ms: int, config: CoreConfig
) -> None:
    told(config, values, key, at_ms)


def test_both_forms_read_the_same_of_hostile_records() -> None:
    told(CONFIG, [*hostile(400, 7)], None, START_MS)


def test_the_largest_record_is_read_and_one_byte_more_is_not() -> None:
    start = b'{"user_id":"u1","timestamp":%d,"other":"' % START_MS
    values = [start + b"x" * (size - len(start) - 2) + b'"}' for size in (65_535, 65_536, 65_537)]
    told(CONFIG, [*values], None, -1)
    found = batch_reader(CONFIG, reader(CONFIG))(event_batch([*values], 0))
    assert [type(one) for one in found] == [Click, Click, Rejected]


def test_many_names_of_actions_are_read_as_well() -> None:
    """More than are kept."""
    values = [
        b'{"user_id":"u1","timestamp":%d,"event_type":"Action %d"}' % (START_MS, n % 150)
        for n in range(300)
    ]
    told(CONFIG, [*values], None, -1)


@pytest.mark.skipif(not compiled.is_compiled(), reason="not compiled")
def test_columns_of_different_lengths_are_refused() -> None:
    batch = msgspec.structs.replace(event_batch([b"{}"], 0), keys=[])
    with pytest.raises(ValueError, match="one length"):
        batch_reader(CONFIG, reader(CONFIG))(batch)
