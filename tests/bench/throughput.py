"""CPU per event of all entrants over one course, in turn, and their outputs compared."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.bench.course import Course
from tests.bench.entrants import AT_LEAST_ONCE, COPY_LOOP, EXACTLY_ONCE, NAIVE_FAUST
from tests.bench.figures import Figure, ratios
from tests.bench.oracle import Truth, agreement, differences, truth_of
from tests.bench.race import Entrant, Lap, run_lap

OURS = {"at_least_once": AT_LEAST_ONCE, "exactly_once": EXACTLY_ONCE}


class Raced(NamedTuple):
    laps: Mapping[str, list[Lap]]  # by the entrant's key, without what they put out
    core_us: list[float]
    agreements: dict[str, str]  # by key, in words
    disagreements: list[str]

    def cpu_us(self, key: str) -> list[float]:
        return [lap.cpu_us_per_event for lap in self.laps[key]]

    def inference_us(self, key: str) -> list[float]:
        """Of ``cpu_us``, inside of the engine; of ours alone."""
        return [lap.inference_us_per_event for lap in self.laps[key]]

    def outside_us(self, key: str) -> list[float]:
        """The rest of ``cpu_us``."""
        return [lap.cpu_us_per_event - lap.inference_us_per_event for lap in self.laps[key]]


def race(
    course: Course,
    kafka: str,
    peers: Mapping[str, Entrant],
    rounds: int,
    share: float,
    tell: Callable[[str], None],
) -> Raced:
    """``rounds`` rounds of everybody in turn, every other one backwards. ``share`` scales what each
    is asked. Raises RuntimeError where an entrant fails."""
    entrants = {
        # The copy loop is done before the kernel's clock has ticked often enough.
        key: entrant._replace(
            events=max(200, int(entrant.events * (1.0 if key == "copy_loop" else share)))
        )
        for key, entrant in (*OURS.items(), *peers.items())
    }
    raced = Raced({key: [] for key in entrants}, [], {}, [])
    longest = max(
        entrant.warm_up + entrant.events for key, entrant in entrants.items() if key != "copy_loop"
    )
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}: replay")
        truth = truth_of(course, longest)
        raced.core_us.append(truth.core_us)
        for key in sorted(entrants, reverse=bool(number % 2)):
            tell(f"round {number + 1} of {rounds}: {entrants[key].name}")
            lap = run_lap(entrants[key], course, kafka)
            _compare(raced, key, lap, truth)
            raced.laps[key].append(lap._replace(predictions={}, anomalies={}))
    return raced


def _compare(raced: Raced, key: str, lap: Lap, truth: Truth) -> None:
    if key in OURS:
        wrong = differences(lap, truth)
        raced.disagreements.extend(f"{lap.entrant}: {what}" for what in wrong)
        if not wrong:
            raced.agreements[key] = f"{len(lap.predictions)} predictions are the replay's bytes"
    elif key != "copy_loop":
        found = agreement(lap, truth)
        said = (
            f"{found.compared} predictions share {found.shared_items:.4f} of the best 20 with ours;"
            f" probabilities differ by {found.worst_probability:.1e} at most"
        )
        raced.agreements[key] = said
        if not found.holds:
            raced.disagreements.append(f"{lap.entrant}: {said}")


def figures_of(raced: Raced, suffix: str = "") -> Iterable[Figure]:
    """Every peer's CPU per event over ours, like for like at least once; exactly once beside it."""
    ours, exactly = raced.cpu_us("at_least_once"), raced.cpu_us("exactly_once")
    for key, laps in raced.laps.items():
        if key not in OURS and key != "copy_loop":
            name = laps[0].entrant
            theirs = raced.cpu_us(key)
            yield ratios(f"ratio_{key}{suffix}", f"events/s a core over {name}", theirs, ours)
            what = f"events/s a core over {name}, exactly once"
            yield ratios(f"ratio_{key}{suffix}_exactly_once", what, theirs, exactly)
    if "copy_loop" in raced.laps:
        copied = raced.cpu_us("copy_loop")
        for delivery, key in (("at_least_once", "copy_ratio"), ("exactly_once", "copy_ratio_eo")):
            what = f"CPU outside inference over the copy loop's, {delivery}"
            yield ratios(key, what, raced.outside_us(delivery), copied)
    for key, laps in raced.laps.items():
        name = laps[0].entrant
        yield Figure(f"cpu_us_{key}{suffix}", f"CPU us per event, {name}", raced.cpu_us(key))
        rates = [lap.events_per_second for lap in laps]
        yield Figure(f"peak_{key}{suffix}", f"events/s by the clock, {name}", rates)
    inside = raced.inference_us("at_least_once")
    yield Figure(f"inference_us{suffix}", "of these in the engine, at_least_once", inside)
    yield Figure(f"core_us{suffix}", "CPU us per event in the core", raced.core_us)


def ready_figures(raced: Raced) -> Iterable[Figure]:
    """From process start to ready: ours by its own word, Faust's by its first prediction."""
    laps: Sequence[Lap] = [lap for key in OURS for lap in raced.laps[key]]
    yield Figure("ready_seconds", "seconds to ready", [lap.ready_seconds for lap in laps])
    if "naive_faust" in raced.laps:
        faust = [lap.ready_seconds for lap in raced.laps["naive_faust"]]
        yield Figure("ready_seconds_naive_faust", f"seconds to ready, {NAIVE_FAUST.name}", faust)


BASIC: Mapping[str, Entrant] = {"copy_loop": COPY_LOOP, "naive_faust": NAIVE_FAUST}
