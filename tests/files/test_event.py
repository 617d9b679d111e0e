import typing

from stream_app.core.events import RawClick
from stream_app.files.event import FIELDS, ID_FIELDS, NUMBER_FIELDS, RECEIVED_AT


def test_ids_and_numbers_are_those_of_the_input_record() -> None:
    hints = {name: typing.get_args(kind) for name, kind in typing.get_type_hints(RawClick).items()}
    both = {name for name, kinds in hints.items() if {str, int} <= set(kinds)}
    assert {name for name in both if float not in hints[name]} == ID_FIELDS
    numbers = {name for name, kinds in hints.items() if float in kinds}
    assert numbers | {RECEIVED_AT} == NUMBER_FIELDS
    assert {*hints, RECEIVED_AT} == set(FIELDS)
