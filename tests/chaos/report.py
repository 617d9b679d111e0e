"""What a campaign of runs came to: the numbers of its last line."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec

from stream_app.kafka.dump import DumpRecord
from tests.chaos.verifier import Topics, Verdict
from tests.chaos.workers import Done

DISTURBING = ("kill", "stop", "pause", "restart")


@dataclass
class Outcome:
    """One run of one plan."""

    seed: int
    delivery: str
    events: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    deeds: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    """What was compared, by kind: a comparison of nothing would prove nothing."""
    faults: list[str] = field(default_factory=list)
    """What went wrong besides the records, as sentences."""
    endings: list[str] = field(default_factory=list)
    """Workers that ended by themselves and were started again; allowed, but told."""
    recovery_ms: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.verdict.passes(self.delivery) and not self.faults


def counted(done: Sequence[Done]) -> Counter[str]:
    """Acts by kind: worker_kill, broker_stop and so on."""
    return Counter(f"{act.target.partition('-')[0]}_{act.deed}" for _, act in done)


def kinds(topics: Topics) -> Counter[str]:
    """Outputs by kind, corrections and model versions of the predictions apart."""
    found: Counter[str] = Counter()
    for (role, _), records in topics.outputs.items():
        found[role] += len(records)
        if role == "predictions":
            for value in filter(None, (value for _, value in records)):
                made = msgspec.json.decode(value, type=Headline)
                found["corrections"] += made.revision > 0
                found["degraded"] += made.degraded > 0
                found[f"model {made.model}"] += 1
    found["rows of state"] += sum(map(len, topics.state.values()))
    return found


class Headline(msgspec.Struct):
    """What of a prediction is counted."""

    model: str
    revision: int = 0
    degraded: int = 0


def recoveries(
    done: Sequence[Done], changes: Mapping[int, Sequence[DumpRecord]], until_ms: int
) -> list[int]:
    """From each unplanned death of a worker to the first commit thereafter in the partition that
    had to wait longest, in ms; deaths with another act before that are left out, for they would
    measure both.
    """
    commits = {p: sorted({row.timestamp_ms for row in rows}) for p, rows in changes.items()}
    deaths = [at_ms for at_ms, act in done if act.deed == "kill" and "worker" in act.target]
    disturbances = sorted(at_ms for at_ms, act in done if act.deed in DISTURBING)
    found = []
    for at_ms in deaths:
        nexts = [next_after(times, at_ms) for times in commits.values()]
        if at_ms > until_ms or None in nexts:
            continue
        served_ms = max(after for after in nexts if after is not None)
        undisturbed = bisect_right(disturbances, at_ms + 50)
        if undisturbed == len(disturbances) or disturbances[undisturbed] > served_ms:
            found.append(served_ms - at_ms)
    return found


def next_after(times: Sequence[int], at_ms: int) -> int | None:
    place = bisect_right(times, at_ms)
    return times[place] if place < len(times) else None


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The last line, as an object."""
    deeds: Counter[str] = sum((outcome.deeds for outcome in outcomes), Counter())
    recovery = [ms for outcome in outcomes for ms in outcome.recovery_ms]
    return {
        "seeds": len({outcome.seed for outcome in outcomes}),
        "runs": len(outcomes),
        "failed": [[outcome.delivery, outcome.seed] for outcome in outcomes if not outcome.passed],
        "kills": deeds["worker_kill"] + deeds["broker_kill"],
        "acts": dict(sorted(deeds.items())),
        "events": sum(outcome.events for outcome in outcomes),
        "outputs": dict(sorted(sum((o.outputs for o in outcomes), Counter()).items())),
        **by_delivery(outcomes),
        "ended_by_themselves": sum(len(outcome.endings) for outcome in outcomes),
        "recovery_seconds": {
            "measured": len(recovery),
            "p50": round(median(recovery) / 1_000, 2) if recovery else None,
            "max": round(max(recovery) / 1_000, 2) if recovery else None,
        },
        "seconds": round(seconds, 1),
    }


def by_delivery(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Lost and mismatched of all; a double is a fault only where there must be none."""
    once = [outcome.verdict for outcome in outcomes if outcome.delivery == "exactly_once"]
    least = [outcome.verdict for outcome in outcomes if outcome.delivery == "at_least_once"]
    return {
        "lost": sum(verdict.lost for verdict in [*once, *least]),
        "duplicated": sum(verdict.duplicated for verdict in once),
        "mismatched": sum(verdict.mismatched for verdict in [*once, *least]),
        "duplicated_at_least_once": sum(verdict.duplicated for verdict in least),
    }
