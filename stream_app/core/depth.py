"""How deep a message nests, found without recursion: the parser's own limit depends on its caller's
stack, and a verdict that depends on the caller would differ between the worker and a replay."""

import re

MAX_DEPTH = 512

# Possessive, and an unterminated string is a token too: a pattern that fails at each of many quotes
# would cost their number squared.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def too_deep(value: bytes) -> bool:
    """Whether JSON or MessagePack bytes nest deeper than ``MAX_DEPTH`` levels."""
    if len(value) <= MAX_DEPTH:
        return False
    if is_json(value):
        if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
            return False
        return _json_depth_exceeded(value)
    return _msgpack_depth_exceeded(value)


def is_json(value: bytes) -> bool:
    """A MessagePack map never begins with ``{`` or a blank; a JSON object always does."""
    return value[:1] in b'{[ \t\r\n"'


def _json_depth_exceeded(value: bytes) -> bool:
    depth = 0
    for token in _JSON_TOKEN.finditer(value):
        first = token.group()[:1]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


# Bytes of payload after a MessagePack prefix byte that neither nests nor states its own length.
_FIXED = {0xC0: 0, 0xC1: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_FIXED |= {0xCC + i: 1 << i for i in range(4)} | {0xD0 + i: 1 << i for i in range(4)}
_FIXED |= {0xD4 + i: (1 << i) + 1 for i in range(5)}
# Prefix byte -> (bytes of its length field, bytes that follow the length besides the payload).
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_SIZED |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_NESTING = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _msgpack_depth_exceeded(value: bytes) -> bool:
    """Walk the prefixes; ``open_items`` holds how many values each open container still expects."""
    at, end = 0, len(value)
    open_items: list[int] = []
    while at < end:
        prefix = value[at]
        at += 1
        children = -1  # no container
        if prefix in _NESTING:
            width, per_entry = _NESTING[prefix]
            children = int.from_bytes(value[at : at + width], "big") * per_entry
            at += width
        elif 0x80 <= prefix <= 0x8F:
            children = (prefix & 0x0F) * 2
        elif 0x90 <= prefix <= 0x9F:
            children = prefix & 0x0F
        elif 0xA0 <= prefix <= 0xBF:
            at += prefix & 0x1F
        elif prefix in _SIZED:
            width, extra = _SIZED[prefix]
            at += width + extra + int.from_bytes(value[at : at + width], "big")
        else:
            at += _FIXED.get(prefix, 0)
        if children >= 0 and len(open_items) == MAX_DEPTH:
            return True
        if children > 0:
            open_items.append(children)
            continue
        while open_items:
            open_items[-1] -= 1
            if open_items[-1]:
                break
            open_items.pop()
    return False
