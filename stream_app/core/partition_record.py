"""What belongs to a partition and not to a user: the record that ends every micro-batch."""

import msgspec

from stream_app.core.batch import Route
from stream_app.core.generations import KnownModel
from stream_app.core.state import FORMAT

PARTITION_KEY = b"p"
"""Key of the partition's record, which ends every micro-batch in the changelog."""

ROUTE_FIELDS = ("live", "arm", "as_of", "shadow", "items_as_of", "degraded")
"""Fields of Route that the partition's record keeps under the same names."""

# The share of unknown items is judged over the last one to two thousand item events.
VOCABULARY_HORIZON, VOCABULARY_MIN_EVENTS = 2048, 32


class PartitionRecord(msgspec.Struct, kw_only=True):
    """``next_offset`` is where the next batch has to start; a batch that starts elsewhere would
    double or lose events."""

    format: int = FORMAT
    model: str
    fingerprint: bytes
    actions: tuple[str, ...]
    next_offset: int = 0
    watermark_ms: int = -1
    expiry_bucket: int = -1
    live: str = ""  # the route in force: see ROUTE_FIELDS
    arm: str = "live"
    as_of: int = 0
    shadow: str | None = None
    items_as_of: int = 0
    degraded: int = 0
    erased_as_of: int = 0  # erasures ordered below this offset of the control topic are done
    generation: int = 0  # of ``models``: the one that writes rows now
    models: dict[int, KnownModel] = {}  # by the generation that rows carry
    outcomes: dict[str, int] = {}
    known_items: int = 0
    unknown_items: int = 0
    out_of_vocabulary: bool = False
    said_out_of_vocabulary: bool = False
    calibration: dict[str, int] = {}

    def route(self, blocked: frozenset[str], erasures: tuple[tuple[int, bytes], ...]) -> Route:
        """The route in force, as recorded. ``blocked`` and ``erasures`` are not: the caller folds
        both topics up to ``as_of`` and ``items_as_of``."""
        kept = {name: getattr(self, name) for name in ROUTE_FIELDS}
        return Route(blocked=blocked, erasures=erasures, **kept)

    def check_route(self, route: Route, partition: int) -> None:
        """ValueError where ``route`` is not the recorded one."""
        for name in ROUTE_FIELDS:
            told, kept = getattr(route, name), getattr(self, name)
            if told != kept:
                raise ValueError(
                    f"partition {partition}: the route says {name} = {told!r}, recorded is "
                    f"{kept!r}; a new route is recorded by one batch and in force from the next"
                )

    def take_route(self, route: Route) -> None:
        """Have a route in force from the next batch on."""
        for name in ROUTE_FIELDS:
            setattr(self, name, getattr(route, name))

    def see_item(self, is_known: bool) -> None:
        """Take in an item event: whether most of the partition's recent items are unknown."""
        if is_known:
            self.known_items += 1
        else:
            self.unknown_items += 1
        items = self.known_items + self.unknown_items
        if items >= VOCABULARY_HORIZON:
            self.known_items //= 2
            self.unknown_items //= 2
        is_judged = items >= VOCABULARY_MIN_EVENTS
        self.out_of_vocabulary = is_judged and self.unknown_items > self.known_items

    @property
    def erasures_due(self) -> bool:
        """Whether the next batch, even an empty one, carries out erasures that were recorded."""
        return self.erased_as_of < self.as_of
