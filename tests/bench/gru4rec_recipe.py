"""How long a GRU takes to a given Recall@20: the published GRU4Rec recipe against this project's.

    python -m tests.bench.gru4rec_recipe TRAIN TEST [--recall 0.70] [--epochs N] [--only WHO]
                                         [--set KEY=VALUE]

The recipe is the one that its authors publish for RSC15 (GRU4Rec_PyTorch_Official,
paramfiles/rsc15_xe_shared_100_best.py): session-parallel mini-batches of 32, one GRU layer of 100
with tied embeddings, cross-entropy over 2,048 sampled negatives with log-q correction, dropout 0.4,
Adagrad with momentum, 10 epochs. Written anew from the papers (Hidasi et al. 2016, Hidasi &
Karatzoglou 2018). Both are measured after each epoch on the same questions; the measuring is not
part of the time. Threads are one each, the two run one after the other, and seconds are those of
the processor: on an idle machine they are the clock's, on a busy one they can still be compared.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import TrainConfig, parse_pairs, with_settings
from model.data import stretch_of
from model.fit import Fitting
from model.log import EventLog, Longs
from model.presets import AUTO, preset_for
from model.questions import Questions, questions_of
from model.ranking import MISS, metrics_of, worst_ranks
from model.scoring import answer
from model.spec import ModelSpec
from stream_app.core.config import CoreConfig
from stream_app.files import read
from stream_app.profile import profile
from stream_app.sequences import ShapeConfig, build_log, cleaned, shape


class Recipe(NamedTuple):
    """The published hyper-parameters."""

    lanes: int = 32
    width: int = 100
    epochs: int = 10
    dropout: float = 0.4
    learning_rate: float = 0.2
    momentum: float = 0.2
    samples: int = 2048
    sample_power: float = 0.5
    logq: float = 1.0


class Step(NamedTuple):
    """One mini-batch: what each lane saw, what came next, and which lanes begin a session."""

    item: Longs  # [L]
    target: Longs  # [L]
    begins: Longs  # lanes whose memory is emptied first


def session_parallel(log: EventLog, lanes: int) -> Iterator[Step]:
    """Sessions side by side, a lane taking up the next one where its own ends; the epoch ends when
    a lane finds none."""
    start = log.session_start[:-1][np.diff(log.session_start) > 1]
    stop = log.session_start[1:][np.diff(log.session_start) > 1]
    lanes = min(lanes, len(start))
    place, end, taken = start[:lanes].copy(), stop[:lanes].copy(), lanes
    begins = np.arange(lanes)
    while True:
        yield Step(log.item[place].astype(np.int64), log.item[place + 1].astype(np.int64), begins)
        place = place + 1
        begins = np.flatnonzero(place + 1 >= end)
        if taken + len(begins) > len(start):
            return
        fresh = np.arange(taken, taken + len(begins))
        place[begins], end[begins] = start[fresh], stop[fresh]
        taken += len(begins)


class RecipeNet(nn.Module):
    def __init__(self, items: int, recipe: Recipe) -> None:
        super().__init__()
        bound = (6 / (items + recipe.width)) ** 0.5
        self.items = nn.Embedding(items, recipe.width, sparse=True)
        self.bias = nn.Embedding(items, 1, sparse=True)
        self.cell = nn.GRUCell(recipe.width, recipe.width)
        nn.init.uniform_(self.items.weight, -bound, bound)
        nn.init.zeros_(self.bias.weight)

    def forward(self, item: Tensor, memory: Tensor) -> Tensor:
        """Memory [L, H] after one item [L] of each lane."""
        return self.cell(self.items(item), memory)  # type: ignore[no-any-return]

    def scores(self, hidden: Tensor, candidates: Tensor) -> Tensor:
        """Scores [L, C] of candidates [C]."""
        return hidden @ self.items(candidates).T + self.bias(candidates).T


class Adagrad:
    """Adagrad whose steps keep a share of the steps before, row by row where gradients are."""

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        self.parameters, self.recipe = list(net.parameters()), recipe
        self.sums = [torch.zeros_like(p) for p in self.parameters]
        self.speeds = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        for parameter, total, speed in zip(self.parameters, self.sums, self.speeds, strict=True):
            slope = parameter.grad
            parameter.grad = None
            if slope is None:
                continue
            rows: Tensor | slice = slice(None)
            if slope.is_sparse:
                slope = slope.coalesce()
                rows, slope = slope.indices()[0], slope.values()
            total[rows] += slope**2
            change = self.recipe.learning_rate * slope / (total[rows] + 1e-6).sqrt()
            speed[rows] = self.recipe.momentum * speed[rows] - change
            parameter[rows] += speed[rows]


def recipe_epoch(
    net: RecipeNet, log: EventLog, recipe: Recipe, optimizer: Adagrad, rng: np.random.Generator
) -> None:
    """One pass over the log in its order."""
    popularity = np.bincount(log.item, minlength=net.items.num_embeddings).astype(np.float64)
    drawn_from = popularity**recipe.sample_power
    drawn_from /= drawn_from.sum()
    log_share = torch.from_numpy(np.log(popularity / popularity.sum() + 1e-12)).float()
    log_drawn = torch.from_numpy(np.log(drawn_from + 1e-12)).float()
    ladder = np.cumsum(drawn_from)
    memory = torch.zeros(recipe.lanes, recipe.width)
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    for step in session_parallel(log, recipe.lanes):
        memory = memory[: len(step.item)].detach().clone()
        memory[torch.from_numpy(step.begins)] = 0
        memory = net(torch.from_numpy(step.item), memory)
        keep = torch.empty_like(memory).bernoulli_(1 - recipe.dropout, generator=generator)
        memory = memory * keep / (1 - recipe.dropout)
        target = torch.from_numpy(step.target)
        drawn = torch.from_numpy(np.searchsorted(ladder, rng.random(recipe.samples)))
        drawn = drawn.clamp(max=len(ladder) - 1)
        scores = net.scores(memory, torch.cat([target, drawn]))  # [L, L + samples]
        scores = scores - recipe.logq * torch.cat([log_share[target], log_drawn[drawn]])
        loss = functional.cross_entropy(scores, torch.arange(len(target)))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def recipe_recall(net: RecipeNet, log: EventLog, questions: Questions, items: int) -> float:
    """Recall@20 under full ranking, ties worst, of the recipe's net."""
    session = stretch_of(log.session_start, log.events)
    place = questions.event - log.session_start[:-1][session[questions.event]]  # [M], from 1
    memory = torch.zeros(log.sessions, net.cell.hidden_size)
    ranks = np.full(len(questions.event), MISS, np.int64)
    for column in range(1, int(place.max()) + 1):
        alive = np.flatnonzero(np.diff(log.session_start) > column)
        item = log.item[log.session_start[alive] + column - 1].astype(np.int64)
        known = item < items
        rows = torch.from_numpy(alive[known])
        memory[rows] = net(torch.from_numpy(item[known]), memory[rows])
        asked = np.flatnonzero((place == column) & (questions.target < items))
        for begin in range(0, len(asked), 512):
            part = asked[begin : begin + 512]
            hidden = memory[torch.from_numpy(session[questions.event[part]])]
            scores = net.scores(hidden, torch.arange(items)).numpy()
            ranks[part] = worst_ranks(scores, questions.target[part])
    return float(metrics_of(ranks)["recall@20"])


def run_recipe(
    log: EventLog, test: EventLog, spec: ModelSpec, recipe: Recipe, goal: float
) -> list[tuple[float, float]]:
    """Seconds of training and Recall@20 after each epoch, up to the goal."""
    torch.manual_seed(1)
    net, rng = RecipeNet(spec.item_count, recipe), np.random.default_rng(1)
    optimizer, questions = Adagrad(net, recipe), questions_of(test, spec, "session")
    course: list[tuple[float, float]] = []
    seconds = 0.0
    for epoch in range(recipe.epochs):
        begin = time.process_time()
        recipe_epoch(net, log, recipe, optimizer, rng)
        seconds += time.process_time() - begin
        course.append((seconds, recipe_recall(net, test, questions, spec.item_count)))
        say(f"recipe epoch {epoch + 1}: {seconds:.0f} s, recall@20 {course[-1][1]:.4f}")
        if course[-1][1] >= goal:
            break
    return course


def run_ours(
    log: EventLog, test: EventLog, spec: ModelSpec, config: TrainConfig, goal: float
) -> list[tuple[float, float]]:
    """The same of this project's training."""
    fitting = Fitting(log, spec, config, config.epochs)
    questions, nothing = questions_of(test, spec, "session"), np.zeros(0, np.int64)
    course: list[tuple[float, float]] = []
    seconds = 0.0
    for epoch in range(config.epochs):
        begin = time.process_time()
        batches = fitting.batches(epoch)
        for number, batch in enumerate(batches):
            fitting.step(epoch, number, len(batches), batch)
        seconds += time.process_time() - begin
        metrics = metrics_of(answer(fitting.average, test, spec, questions, nothing).ranks)
        course.append((seconds, float(metrics["recall@20"])))
        say(f"ours epoch {epoch + 1}: {seconds:.0f} s, recall@20 {course[-1][1]:.4f}")
        if course[-1][1] >= goal:
            break
    return course


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def seconds_to(course: list[tuple[float, float]], goal: float) -> float:
    """Seconds until the goal was reached; infinity if never."""
    return min((seconds for seconds, recall in course if recall >= goal), default=float("inf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--recall", type=float, default=0.70)
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="of the recipe")
    parser.add_argument("--only", choices=("recipe", "ours"), help="run one of the two")
    parser.add_argument(
        "--set", dest="pairs", action="append", default=[], help="KEY=VALUE of our training"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    core = CoreConfig(pseudonym_key=bytes(16))
    spec, items = shape(
        profile(cleaned(read([given.train], sort=True), core)), ShapeConfig(top_k=20)
    )
    log, test = (
        build_log(read([path], sort=True), spec, items, core) for path in (given.train, given.test)
    )
    recipe = Recipe()._replace(epochs=given.epochs)
    theirs = [] if given.only == "ours" else run_recipe(log, test, spec, recipe, given.recall)
    goal = min(given.recall, max((recall for _, recall in theirs), default=1.0))
    if given.only == "recipe":
        return
    config = with_settings(preset_for(AUTO, log, spec), parse_pairs(given.pairs))
    ours = run_ours(log, test, spec, config, goal)
    if given.only == "ours":
        return
    shares = seconds_to(ours, goal) / seconds_to(theirs, goal)
    say(
        f"recall@20 {goal:.4f}: recipe {seconds_to(theirs, goal):.0f} s, "
        f"ours {seconds_to(ours, goal):.0f} s, ratio {shares:.2f}"
    )


if __name__ == "__main__":
    main()
