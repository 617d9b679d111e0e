"""Churn and answers to promotions: what is known, and that nothing beyond the log is."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import checkpoint
from model.config import TrainConfig
from model.data import NONE, stretch_of
from model.engine import open_engine
from model.evaluate import evaluate, heads_table
from model.export import export
from model.holdout import hold_out
from model.log import EventLog
from model.stand_in import random_tokens
from model.tasks import churned, responded
from model.train import train
from model.transfer import TransferConfig, guide_from
from tests.model.logs import log_of, logs, spec_of

SPEC = spec_of()
DAY_MS = 86_400_000
ITEMS = tuple("abcdef")


def shop(users: int, seed: int) -> EventLog:
    """Users of two kinds: those who look at items 0 to 2 come back every day for a week, the others
    come once. Every other event shows a promotion, and item 1 is then put into the cart."""
    rng = np.random.default_rng(seed)
    sessions: list[Any] = []
    times: list[int] = []
    promoted: list[bool] = []
    for _ in range(users):
        stays, begin = rng.random() < 0.5, int(rng.integers(14)) * DAY_MS
        user = []
        for day in range(7 if stays else 1):
            session: list[tuple[int, int]] = []
            for place in range(4):
                item, shown = int(rng.integers(3)) + (0 if stays else 3), place % 2 == 0
                session.append((item, 2))
                promoted.append(shown)
                if shown and item == 1:
                    session.append((item, 3))
                    promoted.append(False)
            times += [begin + day * DAY_MS + 1_000 * step for step in range(len(session))]
            user.append(session)
        sessions.append(user)
    return msgspec.structs.replace(
        log_of(sessions, SPEC), at_ms=np.array(times, np.int64), promoted=np.array(promoted)
    )


CONFIG = TrainConfig(
    epochs=6,
    batch_sequences=16,
    learning_rate=2e-2,
    head_weight=1.0,
    churn_days=2.0,
    promotions=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tasks")
    train(shop(120, 1), SPEC, ITEMS, CONFIG, out)
    return out


def test_both_are_learned_and_measured(model: Path) -> None:
    result = evaluate(model, shop(60, 2))
    # Nothing tells the last of seven days: of as many who stay as go, 0.75 is the best there is.
    assert result["churn"]["auc"] == pytest.approx(0.75, abs=0.05)
    assert result["churn"]["ece"] < 0.1
    assert result["promotion"]["auc"] > 0.95
    assert result["promotion"]["share"] == pytest.approx(7 / 24, abs=0.05)
    assert heads_table(result).row_count >= 3


def test_a_model_with_tasks_is_served_as_one_without(model: Path) -> None:
    export(model, random_tokens(SPEC, 4, 3, seed=1))
    assert open_engine(model).spec == SPEC


@pytest.mark.parametrize("way", [{"freeze": "body"}, {"lora_rank": 2}])
def test_a_task_is_added_to_a_model_that_had_none(way: dict[str, Any], tmp_path: Path) -> None:
    log = shop(80, 3)
    plain = msgspec.structs.replace(CONFIG, churn_days=0.0, promotions=False, epochs=1)
    train(log, SPEC, ITEMS, plain, tmp_path / "plain")
    earlier = checkpoint.load(tmp_path / "plain")
    guide = guide_from(earlier, SPEC, ITEMS, log, TransferConfig(**way), shape=CONFIG.net_shape)
    train(log, SPEC, ITEMS, CONFIG, tmp_path / "more", guide=guide)
    result = evaluate(tmp_path / "more", shop(60, 2))
    assert result["churn"]["auc"] > 0.7


def test_churn_by_hand() -> None:
    times = [0, 1, 3 * DAY_MS, 10 * DAY_MS]
    log = log_of([[[(0, 2), (1, 2)], [(2, 2)]], [[(3, 2)]]], SPEC)
    log = msgspec.structs.replace(log, at_ms=np.array(times, np.int64))
    assert churned(log, 3 * DAY_MS).tolist() == [0, 0, 1, NONE]
    assert churned(log, 2 * DAY_MS).tolist() == [1, 1, 1, NONE]
    assert churned(log, 8 * DAY_MS).tolist() == [0, 0, NONE, NONE]


@settings(deadline=None, max_examples=40)
@given(log=logs(SPEC, min_events=2), share=st.floats(0.1, 0.9), horizon_ms=st.integers(1, 20_000))
def test_what_is_held_out_is_never_looked_at(log: EventLog, share: float, horizon_ms: int) -> None:
    """The early part knows less than the whole, never something else, and of its users' later
    sessions nothing."""
    held = hold_out(log, share)
    early = churned(held.early, horizon_ms)
    whole = churned(log, horizon_ms)[~held.late]
    known = early != NONE
    assert (early[known] == whole[known]).all()


def test_an_answer_is_about_the_promoted_item_and_comes_later() -> None:
    view, cart, purchase = 2, 3, 4
    log = log_of(
        [[[(0, cart), (0, view), (1, view), (0, cart)], [(1, purchase)]], [[(2, view)]]],
        SPEC,
        closed=[True, True, False],
    )
    promoted = np.array([True, True, True, False, True, True])
    log = msgspec.structs.replace(log, promoted=promoted)
    assert responded(log, SPEC).tolist() == [1, 1, 0, NONE, 0, NONE]
    assert (responded(msgspec.structs.replace(log, promoted=None), SPEC) == NONE).all()


@settings(deadline=None, max_examples=40)
@given(log=logs(SPEC), data=st.data())
def test_answers_are_those_of_a_search(log: EventLog, data: st.DataObject) -> None:
    marks = data.draw(st.lists(st.booleans(), min_size=log.events, max_size=log.events))
    log = msgspec.structs.replace(log, promoted=np.array(marks, bool))
    session = stretch_of(log.session_start, log.events)
    for event, found in enumerate(responded(log, SPEC).tolist()):
        end = log.session_start[session[event] + 1]
        answers = [
            place
            for place in range(event + 1, end)
            if log.item[place] == log.item[event] and log.action[place] in (3, 4)
        ]
        is_asked = marks[event] and log.item[event] < SPEC.no_item
        wanted = 1 if answers else 0 if log.closed[session[event]] else NONE
        assert found == (wanted if is_asked else NONE)
