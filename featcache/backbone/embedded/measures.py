"""What the embedded CLIP knows, measured on scenes that it was not trained on.

Every figure has its chance level beside it: what a model would reach that knows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr

from featcache.backbone.embedded.captions import describe, render
from featcache.backbone.embedded.facts import ATTRIBUTES, INDEX, SCALES
from featcache.backbone.embedded.pool import draw
from featcache.backbone.embedded.words import NUMBERS
from featcache.datasets.scenes import MAX_OBJECTS
from featcache.images.preprocess import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from featcache.backbone.model import Backbone

    Array = NDArray[np.float64]
    Similarity = Callable[[Sequence[str]], Array]  # T prompts -> cosines with the images [n, T]

GROUP = 100  # captions to choose from in the retrieval
_BATCH = 64
_KINDS = ("color", "shape", "material")
# A prompt of either end, and the feature that falls or rises between them.
ANTONYMS = {
    "brightness": ("Bright photo.", "Dark photo.", 1),
    "contrast": ("High contrast photo.", "Low contrast photo.", 1),
    "colorfulness": ("Colorful photo.", "Dull photo.", 1),
    "blur": ("Sharp photo.", "Blurry photo.", -1),
    "noise": ("Clean photo.", "Noisy photo.", -1),
    "quality": ("Good photo.", "Bad photo.", 1),
    "year": ("A recent photo.", "An old photo.", 1),
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the model card."""

    group: str
    name: str
    measure: str
    value: float
    chance: float


def measure_backbone(backbone: Backbone, *, seed: int, scenes: int) -> list[Figure]:
    """Measure a backbone on scenes 0 ... ``scenes - 1`` of a seed.

    Args:
        backbone: With image and text towers.
        seed: Of the scenes.
        scenes: A multiple of 100; the first half trains the linear probes.
    """
    drawn = draw(seed, 0, scenes, backbone.preprocessing.size)
    pixels = torch.from_numpy(drawn.pixels.transpose(0, 3, 1, 2).copy())
    pooled = [
        backbone.encode_images(normalize(part, backbone.preprocessing)).pooled.cpu().numpy()
        for part in torch.split(pixels, _BATCH)
    ]
    features = np.concatenate(pooled).astype(np.float64)  # [n, E]
    images = _unit(features)

    def similarity(prompts: Sequence[str]) -> Array:
        """Cosine of each image with each prompt, [n, T]."""
        return images @ _unit(backbone.encode_prompts(list(prompts)).pooled.cpu().numpy()).T

    truth = drawn.truth.astype(np.float64)
    captions = [
        render(rng, describe(rng, row, facts=4))
        for rng, row in (
            (np.random.default_rng([seed, i, 1]), r) for i, r in enumerate(drawn.truth)
        )
    ]
    return [
        *_presence(similarity, truth),
        *_antonyms(similarity, truth),
        *_counts(similarity, truth),
        *_probes(features, truth),
        _retrieval(similarity(captions)),
    ]


def _presence(similarity: Similarity, truth: Array) -> list[Figure]:
    figures = []
    for kind in _KINDS:
        accuracies = []
        for value in ATTRIBUTES[kind]:
            thing = value if kind == "shape" else f"{value} object"
            scores = similarity([f"a photo with a {thing}.", f"a photo of no {thing}s."])
            known = ~np.isnan(truth[:, INDEX[value,]])
            there = truth[known, INDEX[value,]] > 0
            accuracies.append(_balanced(scores[known, 0] > scores[known, 1], there))
        figures.append(
            Figure(
                group="zero-shot presence",
                name=kind,
                measure="balanced accuracy",
                value=float(np.mean(accuracies)),
                chance=0.5,
            )
        )
    return figures


def _antonyms(similarity: Similarity, truth: Array) -> list[Figure]:
    figures = []
    pairs = {name: (*pair, INDEX[name]) for name, pair in ANTONYMS.items()}
    pairs["number of objects"] = ("Many objects.", "Few objects.", 1, INDEX[()])
    for name, (high, low, sign, feature) in pairs.items():
        scores = similarity([high, low])
        score, value = scores[:, 0] - scores[:, 1], sign * truth[:, feature]
        for measure, found, chance in (
            ("SRCC", _srcc(score, value), 0.0),
            ("pairs in order", pairs_in_order(score, value), 0.5),
        ):
            figures.append(
                Figure(
                    group="zero-shot ranking",
                    name=f"{name}: {high} / {low}",
                    measure=measure,
                    value=found,
                    chance=chance,
                )
            )
    return figures


def pairs_in_order(score: Array, value: Array) -> float:
    """Share of the pairs with two values that the scores put in the same order.

    Unlike the SRCC it reaches 1 however many values are equal: most scenes have no blur at all.

    Args:
        score: [n].
        value: [n].
    """
    score_rises = np.sign(score[:, None] - score[None, :])  # [n, n]
    rises = np.sign(value[:, None] - value[None, :])
    return float((score_rises * rises)[rises != 0].mean() / 2 + 0.5)


def _counts(similarity: Similarity, truth: Array) -> list[Figure]:
    numbers = np.arange(1, MAX_OBJECTS + 1)
    total = truth[:, INDEX[()]]
    scores = similarity([f"a photo of {NUMBERS[n]} object{'s' if n > 1 else ''}." for n in numbers])
    best = numbers[scores.argmax(1)]
    group = "zero-shot count, captions of 1 to 12"
    return [
        Figure(
            group=group,
            name="all objects",
            measure="accuracy",
            value=float(np.mean(best == total)),
            chance=1 / len(numbers),
        ),
        Figure(
            group=group,
            name="all objects",
            measure="off by one at most",
            value=float(np.mean(np.abs(best - total) <= 1)),
            chance=float(np.mean([np.mean(np.abs(n - numbers) <= 1) for n in numbers])),
        ),
        Figure(
            group=group,
            name="all objects",
            measure="SRCC",
            value=_srcc(best, total),
            chance=0.0,
        ),
    ]


def _probes(features: Array, truth: Array) -> list[Figure]:
    half = len(features) // 2
    center, scale = features[:half].mean(0), features[:half].std(0) + 1e-6
    x = (features - center) / scale  # [n, E]
    figures = []
    for kind in (*_KINDS, "measures"):
        names = SCALES[:3] if kind == "measures" else tuple((v,) for v in ATTRIBUTES[kind])
        values = []
        for name in names:
            y = truth[:, INDEX[name]]
            known = ~np.isnan(y)
            train, test = known.copy(), known.copy()
            train[half:], test[:half] = False, False
            mean = y[train].mean()
            gram = x[train].T @ x[train] + 0.1 * half * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, x[train].T @ (y[train] - mean))
            values.append(_srcc(x[test] @ weights, y[test]))
        what = "brightness, contrast, colorfulness" if kind == "measures" else f"counts by {kind}"
        figures.append(
            Figure(
                group="linear probe of the pooled embedding",
                name=what,
                measure="SRCC",
                value=float(np.mean(values)),
                chance=0.0,
            )
        )
    return figures


def _retrieval(similarity: Array) -> Figure:
    hits = [
        np.mean(similarity[s : s + GROUP, s : s + GROUP].argmax(1) == np.arange(GROUP))
        for s in range(0, len(similarity), GROUP)
    ]
    return Figure(
        group="image to text",
        name="its caption of four facts among 100",
        measure="recall at 1",
        value=float(np.mean(hits)),
        chance=1 / GROUP,
    )


def _srcc(predicted: NDArray[Any], truth: Array) -> float:
    """Rank correlation; 0 where all predictions are equal, which is no order."""
    if np.all(predicted == predicted[0]):
        return 0.0
    return float(spearmanr(predicted, truth).statistic)


def _balanced(predicted: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    return float((np.mean(predicted[there]) + np.mean(~predicted[~there])) / 2)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
