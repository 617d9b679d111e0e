import io
import json
import logging
from collections.abc import Iterator

import pytest

from stream_app.log_output import Repeated, set_up_log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def said(level: str, form: str) -> str:
    stream = io.StringIO()
    set_up_log(level, form, stream)  # type: ignore[arg-type]
    logging.getLogger("faust.app").info("a library narrates")
    logging.getLogger("stream_app").info("[^-%s]: narrates, too", "Consumer")
    logging.getLogger("stream_app").info("ready: %d", 4)
    logging.getLogger("faust.app").warning("a library warns")
    try:
        raise ValueError("no such thing: ü")
    except ValueError:
        logging.getLogger("stream_app").exception("it failed")
    return stream.getvalue()


def test_lines_for_people_have_the_time_in_utc_and_no_library_that_narrates() -> None:
    lines = said("INFO", "text").splitlines()
    assert lines[0].endswith("Z INFO     stream_app ready: 4")
    assert lines[1].endswith("WARNING  faust.app a library warns")
    assert "narrates" not in said("INFO", "text")
    assert "narrates" in said("DEBUG", "text")


def test_every_line_for_machines_is_one_json_object() -> None:
    ready, warned, failed = map(json.loads, said("INFO", "json").splitlines())
    assert (ready["level"], ready["logger"], ready["message"]) == ("INFO", "stream_app", "ready: 4")
    assert "exception" not in warned
    assert failed["exception"].rstrip().endswith("ValueError: no such thing: ü")


def test_a_library_that_says_the_same_all_the_time_is_heard_every_few_seconds() -> None:
    times = iter([0.0, 1.0, 4.9, 5.0, 5.1, 5.2, 5.3])
    repeated = Repeated(5.0, lambda: next(times))

    def heard(name: str, line: int) -> bool:
        return repeated.filter(logging.LogRecord(name, logging.ERROR, "f.py", line, "m", (), None))

    assert [heard("aiokafka.conn", 7) for _ in range(5)] == [True, False, False, True, False]
    assert heard("aiokafka.conn", 8)
    assert heard("stream_app.kafka", 7)


def test_a_level_holds_back_what_is_below() -> None:
    assert "ready" not in said("WARNING", "text")
