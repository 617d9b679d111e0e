"""Where outputs that should be the same bytes are not. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True):
    topic: str
    field: str
    published: Any
    recomputed: Any


def differences(
    published: Mapping[str, Sequence[bytes]], recomputed: Mapping[str, Sequence[bytes]]
) -> list[Difference]:
    """Where the values of two lists of outputs, by role, are not the same bytes."""
    found = []
    for role in sorted(published.keys() | recomputed.keys()):
        mine, theirs = list(published.get(role, ())), list(recomputed.get(role, ()))
        if mine == theirs:
            continue
        if len(mine) != len(theirs):
            found.append(Difference(role, "records", len(mine), len(theirs)))
        for one, other in zip(mine, theirs, strict=False):
            found += [
                Difference(role, field, a, b)
                for field, a, b in _fields(msgspec.json.decode(one), msgspec.json.decode(other))
            ]
            if one != other and not found:
                found.append(Difference(role, "bytes", one.hex(), other.hex()))
    return found


def _fields(one: Any, other: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, value, value) wherever two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            row
            for name in {**one, **other}
            for row in _fields(one.get(name), other.get(name), f"{path}.{name}".lstrip("."))
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [row for at, (a, b) in pairs for row in _fields(a, b, f"{path}[{at}]")]
    return [] if one == other else [(path, one, other)]
