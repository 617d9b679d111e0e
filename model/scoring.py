"""Run a net over a log, every memory from its first event on, and answer questions on it."""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from model.data import NONE, memory_starts, padded_places, stretch_of
from model.log import EventLog, Longs
from model.nets import SequenceNet, TokenBatch
from model.questions import Questions, seen_before
from model.ranking import MISS, worst_ranks
from model.recommender import user_firsts
from model.spec import Floats, ModelSpec

# Memories read side by side, and events of each at once: bounds what is held at a time.
ROWS, COLUMNS = 256, 64
# Scores held at once: 40 MB.
SCORES = 10_000_000
# Length of the top lists that coverage is measured on.
LISTED = 20


class Answers(msgspec.Struct, frozen=True):
    """Ranks of M questions' targets, and the heads' outputs after each of P events."""

    ranks: Longs  # [M]
    action_logits: Floats  # [P, A]
    intent_logits: Floats  # [P, 2]
    gap_logits: Floats  # [P, G-1]
    shown: Longs  # [V] how often each item stood in a top list; empty where not asked for
    best_share: Floats  # [M] probability of the best item of each question; likewise
    expected: npt.NDArray[np.float64]  # [V] each item's probabilities, summed; likewise
    task_logits: Floats  # [P, tasks]


def hidden_states(
    net: SequenceNet, log: EventLog, spec: ModelSpec, wanted: Longs
) -> Iterator[tuple[Longs, torch.Tensor]]:
    """Indices of events [n] and the hidden states after them [n, H], all of ``wanted`` [P] once.

    Memories are read whole, however long, and never cut: what the served model would hold.
    """
    bounds = memory_starts(log, spec)
    memory_of = stretch_of(bounds, log.events)
    is_wanted = np.zeros(log.events, bool)
    is_wanted[wanted] = True
    read = np.unique(memory_of[wanted])
    # Nothing after a memory's last wanted event needs to be read.
    stop = np.zeros(len(bounds) - 1, np.int64)
    np.maximum.at(stop, memory_of[wanted], wanted + 1)
    length = stop[read] - bounds[read]
    read, length = (column[np.argsort(length, kind="stable")] for column in (read, length))
    for begin in range(0, len(read), ROWS):
        rows = read[begin : begin + ROWS]
        lengths = length[begin : begin + ROWS]
        memory = net.initial(len(rows))
        for offset in range(0, int(lengths.max()), COLUMNS):
            alive = lengths > offset
            rows, lengths, memory = rows[alive], lengths[alive], memory[torch.from_numpy(alive)]
            columns = np.minimum(lengths - offset, COLUMNS)
            places, real = padded_places(bounds[rows] + offset, columns)  # [B, T]
            # Memory is right for the rows that go on; they fill every column.
            hidden, memory = net.run(net.embed(_tokens(log, places)), memory)  # [B, T, H]
            asked = real & is_wanted[places]
            yield places[asked], hidden[torch.from_numpy(asked)]


def _tokens(log: EventLog, places: Longs) -> TokenBatch:
    columns = (log.item, log.action, log.gap, log.dense)
    return TokenBatch(*(torch.from_numpy(column[places]) for column in columns))


@torch.no_grad()
def answer(
    net: SequenceNet,
    log: EventLog,
    spec: ModelSpec,
    questions: Questions,
    heads_after: Longs,
    *,
    filter_seen: bool = False,
    with_lists: bool = False,
    on_progress: Callable[[int], None] = lambda events: None,
) -> Answers:
    """Answer all questions and read the heads after the events ``heads_after`` [P].

    ``filter_seen`` takes the user's earlier items out of the ranking; a target among them is then
    a miss. ``with_lists`` also looks at the top ``LISTED`` of each question. ``on_progress`` is
    told the number of hidden states done since its last call.
    """
    ranks = np.full(len(questions.event), MISS, np.int64)
    question_after = np.full(log.events, NONE, np.int64)
    inside = np.flatnonzero(questions.after != NONE)
    question_after[questions.after[inside]] = inside
    head_after = np.full(log.events, NONE, np.int64)
    head_after[heads_after] = np.arange(len(heads_after))
    answers = Answers(
        ranks,
        np.zeros((len(heads_after), len(spec.actions)), np.float32),
        np.zeros((len(heads_after), 2), np.float32),
        np.zeros((len(heads_after), spec.gap_count - 1), np.float32),
        np.zeros(spec.item_count if with_lists else 0, np.int64),
        np.zeros(len(ranks) if with_lists else 0, np.float32),
        np.zeros(spec.item_count if with_lists else 0),
        net.task_logits(net.initial_hidden.expand(len(heads_after), -1)).numpy().copy(),
    )
    ranker = _Ranker(net, log, spec, questions, filter_seen)
    wanted = np.union1d(questions.after[inside], heads_after)
    for events, hidden in hidden_states(net, log, spec, wanted):
        asked = question_after[events]  # [n]
        ranker.fill(answers, asked[asked != NONE], hidden[torch.from_numpy(asked != NONE)])
        read = head_after[events]  # [n]
        states = hidden[torch.from_numpy(read != NONE)]
        answers.action_logits[read[read != NONE]] = net.action_logits(states).numpy()
        answers.intent_logits[read[read != NONE]] = net.intent_logits(states).numpy()
        answers.gap_logits[read[read != NONE]] = net.gap_logits(states).numpy()
        answers.task_logits[read[read != NONE]] = net.task_logits(states).numpy()
        on_progress(len(events))
    outside = np.flatnonzero(questions.after == NONE)
    ranker.fill(answers, outside, net.initial_hidden.expand(len(outside), -1))
    return answers


class _Ranker:
    def __init__(
        self,
        net: SequenceNet,
        log: EventLog,
        spec: ModelSpec,
        questions: Questions,
        filter_seen: bool,
    ) -> None:
        self.net, self.log, self.spec, self.questions = net, log, spec, questions
        self.table = net.item_directions().T.contiguous()  # [H, V]
        self.user_first = user_firsts(log)  # [N]
        self.filter_seen = filter_seen

    def fill(self, answers: Answers, numbers: Longs, hidden: torch.Tensor) -> None:
        """Answer the questions ``numbers`` [n], asked of ``hidden`` [n, H]."""
        rows = max(1, SCORES // self.spec.item_count)
        for begin in range(0, len(numbers), rows):
            part = numbers[begin : begin + rows]
            queries = self.net.queries(hidden[begin : begin + rows])
            scores = (queries @ self.table).numpy()  # [m, V]
            targets = self.questions.target[part]
            possible = targets < self.spec.item_count
            if self.filter_seen:
                for row, event in enumerate(self.questions.event[part]):
                    seen = seen_before(self.log, self.spec, event, self.user_first[event])
                    scores[row, seen] = -np.inf
                    possible[row] &= targets[row] not in seen
            answers.ranks[part[possible]] = worst_ranks(scores[possible], targets[possible])
            if len(answers.shown):
                _look_at_lists(answers, part, scores)


def _look_at_lists(answers: Answers, part: Longs, scores: Floats) -> None:
    """Count what stands in the top lists of the questions ``part`` [m] with scores [m, V], and
    add up what they give each item. Items that were taken out of a ranking stand in no list."""
    left = (scores > -np.inf).any(axis=1)  # [m]
    part, scores = part[left], scores[left]
    count = min(LISTED, scores.shape[1])
    top = np.argpartition(scores, -count, axis=1)[:, -count:]  # [m, K]
    listed = top[np.take_along_axis(scores, top, axis=1) > -np.inf]
    answers.shown[:] += np.bincount(listed, minlength=len(answers.shown))
    best = scores.max(axis=1)  # [m]
    shares = np.exp(scores - best[:, None])  # [m, V]
    mass = shares.sum(axis=1)  # [m]
    answers.best_share[part] = 1 / mass
    answers.expected[:] += (1 / mass) @ shares


class NetRecommender:
    """A net as one recommender among others: its scores are log-probabilities of the items."""

    def __init__(self, net: SequenceNet, spec: ModelSpec) -> None:
        self.net, self.spec = net, spec
        with torch.no_grad():
            self.table = net.item_directions().T.contiguous()  # [H, V]

    @torch.no_grad()
    def scores(self, log: EventLog, questions: Questions) -> Floats:
        """What ``Recommender.scores`` promises."""
        hidden = self.net.initial_hidden.repeat(len(questions.event), 1)  # [M, H]
        inside = np.flatnonzero(questions.after != NONE)
        asked = questions.after[inside]
        for events, states in hidden_states(self.net, log, self.spec, asked):
            # Several questions may be asked of one memory.
            order = np.argsort(events)
            found = np.searchsorted(events[order], asked)
            found = np.minimum(found, len(events) - 1)
            here = events[order[found]] == asked
            hidden[torch.from_numpy(inside[here])] = states[torch.from_numpy(order[found[here]])]
        logits = self.net.queries(hidden) @ self.table  # [M, V]
        answer: Floats = torch.log_softmax(logits, dim=1).numpy()
        return answer
