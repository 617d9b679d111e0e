import pytest

from stream_app.kafka.shell_config import changelog_of
from tests.kafka.counting import config


def test_one_writer_per_group_input_and_partition() -> None:
    shell = config("nowhere:1", "shop")
    assert shell.transactional_id(3) == "shop-shop.in-3"
    assert shell.changelog == changelog_of("shop") == "shop-state-changelog"


@pytest.mark.parametrize(("said", "room"), [({}, 1_048_076), ({"t": 2_000}, 1_488)])
def test_a_record_leaves_room_for_the_batch_around_it(said: dict[str, int], room: int) -> None:
    shell = config("nowhere:1", "shop", max_record_bytes=said)
    assert shell.record_limit("t") == room
