"""A seeded shop: users, sessions, purchases and planted attacks, as a click stream."""

from stream_app.simulate.click import Label, SimulatedEvent
from stream_app.simulate.config import ATTACKS, START_MS, SimulatorConfig, SimulatorError
from stream_app.simulate.timeline import items_of, simulate

__all__ = [
    "ATTACKS",
    "START_MS",
    "Label",
    "SimulatedEvent",
    "SimulatorConfig",
    "SimulatorError",
    "items_of",
    "simulate",
]
