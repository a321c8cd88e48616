"""Regression on frozen features with few labels: straight lines, and the blend with curves.

    python benchmarks/regressions.py --cache cache/photos --images 50,100,200 --draws 3

Learns from images that are drawn from the training part and tests on the rest of that part, so
the choice that it speaks for has seen no test label. Prints SRCC and MAE, means over queries and
draws, and what the blend has more than each line and than the line with the least leave-one-out
error, with the 95 % interval of Student's t over queries and draws.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from adapter.data.labels import select_labels
from adapter.evaluation.metrics import srcc
from adapter.stacking.fit import Regressions, fit_query
from adapter.stacking.ridge import fit_ridge, standardizer
from adapter.stacking.stack import image_vectors
from featcache import Cache

if TYPE_CHECKING:
    from numpy.typing import NDArray


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--images", default="50,100,200")
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    cache = Cache.open(options.cache)
    for images in map(int, options.images.split(",")):
        found = measure(cache, images, options.draws)
        for name, values in found.items():
            print(images, name, *(f"{mean:.4f}" for mean in np.mean(values, axis=0)), end="")
            if name != "blended":
                gaps = np.array(found["blended"]) - np.array(values)  # [cases, 2]
                half = student.ppf(0.975, len(gaps) - 1) * gaps.std(0, ddof=1) / len(gaps) ** 0.5
                print("; blended less it:", end="")
                for mean, width in zip(gaps.mean(axis=0), half, strict=True):
                    print(f" {mean:+.4f} ± {width:.4f}", end="")
            print(f" ({len(values)} cases)", flush=True)


def measure(cache: Cache, images: int, draws: int) -> dict[str, list[tuple[float, float]]]:
    """Return SRCC and MAE of every kind of line and of the blend, per query and draw."""
    pooled = cache.pooled(np.zeros(1, np.int64)).shape[1]
    places = {"pooled": slice(pooled), "tokens": slice(pooled, None), "both": slice(None)}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for labels in select_labels(cache, split="train").queries:
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(labels.rows))
            learned, rest = order[:images], order[images:]
            y = labels.values[learned]
            if len(rest) < 2 or len(np.unique(y)) < 2:
                continue
            train = replace(labels, rows=labels.rows[learned], values=y)
            each = [image_vectors(cache, train.rows, view) for view in cache.views]
            x = np.stack(each, axis=1)  # [n, V, F]
            tests = [image_vectors(cache, labels.rows[rest], view) for view in cache.views]
            test = np.mean(tests, axis=0)  # [m, F]; lines are linear
            errors = {}
            for name, place in places.items():
                mean, scale = standardizer(x[:, :, place].reshape(-1, x[:, :, place].shape[-1]))
                fit = fit_ridge((x[:, :, place] - mean) / scale, y)
                errors[name] = fit.error
                said = (test[:, place] - mean) / scale @ fit.weights + fit.intercept
                found[name].append(both(labels.values[rest], said))
            found["least error"].append(found[min(errors, key=errors.__getitem__)][-1])
            regressions = Regressions(cache, cache.views, train.rows)
            query = fit_query(regressions, 0, train, np.full(images, np.nan))
            said = query.regress(cache, labels.rows[rest], cache.views)
            found["blended"].append(both(labels.values[rest], said))
    return found


def both(values: NDArray[np.float64], said: NDArray[np.float64]) -> tuple[float, float]:
    """SRCC and MAE."""
    return srcc(values, said), float(np.abs(values - said).mean())


if __name__ == "__main__":
    main()
