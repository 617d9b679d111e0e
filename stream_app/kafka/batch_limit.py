"""How many events a micro-batch may hold: as many as can be played within the latency target.

A batch is what has arrived and never waits for more. Behind a backlog, though, what has arrived may
be anything, and while one partition's batch is played the others wait.
"""

FEWEST = 16
"""Below, a commit would cost more than all that it delivers."""

FIRST = 256
SMOOTHING = 0.5


class BatchLimit:
    """The limit of one partition, from what its last batches took."""

    def __init__(self, most: int, target_seconds: float) -> None:
        self.most = most
        self.target_seconds = target_seconds
        self.events = min(most, FIRST)
        """The next batch's largest size."""
        self._per_event: float | None = None

    def played(self, events: int, seconds: float) -> None:
        """Learn from a batch. Small ones tell little: what a batch costs by itself is most of
        their time, so they count only where they took too long."""
        if not events or (2 * events < self.events and seconds <= self.target_seconds):
            return
        now = seconds / events
        before = now if self._per_event is None else self._per_event
        # A cost that rises counts at once, one that falls bit by bit.
        self._per_event = max(now, before + SMOOTHING * (now - before))
        fitting = self.most
        if self._per_event > 0:
            fitting = int(min(self.most, self.target_seconds / self._per_event))
        # No faster up than twofold: what large batches cost is known from large batches.
        self.events = min(self.most, max(FEWEST, min(fitting, 2 * self.events)))
