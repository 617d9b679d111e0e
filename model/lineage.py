"""What a model has learned and what was kept from it, for whoever reads its figures."""

import msgspec

from model.checkpoint import Manifest
from model.config import TrainConfig


def learned_from(manifest: Manifest) -> str:
    """One paragraph on a model's training: the log, what was held out, how epochs were chosen.

    ``manifest.config`` are the settings of ``model.train``; a model of other making has none.
    """
    events, sessions = (manifest.metrics.get(name) for name in ("events", "sessions"))
    log = "a log" if events is None else f"a log of {events:,} events in {sessions:,} sessions"
    if not manifest.config:
        return f"Trained on {log}; nothing is known of its settings."
    config = msgspec.convert(manifest.config, TrainConfig)
    return " ".join((f"Trained on {log}", _held_out(config), _epochs(manifest, config)))


def _held_out(config: TrainConfig) -> str:
    if not config.is_probe:
        return "as a whole: nothing of it was held out."
    if config.leave_one_out:
        return "without each user's last item, and on all before it, the second last item included."
    return f"without the newest {config.held_out:.1%} of its sessions."


def _epochs(manifest: Manifest, config: TrainConfig) -> str:
    history = manifest.metrics.get("history", ())
    measured = [record for record in history if record.get("mrr_at_20") is not None]
    if not was_chosen(manifest):
        return f"Epochs: {config.epochs}, fixed beforehand."
    best = max(measured, key=lambda record: (record["mrr_at_20"], -record["epoch"]))
    return f"Epochs: {best['epoch']} of {len(history)}, chosen by MRR@20 on what was held out."


def was_chosen(manifest: Manifest) -> bool:
    """Whether what was held out has chosen among epochs: then it is no test of the model."""
    history = manifest.metrics.get("history", ())
    return sum(record.get("mrr_at_20") is not None for record in history) > 1
