"""What a report says of a model's training."""

import msgspec

from model.checkpoint import Manifest
from model.config import TrainConfig
from model.lineage import learned_from, was_chosen
from tests.model.logs import spec_of


def manifest(config: TrainConfig, *mrrs: float | None) -> Manifest:
    history = [{"mrr_at_20": mrr, "epoch": n, "item_loss": 1.0} for n, mrr in enumerate(mrrs, 1)]
    return Manifest(
        spec=spec_of(),
        fingerprint="0" * 16,
        config=msgspec.to_builtins(config),
        metrics={"events": 1_234, "sessions": 56, "history": history},
    )


def test_last_items_that_chose_nothing_are_a_test() -> None:
    config = TrainConfig(leave_one_out=True, epochs=3, patience=0, refit=False)
    made = manifest(config, None, None, 0.1)
    text = learned_from(made)
    assert not was_chosen(made)
    for part in ("1,234 events in 56 sessions", "without each user's last item", "second last",
                 "3, fixed beforehand"):  # fmt: skip
        assert part in text


def test_what_chose_the_epoch_is_named() -> None:
    made = manifest(TrainConfig(held_out=0.1, epochs=9, refit=False), 0.1, 0.3, 0.2)
    assert was_chosen(made)
    text = learned_from(made)
    assert "without the newest 10.0% of its sessions" in text
    assert "Epochs: 2 of 3, chosen by MRR@20" in text


def test_a_model_of_everything_and_one_of_unknown_origin() -> None:
    for config in (TrainConfig(), TrainConfig(held_out=0.1, refit=True)):
        assert "nothing of it was held out" in learned_from(manifest(config, None))
    bare = Manifest(spec=spec_of(), fingerprint="0" * 16)
    assert "nothing is known of its settings" in learned_from(bare)
