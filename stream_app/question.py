"""Which output of the past is asked for, and how it is known when it comes again. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from stream_app.core.batch import BEFORE
from stream_app.core.clean import Click
from stream_app.core.events import Anomaly, RejectedRecord, Source
from stream_app.core.store import PartitionStore
from stream_app.history import LEADING_MARKERS, Commit, Rewind
from stream_app.published import SLACK_MS, Output, Published, decode_output, is_along
from stream_app.rebuild import Cause, Player, outputs_of
from stream_app.replay import InputRecord

Batches = list[tuple[Commit, list[InputRecord]]]
"""Micro-batches: what the changelog says of each, and the records that it took."""


class Question(NamedTuple):
    """Which output: the one that was found, or whatever came of an input record."""

    source: Source
    found: Published | None
    along: list[Published]  # all that was published for the same event, ``found`` included

    @property
    def is_of_a_record(self) -> bool:
        return self.found is None or self.found.is_of_a_record


def rewind_to(question: Question) -> Rewind:
    offset = question.source.offset
    if question.found is None or question.is_of_a_record:
        return Rewind(
            is_before=lambda commit: commit.record.next_offset <= offset,
            is_past=lambda commit: True,
            leading_markers=LEADING_MARKERS,
        )
    # It was caused by a later record than its source, at about the time of its publication.
    at_ms = question.found.record.timestamp
    return Rewind(
        is_before=lambda commit: commit.at_ms < at_ms - SLACK_MS,
        is_past=lambda commit: commit.at_ms > at_ms + SLACK_MS,
        leading_markers=LEADING_MARKERS,
    )


def click_of(store: PartitionStore, record: InputRecord) -> Click | None:
    """The event of an input record; None where it is none."""
    cleaned = store.read(record.key, record.value, record.received_ms)
    return cleaned if isinstance(cleaned, Click) else None


def cause_of(player: Player, question: Question, batches: Batches) -> Cause | None:
    """Play until the output comes."""
    is_own = question.is_of_a_record
    from_offset = question.source.offset if is_own else 0
    for commit, records in batches:
        for cause in player.causes(records, commit, from_offset):
            at = None if cause.record is None else cause.record.offset
            if is_own:
                if at == from_offset:
                    return cause
            elif (row := _row_of(question, cause)) is not None:
                return cause._replace(record=None) if row == BEFORE else cause
    return None


def _row_of(question: Question, cause: Cause) -> int | None:
    """The place in the batch that the output came of, if it came."""
    for role, record in outputs_of(cause.outputs):
        if question.found is None or role != question.found.role:
            continue
        if _is_same(question.found.output, decode_output(role, record.value)):
            return record.row
    return None


def _is_same(one: Output, other: Output) -> bool:
    if isinstance(one, Anomaly) and isinstance(other, Anomaly):
        return (one.alert_id, one.phase) == (other.alert_id, other.phase)
    return is_along(one, other)


def recomputed(question: Question, cause: Cause) -> dict[str, list[bytes]]:
    """Values of the outputs that came of the cause for the same event, by role. Of a rejection
    only why: the rest of it names a person."""
    made: dict[str, list[bytes]] = {}
    for role, record in outputs_of(cause.outputs):
        if role == "rejected":
            letter = msgspec.json.decode(record.value, type=RejectedRecord)
            if question.found is None and letter.offset == question.source.offset:
                why = {"reason": letter.reason, "detail": letter.detail}
                made.setdefault(role, []).append(msgspec.json.encode(why))
            continue
        output = decode_output(role, record.value)
        if question.found is None:
            if output.source == question.source:
                made.setdefault(role, []).append(record.value)
        elif is_along(question.found.output, output):
            made.setdefault(role, []).append(record.value)
    return made


def items_of(
    store: PartitionStore, user: bytes | None, records: Iterable[InputRecord]
) -> list[str]:
    """Ids of the items that a user's records name."""
    found = []
    for record in records:
        click = click_of(store, record)
        if click is None or click.item_id is None:
            continue
        if store.pseudonym(click.user_id) == user:
            found.append(click.item_id)
    return found
