import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.events import RawClick
from stream_app.simulate.click import Click


@given(st.builds(Click))
def test_a_click_is_an_input_record_without_what_nobody_filled(click: Click) -> None:
    encoded = msgspec.json.encode(click)
    decoded = msgspec.json.decode(encoded, type=RawClick)
    assert msgspec.structs.asdict(decoded) == msgspec.structs.asdict(click)
    assert b"null" not in encoded or "null" in str(msgspec.structs.asdict(click))
    assert Click.__struct_fields__ and set(Click.__struct_fields__) == set(
        RawClick.__struct_fields__
    )
