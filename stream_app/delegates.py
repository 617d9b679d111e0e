"""Engines whose answers are another one's, with something done beside them."""

from collections.abc import Callable, Mapping

from model.spec import Advance, Engine, Floats, Memory, ModelSpec, Rounds, Tokens, Vocabulary


class Delegate:
    """An engine whose answers are another one's."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def spec(self) -> ModelSpec:
        return self.engine.spec

    @property
    def version(self) -> str:
        return self.engine.version

    @property
    def fingerprint(self) -> bytes:
        return self.engine.fingerprint

    @property
    def vocabulary(self) -> Vocabulary:
        return self.engine.vocabulary

    @property
    def calibration(self) -> Mapping[str, Floats]:
        return self.engine.calibration

    def initial(self, rows: int) -> Memory:
        return self.engine.initial(rows)

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        return self.engine.advance(tokens, memory, rounds)


class Meter:
    """What several engines took, whether they are still open or not."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        """``clock_ns`` counts the CPU time of the thread that asks, in nanoseconds."""
        self.clock_ns = clock_ns
        self.spent_ns = 0

    @property
    def seconds(self) -> float:
        return self.spent_ns / 1e9


class Metered(Delegate):
    """An engine whose steps are on a meter."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        super().__init__(engine)
        self._meter = meter

    def advance(self, tokens: Tokens, memory: Memory, rounds: Rounds = ()) -> Advance:
        meter = self._meter
        begun_ns = meter.clock_ns()
        try:
            return self.engine.advance(tokens, memory, rounds)
        finally:
            meter.spent_ns += meter.clock_ns() - begun_ns
