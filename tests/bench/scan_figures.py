"""The served top-20 with its log-normaliser, against full scans: time per query and recall.

    python -m tests.bench.scan_figures ITEMS [--rounds N]

Rivals, in turn, all on one thread and in CPU time, 64 queries at once: the bound of a full scan in
float32, which is its arithmetic at the rate of the processor's best matrix product of the same
round; torch's product and top-K; and the scan that the export chose, log-normaliser included. The
vectors are the model's, the queries memories that clicks of its shop leave behind. Other sizes than
those of `course` are trained as `large_shop` says. Prints a JSON object.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before any of them is imported: one thread each.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import msgspec
import numpy as np
import torch
from torch import Tensor

from model.checkpoint import Checkpoint, load, scaled_directions
from model.graph_builder import GraphBuilder
from model.int8_scan import int8_scan
from model.native_scan import ItemScan
from model.nets import GruNet, TokenBatch
from model.runtime import ort
from model.scan import exact_scan
from model.scan_fit import fit_index
from model.scan_index import read_index
from model.served import INDEX_FILE, STEP_FILE, Step
from model.spec import Floats
from tests.bench import large_shop
from tests.bench.course import SHOPS, course_folder, read

BATCH, QUERIES, USERS, EVENTS = 64, 1_024, 512, 8
SQUARE = 1_024
SECONDS = 0.4
"""A round's share for each rival; its best pass counts, so that other work counts little."""

Found = tuple[Any, Any]  # items [B, K], log Z [B]
Scan = Callable[[Floats], Found]


def histories_of(checkpoint: Checkpoint, log: Path) -> Tensor:
    """Item and action codes of the first events of users of a shop, [U, EVENTS, 2]."""
    spec, codes = checkpoint.spec, {item: code for code, item in enumerate(checkpoint.items)}
    found: dict[bytes, list[tuple[int, int]]] = {}
    whole = 0
    for key, value in read(log, frozenset(codes)):
        click = msgspec.json.decode(value)
        history = found.setdefault(key, [])
        history.append((codes[click["item_id"]], spec.actions.index(click["event_type"])))
        whole += len(history) == EVENTS
        if whole == USERS:
            break
    return torch.tensor([history[:EVENTS] for history in found.values() if len(history) >= EVENTS])


def unseen_histories(items: int) -> Tensor:
    """The same of the shop that is made as columns: sessions that nobody was trained on."""
    sessions = torch.from_numpy(large_shop.clicks(items, USERS, seed=2))  # [U, EVENTS]
    return torch.stack([sessions, torch.full_like(sessions, large_shop.VIEW)], dim=2)


@torch.inference_mode()
def queries_of(checkpoint: Checkpoint, histories: Tensor) -> Floats:
    """Unit memories [N, H] of users, after each of their first events."""
    users = len(histories)
    net = GruNet(checkpoint.spec)
    net.set_weights(checkpoint.weights)
    memory, found = net.initial(users), []
    for event in range(EVENTS):
        item, action = histories[:, event].unbind(1)
        gap = torch.full((users,), min(event, 1))
        memory = net.step(TokenBatch(item, action, gap, torch.zeros(users, 0)), memory)
        found.append(memory.numpy())
    hidden = np.concatenate(found)  # [N, H]
    hidden = hidden[:: max(1, len(hidden) // (2 * QUERIES))][: 2 * QUERIES]
    hidden = np.random.default_rng(0).permutation(hidden)
    return np.ascontiguousarray(hidden / np.linalg.norm(hidden, axis=1, keepdims=True))


def served_scan(model: Path, vectors: Floats, fitted_on: Floats, top: int) -> tuple[str, Scan]:
    """What the export chose, or, of a model that was not exported, what it would choose by the
    queries ``fitted_on`` [N, H]; it takes unit queries."""
    index, name = None, "projected"
    if (model / STEP_FILE).exists():
        name = msgspec.json.decode((model / STEP_FILE).read_bytes(), type=Step).scan
        if name == "projected":
            index = read_index((model / INDEX_FILE).read_bytes(), vectors)
    else:
        index = fit_index(vectors, fitted_on, top)
    if index is None:
        return name, graph_scan(name, vectors, top)
    scan, directions = ItemScan(index), index.directions

    def projected(queries: Floats) -> Found:
        found = scan.find(queries, queries @ directions, top)
        return found.top_items, found.log_z

    return name, projected


def graph_scan(name: str, vectors: Floats, top: int) -> Scan:
    """A scan that is a part of the graph, in a graph of its own."""
    graph = GraphBuilder()
    queries = graph.input("queries", "float32", "B", vectors.shape[1])
    if name == "exact":
        found = exact_scan(graph, queries, vectors, top)
    else:
        padded = np.concatenate([vectors, np.zeros((len(vectors), 1), np.float32)], axis=1)
        found = int8_scan(graph, queries, vectors, graph.constant(padded), top)
    graph("Identity", found.top_items, name="items")
    graph("Identity", found.log_z, name="log_z")
    graph.output("items", "int64", "B", top)
    graph.output("log_z", "float32", "B", 1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph.model("scan", {}).SerializeToString(), options)

    def in_graph(rows: Floats) -> Found:
        items, log_z = session.run(["items", "log_z"], {"queries": rows})
        return items, log_z[:, 0]

    return in_graph


def torch_scan(vectors: Floats, top: int) -> Scan:
    """What a team writes first: one product, one top-K. Gives no log Z, and pays for none."""
    across = torch.from_numpy(vectors).T.contiguous()  # [H, V]

    @torch.inference_mode()
    def scan(queries: Floats) -> Found:
        best = torch.topk(torch.from_numpy(queries) @ across, top)
        return best.indices.numpy(), None

    return scan


def us_per_query(scan: Scan, queries: Floats) -> float:
    """CPU microseconds of the fastest batch."""
    best, deadline, start = float("inf"), time.perf_counter() + SECONDS, 0
    while best == float("inf") or time.perf_counter() < deadline:
        rows = queries[start : start + BATCH]
        begun = time.thread_time()
        scan(rows)
        best = min(best, (time.thread_time() - begun) / len(rows) * 1e6)
        start = (start + BATCH) % (len(queries) - BATCH + 1)
    return best


def flops_per_us() -> float:
    """Of the best square matrix product in float32."""
    rng = np.random.default_rng(1)
    left, right = rng.random((2, SQUARE, SQUARE), dtype=np.float32)
    out = np.empty_like(left)
    best, deadline = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        begun = time.thread_time()
        np.matmul(left, right, out=out)
        best = min(best, time.thread_time() - begun)
    return 2.0 * SQUARE**3 / best / 1e6


def quality(scan: Scan, queries: Floats, vectors: Floats, top: int) -> dict[str, float]:
    """Recall of the exact best K, and the error of log Z at the 99th of a hundred, in nats."""
    hits, errors = [], []
    for start in range(0, len(queries), BATCH):
        rows = queries[start : start + BATCH]
        logits = (rows @ vectors.T).astype(np.float64)  # [B, V]
        exact = np.argpartition(-logits, top - 1, axis=1)[:, :top]
        largest = logits.max(axis=1, keepdims=True)
        log_z = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
        items, found_z = scan(rows)
        hits += [len(set(a) & set(b)) for a, b in zip(items.tolist(), exact.tolist(), strict=True)]
        errors.append(np.abs(found_z - log_z))
    error = float(np.quantile(np.concatenate(errors), 0.99))
    return {"recall": float(np.mean(hits)) / top, "log_z_error_p99": error}


def main(words: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("items", type=int, help="17000 and 43000 are shops of `course`")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    folder = course_folder()
    if given.items in SHOPS:
        model = folder / f"model-{given.items}"
        checkpoint = load(model)
        histories = histories_of(checkpoint, folder / f"shop-{given.items}.jsonl")
    else:
        model = large_shop.trained(folder, given.items)
        checkpoint, histories = load(model), unseen_histories(given.items)
    vectors, top = scaled_directions(checkpoint.spec, checkpoint.weights), checkpoint.spec.top_k
    fitted_on, queries = np.split(queries_of(checkpoint, histories), 2)
    name, served = served_scan(model, vectors, fitted_on, top)
    rival = torch_scan(vectors, top)
    rounds: dict[str, list[float]] = {"bound_us": [], "torch_us": [], "served_us": []}
    for _ in range(given.rounds):
        rounds["bound_us"].append(2.0 * vectors.size / flops_per_us())
        rounds["torch_us"].append(us_per_query(rival, queries))
        rounds["served_us"].append(us_per_query(served, queries))
    return {
        "items": len(vectors),
        "scan": name,
        "queries": len(queries),
        **quality(served, queries, vectors, top),
        **rounds,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])) + "\n")
