"""Published results of data sets that are known by their counts, to be printed beside ours.

What has the counts of a published split is that split; a file's name says nothing.
"""

import msgspec


class Anchor(msgspec.Struct, frozen=True):
    """A published result: the system, its metrics, and where it stands."""

    system: str
    metrics: dict[str, float]
    source: str


class KnownSplit(msgspec.Struct, frozen=True):
    """Counts by which a split is recognised, and the results published for it."""

    name: str
    events: int
    items: int
    questions: int
    anchors: tuple[Anchor, ...]


def _session(system: str, recall: float, mrr: float, source: str) -> Anchor:
    return Anchor(system, {"recall@20": recall, "mrr@20": mrr}, source)


_SESSION_REC = "rn5l/session-rec, docs/tables_single/tables_rsc15_64.html"
_PAPERS = "paperswithcode.com, session-based recommendation on yoochoose1/64"

SPLITS = (
    KnownSplit(
        "Yoochoose 1/64, the split of SR-GNN",
        events=486_026,
        items=17_376,
        questions=55_898,
        anchors=(
            _session("SR-GNN", 0.7057, 0.3094, _PAPERS),
            Anchor("SGNN-HN", {"mrr@20": 0.3261}, _PAPERS),
            _session("NARM", 0.6998, 0.2957, _SESSION_REC),
            _session("VSKNN", 0.6961, 0.2879, _SESSION_REC),
            _session("STAMP", 0.6841, 0.2995, _SESSION_REC),
            _session("SR", 0.6674, 0.3033, _SESSION_REC),
            _session("GRU4Rec", 0.6528, 0.2752, _SESSION_REC),
            _session("Markov", 0.6476, 0.2983, _SESSION_REC),
        ),
    ),
    KnownSplit(
        "Serenade's example, validation part",
        events=113_601,
        items=18_009,
        questions=1_121,
        anchors=(Anchor("VMIS-kNN, tuned", {"mrr@20": 0.3197}, "bolcom/serenade README"),),
    ),
    KnownSplit(
        "Amazon Beauty 5-core, leave-one-out",
        events=198_502,
        items=12_101,
        questions=22_363,
        anchors=tuple(
            Anchor(
                system,
                {"recall@10": recall, "ndcg@10": ndcg},
                "blondered/transformer_benchmark README",
            )
            for system, recall, ndcg in (
                ("eSASRec", 0.0928, 0.0523),
                ("SASRec, sampled softmax", 0.0921, 0.0531),
                ("HSTU", 0.0788, 0.0439),
                ("SASRec", 0.0605, 0.0318),
            )
        ),
    ),
)


def recognised(events: int, items: int, questions: int) -> KnownSplit | None:
    """The published split that has these counts of training events, training items and questions,
    if any."""
    counts = (events, items, questions)
    return next((s for s in SPLITS if (s.events, s.items, s.questions) == counts), None)
