"""By how much one ranking leads the others that answered the same questions."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from model.bootstrap import interval, recall_of, reciprocal_of
from model.log import Longs
from model.ranking import metrics_of

LED = ("recall@20", "mrr@20")

Lead = dict[str, dict[str, float]]


class HeldOut(msgspec.Struct, frozen=True):
    """A blend that knew the older held-out questions, beside its members on the newer ones."""

    n: int
    metrics: dict[str, dict[str, float]]  # Recall@20 and MRR@20 by name
    leads: dict[str, Lead]  # of the blend, by the name of who is led


def lead(ranks: Longs, others: Longs, clusters: Longs) -> Lead:
    """By how much ranks [M] beat others of the same questions, with paired intervals."""
    found = {}
    for name, value in zip(LED, (recall_of, reciprocal_of), strict=True):
        difference = value(ranks, 20) - value(others, 20)
        found[name] = interval(difference, clusters, np.random.default_rng(0))._asdict()
    return found


def held_out(ranks: Mapping[str, Longs], leader: str, clusters: Longs) -> HeldOut:
    """The lead of ``leader`` over all others, of ranks [M] by name."""
    metrics = {name: metrics_of(found) for name, found in ranks.items()}
    return HeldOut(
        n=len(clusters),
        metrics={name: {key: float(row[key]) for key in LED} for name, row in metrics.items()},
        leads={
            name: lead(ranks[leader], found, clusters)
            for name, found in ranks.items()
            if name != leader
        },
    )


def lead_text(lead: Mapping[str, float]) -> str:
    """A lead and its interval in one cell of a table."""
    return f"{lead['value']:+.4f} [{lead['low']:+.4f}, {lead['high']:+.4f}]"


def held_out_table(found: HeldOut) -> Table:
    """All rankings by MRR@20, the best first."""
    shown = Table(title=f"{found.n:,} newest next items of the training files, held out")
    shown.add_column("")
    for heading in (*LED, *(f"blend leads in {name}" for name in LED)):
        shown.add_column(heading, justify="right")
    for name, row in sorted(found.metrics.items(), key=lambda pair: -pair[1]["mrr@20"]):
        leads = found.leads.get(name)
        texts = ("" if leads is None else lead_text(leads[key]) for key in LED)
        shown.add_row(name, *(f"{row[key]:.4f}" for key in LED), *texts)
    return shown


def against_table(result: Mapping[str, Any]) -> Table:
    """What ``compare_all`` gave: all members by MRR@20, the best first, and what is published."""
    shown = Table(title=f"{result['n']:,} next items, full ranking, protocol {result['protocol']}")
    names = ("recall@20", "mrr@20", "recall@10", "ndcg@10")
    shown.add_column("")
    for heading in (*names, f"{result['leader']} leads in recall@20", "and in mrr@20"):
        shown.add_column(heading, justify="right")
    rows = sorted(result["members"].items(), key=lambda row: -row[1]["mrr@20"])
    for name, metrics in rows:
        leads = result["differences"].get(name)
        shown.add_row(
            name,
            *(f"{metrics[metric]:.4f}" for metric in names),
            *("" if leads is None else lead_text(leads[m]) for m in ("recall@20", "mrr@20")),
        )
    if result["published"] is not None:
        shown.add_section()
        shown.caption = f"published: {result['published']['name']}"
        for anchor in result["published"]["anchors"]:
            values = (anchor["metrics"].get(metric) for metric in names)
            texts = ("" if value is None else f"{value:.4f}" for value in values)
            shown.add_row(f"{anchor['system']} (published)", *texts, "", "")
    return shown
