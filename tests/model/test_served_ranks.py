"""Ranks through the engine are the net's."""

from pathlib import Path

import msgspec
import numpy as np
import torch

from model import checkpoint
from model.engine import open_engine
from model.export import export
from model.log import EventLog
from model.nets import GruNet
from model.questions import questions_of
from model.ranking import MISS
from model.recommender import ranks_of
from model.scoring import NetRecommender
from model.served_ranks import served_ranks
from tests.model.logs import learnable_log, spec_of


def test_the_served_model_ranks_as_the_net(tmp_path: Path) -> None:
    for reset in (True, False):
        spec = msgspec.structs.replace(
            spec_of(items=9, reset=reset), top_k=4, memory_dtype="float32"
        )
        log: EventLog = learnable_log(spec, users=30)
        net = GruNet(spec, torch.Generator().manual_seed(3))
        folder = tmp_path / str(reset)
        checkpoint.save(folder, spec, tuple("abcdefghi"), net.weights())
        export(folder)
        questions = questions_of(log, spec, "session")
        exact = ranks_of(NetRecommender(net, spec), log, spec, questions)
        wanted = np.where((exact <= 4) & (questions.after >= 0), exact, MISS)
        assert np.array_equal(served_ranks(open_engine(folder), log, questions), wanted)
