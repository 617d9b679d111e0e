"""What is done to workers and brokers, to the traffic, and when: a function of a seed alone.

A plan deals incidents from a shuffled deck until it has its kills. An incident is a handful of acts
on workers that no other incident has in hand, so that each act finds what it is meant for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

Deed = Literal[
    "kill", "stop", "start", "pause", "resume", "restart", "wipe", "spoil",
    "promote", "roll_back", "shadow", "block", "unblock", "erase",
]  # fmt: skip
"""To a process: SIGKILL, SIGTERM, a new one, SIGSTOP, SIGCONT; restart: SIGTERM, start, until it
serves. To the disk of a worker that is down: wipe and spoil its state. The others are orders."""

Weather = Literal["poison", "late", "leap", "skew"]

SESSION_TIMEOUT_MS = 6_000
"""The shortest that the settings allow: a worker away for longer loses its partitions."""

QUIET_START_MS, QUIET_END_MS = 2_000, 1_000
BROKER_START_MS = 7_000  # until a broker serves again, on a busy machine
WORKER_START_MS = 3_500


class Act(NamedTuple):
    """One thing done to one worker or broker."""

    at_ms: int  # since the traffic began
    deed: Deed
    target: str  # worker-1, broker-2, model-1, item-i7, user-u3


class Spell(NamedTuple):
    """A stretch of the traffic that is not as usual."""

    at_ms: int
    weather: Weather
    for_ms: int


class Plan(NamedTuple):
    """All that chance decides about one run."""

    seed: int
    seconds: float
    acts: tuple[Act, ...]  # by time
    spells: tuple[Spell, ...]  # by time
    max_batch_events: int
    static: bool  # whether workers keep their name in the group when they come back

    @property
    def kills(self) -> int:
        return sum(act.deed == "kill" for act in self.acts)


@dataclass
class Draft:
    """A plan in the making."""

    draw: Random
    workers: int
    brokers: int
    end_ms: int
    acts: list[Act] = field(default_factory=list)
    free_at: dict[str, int] = field(default_factory=dict)
    """From when on a worker is in nobody's hand; ``broker`` stands for all brokers: with two of
    three down nothing could be written, whatever the workers do."""

    def moment(self, room_ms: int = 4_000) -> int:
        """When an incident may begin that needs so much time before the traffic ends."""
        return self.draw.randint(QUIET_START_MS, max(QUIET_START_MS, self.end_ms - room_ms))

    def take(self, at_ms: int) -> tuple[str, int]:
        """A worker that is free then, or the one that is free first, and when."""
        names = [f"worker-{number}" for number in range(1, self.workers + 1)]
        free = [name for name in names if self.free_at.get(name, 0) <= at_ms]
        if free:
            return self.draw.choice(free), at_ms
        first = min(names, key=lambda name: self.free_at.get(name, 0))
        return first, self.free_at[first]

    def add(self, at_ms: int, deed: Deed, target: str) -> None:
        self.acts.append(Act(at_ms, deed, target))

    def away(self, deed: Deed, name: str, at_ms: int, for_ms: int) -> None:
        """End a process, and start it again after a while."""
        self.add(at_ms, deed, name)
        self.add(at_ms + for_ms, "start", name)
        self.free_at[name] = at_ms + for_ms + WORKER_START_MS


def kill_briefly(draft: Draft) -> None:
    name, at_ms = draft.take(draft.moment())
    draft.away("kill", name, at_ms, draft.draw.randint(0, 1_500))


def kill_for_long(draft: Draft) -> None:
    """The others take its partitions over, and give some back."""
    name, at_ms = draft.take(draft.moment())
    draft.away("kill", name, at_ms, SESSION_TIMEOUT_MS + draft.draw.randint(500, 3_000))


def kill_again_and_again(draft: Draft) -> None:
    """Every 0.1 to 1 s: it dies while it starts, joins and restores."""
    name, at_ms = draft.take(draft.moment())
    for _ in range(draft.draw.randint(2, 4)):
        draft.away("kill", name, at_ms, 50)
        at_ms += draft.draw.randint(100, 1_000)
    draft.away("kill", name, at_ms + WORKER_START_MS // 2, 50)


def kill_all(draft: Draft) -> None:
    at_ms = draft.moment()
    for number in range(1, draft.workers + 1):
        draft.away("kill", f"worker-{number}", at_ms, draft.draw.randint(0, 1_500))


def stop(draft: Draft) -> None:
    name, at_ms = draft.take(draft.moment())
    for_ms = draft.draw.choice([0, 500, SESSION_TIMEOUT_MS + 1_000])
    draft.away("stop", name, at_ms, for_ms)


def pause(draft: Draft) -> None:
    """For less than the session timeout: nobody notices but those who wait."""
    name, at_ms = draft.take(draft.moment())
    for_ms = draft.draw.randint(200, 4_000)
    draft.add(at_ms, "pause", name)
    draft.add(at_ms + for_ms, "resume", name)
    draft.free_at[name] = at_ms + for_ms


def pause_for_long(draft: Draft) -> None:
    """It loses its partitions in its sleep, and wakes with a micro-batch in hand."""
    name, at_ms = draft.take(draft.moment(SESSION_TIMEOUT_MS + 6_000))
    for_ms = SESSION_TIMEOUT_MS + draft.draw.randint(1_000, 4_000)
    draft.add(at_ms, "pause", name)
    draft.add(at_ms + for_ms, "resume", name)
    draft.free_at[name] = at_ms + for_ms + 2_000


def wake_a_sleeper(draft: Draft) -> None:
    """Right after it wakes, with what it still had in hand on its way, the new owners of its
    partitions die: what they restore must hold nothing of the sleeper's.
    """
    at_ms = max([draft.moment(SESSION_TIMEOUT_MS + 6_000), *draft.free_at.values()])
    sleeper, *others = draft.draw.sample(range(1, draft.workers + 1), draft.workers)
    woken_ms = at_ms + SESSION_TIMEOUT_MS + draft.draw.randint(1_500, 3_000)
    draft.add(at_ms, "pause", f"worker-{sleeper}")
    draft.add(woken_ms, "resume", f"worker-{sleeper}")
    draft.free_at[f"worker-{sleeper}"] = woken_ms + 2_000
    for number in others:
        draft.away("kill", f"worker-{number}", woken_ms + draft.draw.randint(0, 400), 100)


def lose_a_disk(draft: Draft) -> None:
    """A worker comes back to an empty folder, or to files that were cut short or overwritten."""
    name, at_ms = draft.take(draft.moment())
    draft.add(at_ms, draft.draw.choice(["kill", "stop"]), name)
    back_ms = at_ms + draft.draw.randint(200, 1_500)
    draft.add(back_ms, draft.draw.choice(["wipe", "spoil"]), name)
    draft.add(back_ms + 1, "start", name)
    draft.free_at[name] = back_ms + WORKER_START_MS


def swap_models(draft: Draft) -> None:
    """Another model answers, and a worker dies while it takes over; then back, by either order."""
    at_ms = draft.moment(8_000)
    draft.add(at_ms, "promote", "model-1")
    name, _ = draft.take(at_ms)
    draft.away("kill", name, at_ms + draft.draw.randint(0, 300), draft.draw.randint(0, 500))
    back_ms = at_ms + draft.draw.randint(3_000, 6_000)
    if draft.draw.random() < 0.5:
        draft.add(back_ms, "roll_back", "model-0")
    else:
        draft.add(back_ms, "promote", "model-0")
    if draft.draw.random() < 0.5:
        draft.add(back_ms + 1_000, "promote", "model-1")


def give_orders(draft: Draft) -> None:
    """A shadow that leaves no trace, an item that nobody may be shown, a user that is forgotten."""
    at_ms = draft.moment(8_000)
    item = f"item-i{draft.draw.randrange(30)}"
    draft.add(at_ms, "shadow", "model-1")
    draft.add(at_ms + draft.draw.randint(0, 2_000), "block", item)
    for _ in range(3):
        erased_ms = at_ms + draft.draw.randint(0, 5_000)
        draft.add(erased_ms, "erase", f"user-{draft.draw.randrange(1_000)}")
    draft.add(at_ms + draft.draw.randint(3_000, 5_000), "unblock", item)


def restart_in_turn(draft: Draft) -> None:
    at_ms = draft.moment()
    for number in range(1, draft.workers + 1):
        draft.add(at_ms + number, "restart", f"worker-{number}")
        draft.free_at[f"worker-{number}"] = at_ms + number * WORKER_START_MS


def add_and_remove(draft: Draft) -> None:
    """A worker more for a while; it leaves in order or by SIGKILL."""
    name = f"worker-{draft.workers + 1 + len(draft.acts)}"
    at_ms = draft.moment()
    draft.add(at_ms, "start", name)
    gone_ms = at_ms + draft.draw.randint(4_000, 9_000)
    draft.add(gone_ms, draft.draw.choice(["kill", "stop"]), name)


def break_a_broker(draft: Draft) -> None:
    """Cleanly or hard, back at once or after a while; half the time a worker dies with it."""
    at_ms = max(draft.moment(), draft.free_at.get("broker", 0))
    name = f"broker-{draft.draw.randint(1, draft.brokers)}"
    draft.add(at_ms, draft.draw.choice(["kill", "kill", "stop"]), name)
    back_ms = at_ms + draft.draw.choice([0, 500, 4_000])
    draft.add(back_ms, "start", name)
    draft.free_at["broker"] = back_ms + BROKER_START_MS
    if draft.draw.random() < 0.5:
        worker, worker_ms = draft.take(at_ms)
        if worker_ms == at_ms:
            draft.away("kill", worker, at_ms, draft.draw.randint(0, 1_500))


Incident = Callable[[Draft], None]

PILES: tuple[tuple[Incident, ...], ...] = (
    (break_a_broker,),
    (pause, pause_for_long, wake_a_sleeper),
    (stop, restart_in_turn, add_and_remove),
    (lose_a_disk,),
    (swap_models,),
    (give_orders,),
    (kill_all, kill_for_long, kill_again_and_again),
)
"""Every plan has one of each pile."""

KILLS: tuple[Incident, ...] = (kill_briefly, kill_briefly, kill_for_long, lose_a_disk)

SPELL_MS: Mapping[Weather, int] = {"poison": 500, "late": 1_500, "leap": 0, "skew": 1_000}


def plan(seed: int, seconds: float, kills: int, workers: int = 3, brokers: int = 3) -> Plan:
    """The plan of a seed, with at least ``kills`` acts of SIGKILL."""
    draw = Random(seed)  # noqa: S311
    draft = Draft(draw, workers, brokers, int(seconds * 1_000) - QUIET_END_MS)
    for pile in PILES:
        draw.choice(pile)(draft)
    while sum(act.deed == "kill" for act in draft.acts) < kills:
        draw.choice(KILLS)(draft)
    spells = [
        Spell(draw.randint(1_000, max(1_000, draft.end_ms - for_ms)), weather, for_ms)
        for weather, for_ms in SPELL_MS.items()
        for _ in range(2 if weather == "poison" else 1)
    ]
    return Plan(
        seed=seed,
        seconds=seconds,
        acts=tuple(sorted(draft.acts, key=lambda act: act.at_ms)),
        spells=tuple(sorted(spells)),
        max_batch_events=draw.choice([32, 128, 512]),
        static=draw.random() < 0.75,
    )
