"""A stream of bytes as lines, in constant memory whatever the lines are."""

from collections.abc import Callable, Iterator

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 24
_BOM = b"\xef\xbb\xbf"


def lines(read: Callable[[int], bytes], advance: Callable[[], None]) -> Iterator[bytes]:
    """Lines without their newline; a carriage return before it stays.

    A UTF-8 byte order mark is skipped. A line over 16 MiB comes in pieces, so that no input can
    fill the memory. ``advance`` is called after each block.
    """
    carry = b""
    first = True
    while block := read(BLOCK_BYTES):
        if first:
            block = block.removeprefix(_BOM)
            first = False
        advance()
        parts = (carry + block).split(b"\n")
        carry = parts.pop()
        yield from parts
        if len(carry) >= MAX_LINE_BYTES:
            yield carry
            carry = b""
    if carry:
        yield carry
