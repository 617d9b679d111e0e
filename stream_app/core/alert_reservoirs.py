"""A partition's calibration: a reservoir of scores for each kind of alert, and its records."""

import numpy as np

from model.spec import Engine
from stream_app.core.calibration import Reservoir
from stream_app.core.changelog import block_key, keyed_blocks
from stream_app.core.events import ALERT_KINDS, AlertKind
from stream_app.core.state import StateError

Pairs = list[tuple[bytes, bytes]]


class AlertReservoirs:
    """What verdicts are judged by: scores that the model ships, then the partition's own.

    ``by_kind`` stays the same dict. Restored blocks wait until the model that answers is known.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        self._size = size
        self._restored: dict[tuple[int, int], bytes] = {}
        self._gone: list[bytes] = []  # keys of the blocks before a swap
        self.by_kind: dict[AlertKind, Reservoir] = {}
        self._ship(engine)

    def _ship(self, engine: Engine) -> None:
        nothing = np.zeros(0, np.float32)
        for kind in ALERT_KINDS:
            self.by_kind[kind] = Reservoir(engine.calibration.get(kind, nothing), self._size)

    def counts(self) -> dict[str, int]:
        """Scores by kind of alert."""
        return {kind: len(reservoir) for kind, reservoir in self.by_kind.items()}

    def swap(self, engine: Engine) -> None:
        """Begin with what a model ships, and take from the changelog what the one before had."""
        self._gone += [key for key, _ in self._held()]
        self._gone += [block_key(number, block) for number, block in self._restored]
        self._ship(engine)
        self._restored = {}
        for reservoir in self.by_kind.values():
            reservoir.change_all()

    def serve(self, engine: Engine) -> None:
        """Begin with what a model ships, and put the restored blocks over it."""
        self._ship(engine)
        self.fill()

    def restore(self, number: int, block: int, value: bytes | None) -> None:
        """Keep a record's block; StateError where it is none."""
        if value is None:
            self._restored.pop((number, block), None)
        elif len(value) % 4 == 0:
            self._restored[number, block] = value
        else:
            raise StateError(f"a block of scores has {len(value)} bytes; 4 each are needed")

    def fill(self) -> None:
        """Put the restored blocks over what the model ships."""
        reservoirs = list(self.by_kind.values())
        for (number, block), scores in sorted(self._restored.items()):
            reservoirs[number].restore(block, scores)
        for reservoir in reservoirs:
            reservoir.rank()
        self._restored = {}

    def take_changes(self) -> tuple[Pairs, list[bytes]]:
        """Blocks that changed since the last call, and keys of those that are there no more."""
        changed: Pairs = []
        for number, reservoir in enumerate(self.by_kind.values()):
            changed += keyed_blocks(number, reservoir.take_changes())
        written = {key for key, _ in changed} if self._gone else set()
        gone = [key for key in dict.fromkeys(self._gone) if key not in written]
        self._gone = []
        return changed, gone

    def records(self) -> Pairs:
        """All blocks."""
        if self._restored:  # nobody has answered since
            return [(block_key(*place), scores) for place, scores in sorted(self._restored.items())]
        return self._held()

    def _held(self) -> Pairs:
        held: Pairs = []
        for number, reservoir in enumerate(self.by_kind.values()):
            held += keyed_blocks(number, reservoir.records())
        return held
