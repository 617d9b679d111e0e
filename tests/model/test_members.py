"""All members come by name; tuning never ends behind the defaults."""

import msgspec
import pytest

from model.holdout import hold_out
from model.members import BLENDED, fit_members, tune_neighbours
from model.neighbours import NeighbourConfig, Neighbours
from model.questions import questions_of
from model.ranking import metrics_of
from model.recommender import ranks_of
from model.repeats import WithoutPresent
from tests.model.logs import learnable_log, log_of, spec_of

SPEC = spec_of(items=20)
LOG = learnable_log(SPEC, users=80)


def test_members_by_name() -> None:
    told: list[str] = []
    names = ("Markov", "VMIS-kNN", "popular")
    found = fit_members(LOG, SPEC, NeighbourConfig(), names, told.append)
    assert {member.name for member in found} == set(names) == set(told)
    assert set(BLENDED) - {"net"} <= {m.name for m in fit_members(LOG, SPEC, NeighbourConfig())}


@pytest.mark.parametrize("repeats", [False, True])
def test_the_present_item_is_left_out_where_nobody_repeats(repeats: bool) -> None:
    log = log_of([[[(0, 2), (int(not repeats), 2), (2, 2)]]], SPEC)
    (member,) = fit_members(log, SPEC, NeighbourConfig(), ("popular",))
    assert isinstance(member.recommender, WithoutPresent) is not repeats


def test_tuning_is_at_least_as_good_as_the_defaults() -> None:
    held = hold_out(LOG, 0.3)
    questions = questions_of(LOG, SPEC, "session", held.late)
    tuned = tune_neighbours(held.early, LOG, SPEC, questions)

    def goodness(config: NeighbourConfig) -> float:
        ranks = ranks_of(Neighbours(held.early, SPEC, config), LOG, SPEC, questions)
        return sum(float(metrics_of(ranks)[name]) for name in ("recall@20", "mrr@20"))

    assert goodness(tuned) >= goodness(NeighbourConfig())
    assert msgspec.structs.asdict(tuned)
