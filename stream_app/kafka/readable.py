"""Bytes from strangers as text for people: no terminal obeys anything that is in it."""

import msgspec

HEX_ROW_BYTES = 16
HEX_LIMIT_BYTES = 4_096
"""More of a binary value is no help to anybody; its size is said instead."""

_MEANINGLESS = (
    msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError,
)  # fmt: skip


def printable(text: str) -> str:
    """One line of plain text: control characters, bidirectional marks and the like as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(content: bytes | None) -> str:
    """Bytes as one printable line: JSON where they are JSON or MessagePack, else text."""
    if content is None:
        return "-"
    value = decoded(content)
    return printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def decoded(content: bytes | None) -> object:
    """What the bytes mean; text where they mean nothing."""
    if not content:
        return ""
    # A MessagePack object begins with a byte that begins no UTF-8 text.
    decode = msgspec.json.decode if is_text(content) else msgspec.msgpack.decode
    try:
        value: object = decode(content)
        msgspec.json.encode(value)  # MessagePack knows values that JSON does not
    except _MEANINGLESS:
        return content.decode("utf-8", "backslashreplace")
    return value


def pretty(content: bytes | None) -> list[str]:
    """Bytes as printable lines: indented JSON where they are JSON or a MessagePack map or list,
    text where they are that, else a hex dump."""
    if content is None:
        return ["(null)"]
    if not content:
        return ["(empty)"]
    if is_text(content):
        return [printable(line) for line in _indented(content).splitlines()]
    value = decoded(content)
    if isinstance(value, dict | list):
        text = _indented(msgspec.json.encode(value))
        return ["(MessagePack)", *(printable(line) for line in text.splitlines())]
    return hex_dump(content)


def hex_dump(content: bytes) -> list[str]:
    """Offset, bytes and printable ASCII, sixteen bytes a line."""
    lines = []
    for start in range(0, min(len(content), HEX_LIMIT_BYTES), HEX_ROW_BYTES):
        row = content[start : start + HEX_ROW_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<{3 * HEX_ROW_BYTES}} {text}")
    if len(content) > HEX_LIMIT_BYTES:
        lines.append(f"... {len(content) - HEX_LIMIT_BYTES:,} bytes more")
    return lines


def is_text(content: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _indented(text: bytes) -> str:
    """JSON with an indent, its members as they were sent, doubled ones too; other text as it is."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        return msgspec.json.format(text, indent=2).decode()
    except _MEANINGLESS:
        return text.decode("utf-8")
