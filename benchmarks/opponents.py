"""Ranking by comparison with K opponents each, beside all pairs.

    python benchmarks/opponents.py time                             # random summaries of 20,000
    python benchmarks/opponents.py agreement RUN CACHE [CACHE ...]  # the queries of a trained run

The first measures processor time, wall time and memory; the second Spearman's correlation between
the order of K opponents and that of all pairs, and of each with the labels: the mean over the
queries of the test split. ``--json FILE`` keeps the results; both may use one file.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import numpy as np
import torch
from scipy.stats import spearmanr

from adapter import AdapterConfig, RankingAdapter
from adapter.data.labels import select_labels
from adapter.evaluation.predict import predict_rankings
from adapter.network.comparison import rank_by_comparison
from adapter.stored import StoredRun
from featcache import Cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.network.ranking import PairSummary

OPPONENTS = (16, 32, 64)
PACKAGES = ("torch", "numpy", "scipy")


def random_summaries(adapter: RankingAdapter, images: int) -> PairSummary:
    """Draw summaries of images, spread as those of a few images of random tokens [P, C]."""
    generator = torch.Generator().manual_seed(0)
    config, device = adapter.config, adapter.reg_tokens.device
    text = torch.randn(16, config.text_dim, generator=generator).to(device)  # [T, D]
    tokens = torch.randn(64, 4, config.image_dim, generator=generator).to(device)  # [n, P, C]
    with torch.no_grad():
        few = adapter.summarize(tokens, text)

    def draw(values: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(images, *values.shape[1:], generator=generator).to(device)
        return values.mean(dim=0) + noise * values.std(dim=0)  # [images, ...]

    return few.apply(draw)


def measure_time(images: int, width: int, device: torch.device) -> dict[str, Any]:
    """Time the ranking of random summaries, by an adapter with random weights."""
    config = AdapterConfig.released(image_dim=32, text_dim=32, width=width)
    adapter = RankingAdapter(config, seed=0).eval().to(device)
    summary = random_summaries(adapter, images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = []
    for count in OPPONENTS:
        wall, processor = time.perf_counter(), time.process_time()
        rank_by_comparison(adapter, summary, opponents=count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows.append(
            {
                "case": f"{images:,} images, width {width}, K = {count}, {device}",
                "processor_s": time.process_time() - processor,
                "wall_s": time.perf_counter() - wall,
                "more_bytes": (peak - before) * 1024 / 1e6,
            }
        )
        print(rows[-1], flush=True)
    columns = [
        ("case", "random summaries", ""),
        ("processor_s", "processor, s", ".0f"),
        ("wall_s", "wall, s", ".0f"),
        ("more_bytes", "memory beyond the summaries, MB", ".0f"),
    ]
    return {"columns": columns, "rows": rows}


def measure_agreement(folder: Path, caches: list[Path], split: str) -> dict[str, Any]:
    """Compare the orders that K opponents and all pairs give, over the queries of a run."""
    run = StoredRun.load(folder)
    trained = run.record["settings"]["train"]
    agree: dict[int, list[tuple[float, float, float]]] = {count: [] for count in OPPONENTS}
    images = []
    for path in caches:
        cache = Cache.open(path)
        run.require_features(cache)
        chosen = select_labels(cache, split=split, fold=trained["fold"], queries=trained["queries"])
        for labels in chosen.queries:
            images.append(len(labels.rows))

            def order(opponents: Any, labels: Any = labels, cache: Cache = cache) -> NDArray[Any]:
                return predict_rankings(
                    run.model,
                    cache,
                    labels.rows,
                    labels.query,
                    ["comparison"],
                    device=torch.device("cpu"),
                    precision="fp32",
                    opponents=opponents,
                )["comparison"]

            everyone = order("all")
            truth = spearmanr(everyone, labels.values).statistic
            for count in OPPONENTS:
                some = order(count)
                agree[count].append(
                    (
                        float(spearmanr(some, everyone).statistic),
                        float(spearmanr(some, labels.values).statistic),
                        float(truth),
                    )
                )
            print(labels.query, {k: v[-1] for k, v in agree.items()}, flush=True)
    about = f"{folder.name}: {len(images)} queries, {min(images):,} to {max(images):,} images"
    rows = [
        {
            "case": f"{about}, K = {count}",
            **dict(zip(("all", "truth", "truth_all"), np.mean(found, axis=0), strict=True)),
        }
        for count, found in agree.items()
    ]
    columns = [
        ("case", "trained adapter", ""),
        ("all", "SRCC to the order of all pairs", ".4f"),
        ("truth", "SRCC to the labels", ".4f"),
        ("truth_all", "of all pairs", ".4f"),
    ]
    return {"columns": columns, "rows": rows}


def main() -> None:
    """Measure what was asked for, and add it to the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = commands.add_parser("time")
    timed.add_argument("--images", type=int, default=20_000)
    timed.add_argument("--width", type=int, default=768)
    timed.add_argument("--device", default="cpu")
    agreement = commands.add_parser("agreement")
    agreement.add_argument("run", type=Path)
    agreement.add_argument("caches", type=Path, nargs="+")
    agreement.add_argument("--split", default="test")
    arguments = parser.parse_args()
    if arguments.command == "time":
        table = measure_time(arguments.images, arguments.width, torch.device(arguments.device))
    else:
        table = measure_agreement(arguments.run, arguments.caches, arguments.split)
    figures.show(table, arguments.json, *PACKAGES)


if __name__ == "__main__":
    main()
