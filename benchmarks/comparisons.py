"""What simulated comparisons teach: the taste by resemblance, ridge on strengths, the head.

    python benchmarks/comparisons.py --cache cache/utkface --query "..." --json comparisons.json

Pairs are drawn from the training images, the answer is the order of their labels, and one in ten
is turned round. Measured on the test images: the share of all pairs of different labels that are
in the right order, and Spearman's correlation.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import figures
import numpy as np
from scipy.stats import spearmanr

from adapter import Run
from adapter.data.comparisons import Comparisons, ComparisonTable
from adapter.data.labels import select_labels
from adapter.teaching.choose import next_pair
from adapter.teaching.head import STEPS, train_head
from adapter.teaching.linear import fit_linear, image_features, ridge_on_strengths
from adapter.teaching.resemblance import resemblance_scores
from featcache import Cache

MISTAKES = 0.1
COLUMNS = [
    ("case", "learned from", ""),
    ("pairs", "pairs in the right order", ".3f"),
    ("srcc", "SRCC", ".3f"),
    ("seconds", "seconds", ".1f"),
]
RIDGE = "ridge on strengths"
SUMMARY = [
    ("case", "learned from", ""),
    ("pairs", "pairs in the right order", ".3f"),
    ("spread", "deviation over seeds", ".3f"),
    ("more", "more than ridge", "+.4f"),
    ("more_spread", "deviation of that", ".4f"),
]
REFIT = 10  # answers between two fits of the model that chooses


class Person:
    """Answers by the labels of a query, one answer in ten the other way round."""

    def __init__(self, cache: Cache, query: str, seed: int) -> None:
        train = select_labels(cache, split="train", queries=(query,)).queries[0]
        self.rows = train.rows
        self.value = np.full(len(cache), np.nan)
        self.value[train.rows] = train.values
        self.generator = np.random.default_rng(seed)

    def answer(self, left: int, right: int) -> float:
        """Return left's share of the answer."""
        difference = self.value[left] - self.value[right]
        share = 0.5 + 0.5 * float(np.sign(difference))
        return 1 - share if self.generator.random() < MISTAKES else share

    def random(self, query: str, count: int) -> Comparisons:
        """Answer random pairs."""
        left = self.generator.choice(self.rows, count)
        other = self.generator.choice(self.rows, count)
        right = np.where(other == left, np.roll(self.rows, 1)[0], other)
        shares = np.array([self.answer(a, b) for a, b in zip(left, right, strict=True)])
        return Comparisons(question=query, left=left, right=right, shares=shares)

    def active(self, query: str, features: np.ndarray, count: int, seed: int) -> Comparisons:
        """Answer the pairs that are chosen for it."""
        asked: list[tuple[int, int]] = []
        shares: list[float] = []
        taste = fit_linear(features, pairs_of(query, asked, shares), ridge=1.0)
        while len(asked) < count:
            question = next_pair(features, taste, asked, self.rows, seed=seed)
            asked.append((question.left, question.right))
            shares.append(self.answer(question.left, question.right))
            if len(asked) % REFIT == 0:
                taste = fit_linear(features, pairs_of(query, asked, shares), ridge=taste.ridge)
        return pairs_of(query, asked, shares)


def pairs_of(query: str, asked: list[tuple[int, int]], shares: list[float]) -> Comparisons:
    """Return answers as arrays."""
    both = np.array(asked, np.int64).reshape(-1, 2)
    return Comparisons(question=query, left=both[:, 0], right=both[:, 1], shares=np.array(shares))


def quality(scores: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Share of the pairs in the right order, and Spearman's correlation."""
    above = values[:, None] > values[None]
    right = (scores[:, None] > scores[None]) + 0.5 * (scores[:, None] == scores[None])
    return float(right[above].mean()), float(spearmanr(scores, values).statistic)


def head(cache: Cache, query: str, answers: Comparisons, seed: int, steps: int) -> np.ndarray:
    """Train the head on answers, and score every image."""
    names = cache.sample_ids.to_pylist()
    words = {1.0: "left", 0.0: "right", 0.5: "equal"}
    table = ComparisonTable.of(
        [
            (names[a], names[b], words[share], query)
            for a, b, share in zip(answers.left, answers.right, answers.shares, strict=True)
        ],
        "simulated",
    )
    with tempfile.TemporaryDirectory() as folder:
        train_head(cache, table, Path(folder) / "run", seed=seed, steps=steps)
        return Run.load(Path(folder) / "run").score(cache, np.arange(len(cache)), query)


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over seeds, and of the difference to ridge on the same answers."""
    rows = []
    for case in dict.fromkeys((r["drawn"], r["count"], r["method"]) for r in results):
        drawn, count, method = case
        mine, ridge = (
            np.array([r["pairs"] for r in results if (r["drawn"], r["count"], r["method"]) == key])
            for key in (case, (drawn, count, RIDGE))
        )
        more = mine - ridge if len(mine) == len(ridge) and method != RIDGE else None
        rows.append(
            {
                "case": f"{method}, {count} {drawn} answers",
                "pairs": mine.mean(),
                "spread": mine.std(),
                "more": None if more is None else more.mean(),
                "more_spread": None if more is None else more.std(),
            }
        )
    return {"columns": SUMMARY, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--query", required=True)
    parser.add_argument("--counts", default="50,100,300,1000")
    parser.add_argument("--head-counts", default="300")
    parser.add_argument("--drawn", default="random,active")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cache = Cache.open(options.cache)
    features = image_features(cache)
    test = select_labels(cache, split="test", queries=(options.query,)).queries[0]
    results = []

    def note(method: str, drawn: str, count: int, seed: int, scores: np.ndarray, t: float) -> None:
        right, rho = quality(scores[test.rows], test.values)
        seconds = time.perf_counter() - t
        results.append(
            {
                "case": f"{method}, {count} {drawn} answers, seed {seed}",
                "method": method,
                "drawn": drawn,
                "count": count,
                "pairs": right,
                "srcc": rho,
                "seconds": seconds,
            }
        )
        print(
            f"{method:18} {drawn:7} {count:5} seed {seed}: pairs {right:.3f}, srcc {rho:.3f}, "
            f"{seconds:.1f} s",
            flush=True,
        )
        if options.json:
            tables = [summary(results), {"columns": COLUMNS, "rows": results}]
            figures.write(options.json, tables, "torch", "numpy")

    counts = [int(c) for c in options.counts.split(",")]
    heads = [int(c) for c in options.head_counts.split(",") if c]
    for seed in map(int, options.seeds.split(",")):
        person = Person(cache, options.query, seed)
        drawn = {}
        if "random" in options.drawn:
            drawn["random"] = person.random(options.query, max(counts))
        if "active" in options.drawn:
            drawn["active"] = person.active(options.query, features, max(counts), seed)
        for kind, all_answers in drawn.items():
            for count in counts:
                answers = all_answers.take(np.arange(count))
                start = time.perf_counter()
                note(
                    "taste", kind, count, seed, resemblance_scores(cache, features, answers), start
                )
                start = time.perf_counter()
                linear = fit_linear(features, answers, ridge=1.0).scores(features)
                note("linear", kind, count, seed, linear, start)
                start = time.perf_counter()
                note(
                    RIDGE,
                    kind,
                    count,
                    seed,
                    ridge_on_strengths(features, answers),
                    start,
                )
                if count in heads and kind == "random":
                    start = time.perf_counter()
                    scores = head(cache, options.query, answers, seed, options.steps)
                    note("head", kind, count, seed, scores, start)


if __name__ == "__main__":
    main()
