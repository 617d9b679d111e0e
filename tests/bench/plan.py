"""Capacity from measured costs: cores, memory and changelog for so many users."""

import os
from typing import NamedTuple

import msgspec
from rich import box
from rich.table import Table

from model.engine import OnnxEngine
from stream_app.core.batch import Route
from stream_app.core.pipeline import play
from tests.bench.race import rss_bytes
from tests.bench.users_figures import BATCH, MANY_EVENTS, batches_of, crowd

USERS = (1_000_000, 100_000_000)
EVENTS_PER_USER_DAY = 20.0
BUSY_HOUR_SHARE = 0.1
"""Of a day's events in its busiest hour."""

FULL = 0.6
"""Share of a core that is planned to be used in that hour."""

DAY_SECONDS, HOUR_SECONDS = 86_400, 3_600
SAMPLE_USERS = 100_000


class Costs(msgspec.Struct, frozen=True):
    """Bytes, of users with a full ring."""

    state_per_user: float
    """Key and value in the changelog."""
    memory_per_user: float
    changelog_per_event: float
    """Before compaction and compression; each event of a user in a batch of its own."""
    outputs_per_event: float

    @classmethod
    def of(cls, engine: OnnxEngine, events: int) -> "Costs":
        """Measured on users that are made."""
        before = rss_bytes(os.getpid())
        of = crowd(engine, SAMPLE_USERS, MANY_EVENTS)
        memory = (rss_bytes(os.getpid()) - before) / SAMPLE_USERS
        state = of.store.state_bytes / of.store.users + len(b"u" + bytes(16))
        changes = outputs = played = 0
        for batch in batches_of(of, engine, BATCH, -(-events // BATCH)):
            out = play(batch, of.store, {engine.version: engine}, Route(engine.version))
            changes += sum(len(k) + len(v or b"") for k, v in of.store.take_changes())
            outputs += sum(len(r.value) for r in (*out.predictions, *out.anomalies))
            played += len(batch.offsets)
        return cls(state, memory, changes / played, outputs / played)


class Need(NamedTuple):
    """What a number of users needs."""

    users: int
    peak_events: float  # a second
    cores: float
    memory_bytes: float
    changelog_bytes: float
    changelog_rate: float  # bytes a second at the peak


def need(users: int, costs: Costs, cpu_us: float) -> Need:
    """For users who do ``EVENTS_PER_USER_DAY`` things a day."""
    peak = users * EVENTS_PER_USER_DAY * BUSY_HOUR_SHARE / HOUR_SECONDS
    return Need(
        users,
        peak,
        peak * cpu_us / 1e6 / FULL,
        users * costs.memory_per_user,
        users * costs.state_per_user,
        peak * costs.changelog_per_event,
    )


def plan(costs: Costs, cpu_us: float) -> Table:
    """A row for each number of users."""
    title = (
        f"{EVENTS_PER_USER_DAY:g} events a user and day, {BUSY_HOUR_SHARE:.0%} of them in the"
        f" busiest hour, cores used to {FULL:.0%}; {cpu_us:.0f} us of CPU an event"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("users", "events/s", "cores", "memory", "changelog", "changelog written"):
        table.add_column(name, justify="right")
    for users in USERS:
        found = need(users, costs, cpu_us)
        table.add_row(
            f"{found.users:,}",
            f"{found.peak_events:,.0f}",
            f"{found.cores:,.1f}",
            f"{found.memory_bytes / 2**30:,.1f} GiB",
            f"{found.changelog_bytes / 2**30:,.1f} GiB",
            f"{found.changelog_rate / 2**20:,.1f} MiB/s",
        )
    return table
