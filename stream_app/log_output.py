"""How the worker's log looks: lines for people, or a JSON object per line for a log store."""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal, TextIO

QUIET = ("faust", "mode", "aiokafka")
"""Libraries that narrate; they are heard from WARNING on, unless everything is asked for."""

SERVICE = "[^"
"""How a line of Faust's service tree begins, whichever module the service's class is from."""

REPEAT_SECONDS = 5.0

UTC = "%Y-%m-%dT%H:%M:%S"


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)-8s %(name)s %(message)s", UTC)
        self.converter = time.gmtime


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, and the traceback where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": f"{self.formatTime(record, UTC)}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(said, ensure_ascii=False)


class Repeated(logging.Filter):
    """One line of a place in a library per so many seconds: a client that cannot reach Kafka would
    say so fifty times a second.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), self._clock()
        if not record.name.startswith(QUIET) or now >= self._said.get(place, now):
            self._said[place] = now + self._seconds
            return True
        return False


def _is_no_narration(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or not record.getMessage().startswith(SERVICE)


def set_up_log(
    level: str, form: Literal["text", "json"], stream: TextIO = sys.stderr
) -> logging.Handler:
    """Send everything from ``level`` on to ``stream``; returns the handler that does so."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    everything = level == "DEBUG"
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if everything else logging.WARNING)
    if not everything:
        handler.addFilter(_is_no_narration)
        handler.addFilter(Repeated(REPEAT_SECONDS))
    return handler
