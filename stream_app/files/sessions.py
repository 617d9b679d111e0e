"""Files with a session, a user or a prefix a line, instead of an event."""

from collections.abc import Iterable, Iterator

from stream_app.files.event import FileError, FileEvent
from stream_app.files.rows import event_of

Session = tuple[str | None, list[str]]  # user (None: the session is the user) and items


def session_lines(lines: Iterable[bytes]) -> Iterator[Session | bytes]:
    """Item ids of one session a line, separated by blanks. Bytes: a line that is not UTF-8."""
    for line in lines:
        try:
            items = line.decode().split()
        except UnicodeDecodeError:
            yield line
            continue
        if items:
            yield None, items


def user_lines(lines: Iterable[bytes]) -> Iterator[Session | bytes]:
    """A user id, then the items of that user, a line."""
    for session in session_lines(lines):
        yield session if isinstance(session, bytes) else (session[1][0], session[1][1:])


def prefix_lines(lines: Iterable[bytes], where: str) -> Iterator[Session]:
    """Sessions rebuilt from lines ``prefix TAB next item``.

    The rows of a session follow each other, longest prefix first, one for each of its positions:
    the first is the whole session, and the others say nothing new. Predicting every next item of
    the rebuilt sessions is then the same as predicting every line. Raises FileError where the
    lines do not come like that, since sessions put together by guess would change the result.
    """
    items: list[str] = []
    left = 0
    for number, line in enumerate(lines, 1):
        row = _prefix_line(line)
        if row is None:
            raise FileError(f"{where}, line {number}: no prefix, tab and next item.")
        prefix, target = row
        if left == 0:
            items = [*prefix, target]
            left = len(prefix)
            yield None, items
        elif prefix != items[:left] or target != items[left]:
            raise FileError(
                f"{where}, line {number}: expected the first {left} items of the session above it"
                f" and the next; each session has to have a line for each of its positions,"
                f" longest prefix first."
            )
        left -= 1
    if left:
        raise FileError(f"{where} ends before its last session has a line for each position.")


def session_events(
    sessions: Iterable[Session | bytes], numbers: Iterator[int], clock: Iterator[int]
) -> Iterator[FileEvent]:
    """An event for each item. Sessions without a user are numbered, and stand for their user; the
    times are made up: a second apart, the sessions one after the other."""
    for session in sessions:
        if isinstance(session, bytes):
            yield FileEvent(None, session)
            continue
        user, items = session
        fixed = {"user_id": user}
        if user is None:
            name = str(next(numbers))
            fixed = {"user_id": name, "session_id": name}
        for item in items:
            yield event_of({**fixed, "item_id": item, "timestamp": next(clock)})


def _prefix_line(line: bytes) -> tuple[list[str], str] | None:
    try:
        prefix, _, target = line.decode().rstrip("\r").partition("\t")
    except UnicodeDecodeError:
        return None
    return (prefix.split(), target) if prefix and target else None
