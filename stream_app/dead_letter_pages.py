"""Dead letters for people and for programs: pages, tables, sentences, JSON. No byte that was sent
in a record reaches a terminal as a command."""

import base64
import json
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from stream_app.core.events import RejectedRecord, Source
from stream_app.dead_letter_replay import Resent
from stream_app.dead_letter_topic import Selection
from stream_app.dead_letters import Tally, original
from stream_app.kafka.readable import pretty, printable, shown
from stream_app.source_names import source_name


def letter_page(letter: RejectedRecord) -> list[str]:
    """A dead letter as printable lines."""
    source = Source(letter.topic, letter.partition, letter.offset)
    whole = "whole" if original(letter) else "cut; the input topic may still hold it whole"
    lines = [
        f"source    {printable(source_name(source))}",
        f"reason    {letter.reason}: {printable(letter.detail)}",
        f"arrived   {time_of(letter.timestamp_ms)}",
        f"record    {whole}, blake2b {letter.value_blake2b}",
        f"key       {letter.key_size:,} bytes: {shown(letter.key)}",
    ]
    lines += [f"header    {printable(h.name)}: {shown(h.value)}" for h in letter.headers]
    lines.append(f"value     {letter.value_size:,} bytes:")
    return lines + [f"  {line}" for line in pretty(letter.value)]


def tally_table(tally: Tally) -> Table:
    table = Table(box=None)
    for heading in ("rejected", "source", "reason", "detail", "key", "bytes"):
        table.add_column(
            heading, overflow="fold", justify="right" if heading == "bytes" else "left"
        )
    for at_ms, letter in tally.newest():
        cells = (
            time_of(at_ms),
            printable(source_name(letter.source)),
            letter.reason,
            printable(letter.detail),
            shown(letter.key)[:64],
            f"{letter.value_size:,}",
        )
        # Text, for in a plain string rich would obey [markup].
        table.add_row(*map(Text, cells))
    return table


def tally_object(tally: Tally) -> dict[str, object]:
    return {
        "records": tally.records,
        "reasons": dict(tally.reasons.most_common()),
        "newest": [
            {
                "source": source_name(letter.source),
                "rejected_ms": at_ms,
                "reason": letter.reason,
                "detail": letter.detail,
                "key_base64": None if letter.key is None else base64.b64encode(letter.key).decode(),
                "value_size": letter.value_size,
            }
            for at_ms, letter in tally.newest()
        ],
    }


def selection_sentence(chosen: Selection, events: str) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in chosen.reasons.most_common())
    text = f"{chosen.records:,} dead letters of {events}" + (f": {counts}" if counts else "")
    if chosen.elsewhere:
        text += f"; {chosen.elsewhere:,} of other topics or partitions are left alone"
    return text


def resent_sentence(done: Resent, events: str, dry: bool) -> str:
    text = f"{'would send' if dry else 'sent'} {done.sent:,} records to {events}"
    if done.before:
        text += f"; {done.before:,} were sent before"
    if done.lost:
        text += f"; {len(done.lost):,} could not be sent whole"
    return text + ("; interrupted, run it again to go on" if done.interrupted else "")


def time_of(at_ms: int) -> str:
    if at_ms < 0:
        return "unknown"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")


def ascii_json(content: object) -> str:
    """JSON without a byte that a terminal could obey."""
    return json.dumps(content, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f")
