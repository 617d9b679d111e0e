"""Users out of the changelog: rows in bulk, and rows that another model wrote."""

from collections.abc import Mapping
from itertools import compress

import msgspec
import numpy as np

from stream_app.core.changelog import readably
from stream_app.core.generations import KnownModel, read_stranger, relaid, trimmed
from stream_app.core.state import Rows, StateError
from stream_app.core.user_table import UserTable


def restore_users(table: UserTable, users: Mapping[bytes, bytes | None]) -> None:
    """Apply users' records by key; StateError for what nobody wrote.

    A restart is mostly this: rows that are as they were in memory go in together, as bytes.
    """
    rows, is_plain = table.codec.unpack_plain([value or b"" for value in users.values()])
    index = []
    for key in compress(users, is_plain):
        name = key[1:]
        row = table.slots.get(name)
        index.append(table.room_for(name) if row is None else row)
        table.strangers.pop(name, None)
        table.long_ids.pop(name, None)
    table.rows.view(rows.dtype)[np.array(index, np.intp)] = rows
    if len(index) == len(users):
        return

    def restore(key: bytes, value: bytes | None) -> None:
        _restore_user(table, key[1:], value)

    for (key, value), done in zip(users.items(), is_plain, strict=True):
        if not done:
            readably(restore, key, value)


def _restore_user(table: UserTable, pseudonym: bytes, value: bytes | None) -> None:
    row = table.slots.get(pseudonym)
    if value is None:
        if row is not None:
            table.remove(pseudonym)
        return
    if row is None:
        row = table.add(pseudonym)
    table.strangers.pop(pseudonym, None)
    table.long_ids.pop(pseudonym, None)
    try:
        table.rows[row] = table.codec.unpack(value)[0]
    except StateError:
        # Another model's row: which one answers is known when the record has come.
        if read_stranger(value) is None:
            raise
        table.strangers[pseudonym] = value
    if tail := table.codec.tail(value):
        table.long_ids[pseudonym] = tail


def settle(table: UserTable, own: KnownModel) -> None:
    """After the last record: give every row the layout of the model in the partition's record, and
    take from stale rows what a swap takes. ``own`` is the model that the table was made for;
    StateError where rows are of a model that nobody knows."""
    record = table.record
    if not record.models:  # written before there were generations
        _settle_first_generation(table, own)
    live = record.models[record.generation]
    if live.version != own.version:
        table.lay_out(live.layout())
    for pseudonym, value in table.strangers.items():
        table.rows[table.slots[pseudonym]] = _adopted(table, value)
    table.strangers = {}
    occupied = table.occupied()
    numbers = table.columns["generation"][occupied]
    stale = occupied[numbers != record.generation]
    table.stale_users = len(stale)
    for number in np.unique(table.columns["generation"][stale]).tolist():
        if number not in record.models:
            raise StateError(
                f"a user's state is of model generation {number}, which the partition's record "
                "does not name: the changelog lacks records. Start under a new worker.app_id."
            )
        rows = stale[table.columns["generation"][stale] == number]
        table.rows[rows] = trimmed(table.rows[rows], record.models[number].kept, table.spec)


def _settle_first_generation(table: UserTable, own: KnownModel) -> None:
    record = table.record
    known = msgspec.structs.replace(
        own, version=record.model, fingerprint=record.fingerprint, actions=record.actions
    )
    record.live, record.models = record.model, {0: known}
    if record.model != own.version:
        # Their widths are not known: let all memories be made anew.
        record.generation, record.models = 1, {0: known, 1: known}


def _adopted(table: UserTable, value: bytes) -> Rows:
    stranger = read_stranger(value)
    assert stranger is not None  # noqa: S101 (checked when it was restored)
    if int(stranger["generation"][0]) == table.record.generation:
        return table.codec.unpack(value)
    return relaid(stranger, table.spec)
