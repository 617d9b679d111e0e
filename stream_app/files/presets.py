"""How well-known click files name and code what they hold. A preset is data, nothing else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

Layout = Literal["rows", "sessions", "users", "prefixes"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One form of a file.

    ``rows``: an event a row. ``sessions``: a line holds the items of one session, in order.
    ``users``: the same after a user id. ``prefixes``: a line holds a session's prefix, a tab and
    the item that came next; the sessions are put together again from these.
    """

    name: str
    about: str
    layout: Layout = "rows"
    header: tuple[str, ...] = ()  # names for the columns of a file that has no header line
    columns: Mapping[str, str] = field(default_factory=dict)  # column -> field
    # field -> what the file says -> the canonical word; None stands for "absent"
    values: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    # Event types whose item column holds an item; in other events it holds a query. None: all.
    items_of: frozenset[str] | None = None
    sort: bool = False  # the rows of such files are not in the order of time
    shape: str | None = None  # pattern of every line of a file without a header


_TRIVAGO_TYPES = {
    "interaction item image": "view",
    "interaction item info": "info",
    "interaction item rating": "rating",
    "interaction item deals": "deals",
    "clickout item": "click",
    "search for item": "search",
    "search for destination": "search_destination",
    "search for poi": "search_poi",
    "filter selection": "filter",
    "change of sort order": "sort",
}

_ALL = (
    Preset(
        "yoochoose1_64",
        "a session a line, item ids in order (SR-GNN split of Yoochoose)",
        layout="sessions",
        shape=r"\d+( \d+)+",
    ),
    Preset(
        "yoochoose1_64",
        "prefix TAB next item, longest prefix of a session first",
        layout="prefixes",
        shape=r"\d+( \d+)*\t\d+",
    ),
    Preset(
        "beauty",
        "a user a line: user id, then item ids in order (leave-one-out sets)",
        layout="users",
        shape=r"\d+( \d+)+",
    ),
    Preset(
        "serenade",
        "SessionId, ItemId, Time in seconds (bol.com; GRU4Rec and session-rec files too)",
        columns={"SessionId": "session_id", "ItemId": "item_id", "Time": "timestamp"},
        sort=True,
    ),
    Preset(
        "trivago",
        "RecSys Challenge 2019 sessions",
        columns={
            "user_id": "user_id",
            "session_id": "session_id",
            "timestamp": "timestamp",
            "action_type": "event_type",
            "reference": "item_id",
            "device": "device",
        },
        values={"event_type": _TRIVAGO_TYPES, "item_id": {"unknown": None}},
        items_of=frozenset({"view", "info", "rating", "deals", "click", "search"}),
        sort=True,
    ),
    Preset(
        "taobao",
        "UserBehavior without a header: user, item, category, behaviour, seconds",
        header=("user", "item", "category", "behaviour", "timestamp"),
        columns={
            "user": "user_id",
            "item": "item_id",
            "behaviour": "event_type",
            "timestamp": "timestamp",
        },
        values={
            "event_type": {"pv": "view", "cart": "cart", "fav": "favourite", "buy": "purchase"}
        },
        sort=True,
        shape=r"\d+,\d+,\d+,(pv|cart|fav|buy),\d+",
    ),
    Preset(
        "jdata",
        "JD.com micro-behaviours; of their type codes, which the owner does not name, 1 is a view",
        columns={
            "user_id": "user_id",
            "sku_id": "item_id",
            "type": "event_type",
            "sessionId": "session_id",
            "index": "timestamp",
        },
        values={"event_type": {"1": "view", "2": "type_2", "3": "type_3", "4": "type_4"}},
        sort=True,
    ),
)

PRESETS: Mapping[str, tuple[Preset, ...]] = MappingProxyType(
    {name: tuple(p for p in _ALL if p.name == name) for name in dict.fromkeys(p.name for p in _ALL)}
)


def matching(head: Sequence[str], header: Sequence[str]) -> list[Preset]:
    """The presets that a file with these first lines, or with these column names, can be of."""
    names = set(header)
    named = (p for p in _ALL if p.shape is None and names >= set(p.columns))
    return [*(p for p in _ALL if fits(p, head)), *named]


def likeliest(found: Sequence[Preset], head: Sequence[str]) -> list[Preset]:
    """Those of the matching presets that are left when lines of numbers are looked at again:
    users are numbered from the first line on, so their numbers rise; sessions begin with any item.
    """
    layouts = {preset.layout for preset in found}
    if len(head) < 2 or layouts != {"sessions", "users"}:
        return list(found)
    first = [int(line.split(" ", 1)[0]) for line in head]
    layout = "users" if all(low < high for low, high in pairwise(first)) else "sessions"
    return [preset for preset in found if preset.layout == layout]


def fits(preset: Preset, head: Sequence[str]) -> bool:
    """Whether every one of the first lines of a file has the preset's shape."""
    if preset.shape is None or not head:
        return False
    shape = re.compile(preset.shape)
    return all(shape.fullmatch(line.rstrip("\r")) for line in head)
