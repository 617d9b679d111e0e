"""JSON Schemas of every topic, drawn from the wire structs, and what may change between two.

A record outlives the code that wrote it: newer code replays it, and subscribers with older code
read it. So a schema may grow fields that have a default, and enums may grow values (readers have
to bear values that they do not know); everything else breaks somebody.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stream_app.core import events

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WRITTEN_BY_OTHERS = frozenset({"events", "items", "control"})

_FIELD_COMMENT = re.compile(r"^    (\w+):.*?  # (.+)$", re.MULTILINE)
_FLOORS = ("minimum", "minLength", "minItems")
_CEILINGS = ("maximum", "maxLength", "maxItems")


def schemas() -> dict[str, Schema]:
    """The JSON Schema of each topic's JSON form, by the topic's name without its prefix."""
    return {topic: _schema(topic, struct) for topic, struct in events.TOPICS.items()}


def encode(schema: Schema) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def breaks(topic: str, old: Schema, new: Schema) -> list[str]:
    """Sentences that say how ``new`` breaks those who rely on ``old``; empty when it does not.

    Refused on every topic: what makes an old record unreadable (a field or a value removed, a type
    narrowed, a field newly required). Refused on topics that ClickAhead itself writes: what an old
    subscriber could not read (a type widened, a field that may now be absent).
    """
    found = list(_narrowed(_resolved(old), _resolved(new), topic))
    if topic not in WRITTEN_BY_OTHERS:
        found += _widened(_resolved(old), _resolved(new), topic)
    return found


def _schema(topic: str, struct: type[msgspec.Struct]) -> Schema:
    (_,), components = msgspec.json.schema_components((struct,))
    documented = {
        name: _documented(getattr(events, name), part) for name, part in components.items()
    }
    top = documented.pop(struct.__name__)
    schema: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:clickahead:schemas:{topic}",
        **top,
        "title": f"clickahead.{topic}",
    }
    if documented:
        schema["$defs"] = dict(sorted(documented.items()))
    return schema


def _documented(struct: type[msgspec.Struct], schema: Mapping[str, Any]) -> Schema:
    """The struct's docstring and the comment behind each of its fields, as descriptions."""
    described = dict(schema)
    doc = struct.__dict__.get("__doc__")
    if doc is not None:
        described["description"] = " ".join(inspect.cleandoc(doc).replace("``", "").split())
    comments = dict(_FIELD_COMMENT.findall(inspect.getsource(struct)))
    described["properties"] = {
        name: {**field, "description": comments[name]} if name in comments else field
        for name, field in schema["properties"].items()
    }
    return described


def _resolved(schema: Schema) -> Schema:
    """The schema with every reference replaced by what it names; the structs are not recursive."""
    definitions = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(part) for part in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].removeprefix("#/$defs/")])
        return {key: resolve(part) for key, part in node.items() if key != "$defs"}

    resolved: Schema = resolve(schema)
    return resolved


def _alternatives(schema: Schema) -> dict[str, Schema]:
    """The types that a value may have, each with its own schema."""
    found: dict[str, Schema] = {}
    for part in schema.get("anyOf", [schema]):
        found[part.get("type", "string" if "enum" in part else "anything")] = part
    return found


def _narrowed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """What ``old`` allowed and ``new`` does not."""
    before, after = _alternatives(old), _alternatives(new)
    for kind, was in before.items():
        now = after.get(kind, after.get("number") if kind == "integer" else None)
        if now is None:
            yield f"{path}: {kind} was allowed, now only {' or '.join(sorted(after))} is"
            continue
        yield from _narrowed_values(was, now, path)
        for name, field in was.get("properties", {}).items():
            if name not in now.get("properties", {}):
                yield f"{path}.{name}: the field was removed or renamed"
            else:
                yield from _narrowed(field, now["properties"][name], f"{path}.{name}")
        for name in sorted(set(now.get("required", ())) - set(was.get("required", ()))):
            yield f"{path}.{name}: the field is newly required; give it a default"
        yield from (
            problem
            for inner_was, inner_now, inner_path in _inner(was, now, path)
            for problem in _narrowed(inner_was, inner_now, inner_path)
        )


def _narrowed_values(was: Schema, now: Schema, path: str) -> Iterator[str]:
    if "enum" in now:
        if "enum" not in was:
            yield f"{path}: any value was allowed, now only {now['enum']}"
        elif gone := sorted(set(was["enum"]) - set(now["enum"])):
            yield f"{path}: {gone} was allowed and is not any more"
    for bound in _FLOORS:
        if bound in now and (bound not in was or was[bound] < now[bound]):
            yield f"{path}: {bound} rose from {was.get(bound, 'none')} to {now[bound]}"
    for bound in _CEILINGS:
        if bound in now and (bound not in was or was[bound] > now[bound]):
            yield f"{path}: {bound} fell from {was.get(bound, 'none')} to {now[bound]}"


def _widened(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """What ``new`` allows and a reader of ``old`` does not expect; enums may grow."""
    before, after = _alternatives(old), _alternatives(new)
    for kind, now in after.items():
        was = before.get(kind, before.get("number") if kind == "integer" else None)
        if was is None:
            yield f"{path}: may now be {kind}, subscribers expect {' or '.join(sorted(before))}"
            continue
        for name, field in was.get("properties", {}).items():
            if name in now.get("properties", {}):
                yield from _widened(field, now["properties"][name], f"{path}.{name}")
        known = set(now.get("properties", {}))
        for name in sorted((set(was.get("required", ())) - set(now.get("required", ()))) & known):
            yield f"{path}.{name}: subscribers expect the field, now it may be absent"
        yield from (
            problem
            for inner_was, inner_now, inner_path in _inner(was, now, path)
            for problem in _widened(inner_was, inner_now, inner_path)
        )


def _inner(was: Schema, now: Schema, path: str) -> Iterator[tuple[Schema, Schema, str]]:
    """The elements of arrays, tuples and string-keyed maps, pair by pair."""
    if isinstance(was.get("items"), dict) and isinstance(now.get("items"), dict):
        yield was["items"], now["items"], f"{path}[]"
    if isinstance(was.get("additionalProperties"), dict) and isinstance(
        now.get("additionalProperties"), dict
    ):
        yield was["additionalProperties"], now["additionalProperties"], f"{path}{{}}"
    for position, pair in enumerate(
        zip(was.get("prefixItems", ()), now.get("prefixItems", ()), strict=False)
    ):
        yield *pair, f"{path}[{position}]"
