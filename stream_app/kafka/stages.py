"""How long each stage of one micro-batch took."""

from collections.abc import Iterable, Mapping
from time import perf_counter, time

import msgspec


class Stages:
    """The stages lie one behind the other, from when the batch's oldest event was received on."""

    def __init__(self, received: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = received
        self._epoch = time() - perf_counter()
        self._received_ms = int((self._epoch + received) * 1000)

    def mark(self, stage: str) -> None:
        now = perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def since_taken(self) -> float:
        """Seconds of all stages but the wait."""
        return sum(self.seconds.values()) - self.seconds.get("wait", 0.0)

    @property
    def done_ms(self) -> float:
        """When the last stage so far ended, epoch milliseconds."""
        return (self._epoch + self._last) * 1000

    def epochs_ms(self, arrivals: Iterable[tuple[int, float]]) -> list[float]:
        """When each row was received, epoch milliseconds."""
        found: list[float] = []
        for rows, received in arrivals:
            found += [(self._epoch + received) * 1000] * rows
        return found

    def header(self) -> bytes:
        """The stages so far: when the oldest event of the batch was received, then microseconds."""
        stages = {f"{stage}_us": round(seconds * 1e6) for stage, seconds in self.seconds.items()}
        measured: Mapping[str, int] = {"received_ms": self._received_ms, **stages}
        return msgspec.json.encode(measured)
