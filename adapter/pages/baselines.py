"""What stands beside the adapter in a report: CLIP as it comes, and straight lines.

All of them read the same cache, and are measured on the same images.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.data.labels import select_labels
from adapter.errors import LabelsError
from adapter.evaluation.metrics import Metrics, measure
from adapter.methods.clip_iqa import AntonymScale
from adapter.methods.fold import load_text
from adapter.methods.method import ImageVectors, unit_rows
from adapter.methods.ridge import ProbeFeatures
from adapter.methods.words import antonyms_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from adapter.data.labels import QueryLabels
    from adapter.evaluation.results import QueryEvaluation
    from adapter.methods.method import Array, Features
    from adapter.methods.text import SoftText
    from featcache.reading.cache import Cache

SCORE, COMPARISON = "adapter, score", "adapter, by comparison"
BEST_SCORE, BEST_COMPARISON = "both, score", "both, by comparison"
ZERO_SHOT, CLIP_IQA = "CLIP, zero-shot", "CLIP-IQA"
RIDGE: dict[Features, str] = {
    "tokens": "ridge on mean tokens",
    "pooled": "ridge on pooled embedding",
    "both": "ridge on both",
}

# One sentence for each, for readers who know none of them.
ABOUT = {
    ZERO_SHOT: "What the backbone knows without training: images are sorted by the cosine between "
    "the embedding of the image and that of the query.",
    CLIP_IQA: "Also without training: two opposite prompts, such as “Bright photo.” and “Dark "
    "photo.”. Images are sorted by how much nearer they are to the first.",
    RIDGE["tokens"]: "Ridge regression, a straight line, from the mean of an image's patch tokens "
    "to the label; one for each query.",
    RIDGE["pooled"]: "The same from the pooled embedding of the image.",
    RIDGE["both"]: "The same from both together.",
    SCORE: "One small network for all queries: patch tokens attend to each other and to the "
    "query's words, and a head turns the result into a value.",
    COMPARISON: "The second head of the same network compares two images at a time. Images are "
    "sorted by how often they win.",
    BEST_SCORE: "The adapter's score and ridge regression, lines and curves (the preset best), "
    "added for each query with weights that were chosen on images that neither had seen.",
    BEST_COMPARISON: "The same with the adapter's comparisons in place of its score.",
}


class Baselines:
    """The other methods on one cache.

    Args:
        cache: The features.
        settings: Of the run's training: ``split`` and views, from which ridge learns, too.
        fold: Of the labels.
        zero_shot: Whether to ask the backbone's text tower, which is loaded for it.
        average: Whether ridge predicts the mean over views, as a run with a stack does.
        device: Where the text tower computes.
    """

    def __init__(
        self,
        cache: Cache,
        settings: Mapping[str, Any],
        fold: int | None,
        *,
        zero_shot: bool = False,
        average: bool = False,
        device: str = "cpu",
    ) -> None:
        self.vectors = ImageVectors(cache, cache.views[0])
        self._cache, self._fold = cache, fold
        self._split, self._views = settings["split"], tuple(settings["sampling"]["views"])
        self._zero_shot, self._average, self._device = zero_shot, average, device
        self._probes: dict[Features, ProbeFeatures] = {}

    def measure(
        self, found: QueryEvaluation
    ) -> tuple[dict[str, Metrics], dict[str, NDArray[np.float64]]]:
        """Fit and measure every method on one query, in the order of a report's rows.

        Returns:
            Metrics of all methods, and the predictions [n] of those that learn.
        """
        metrics = self._ask(found) if self._zero_shot else {}
        predictions = {}
        labels = self._training_labels(found)
        if labels is not None:
            bounds = float(labels.values.min()), float(labels.values.max())
            for features, name in RIDGE.items():
                fitted = self._probe(features, labels).fit(labels.values)
                predictions[name] = fitted.predict(self.vectors, found.rows).values
                metrics[name] = measure(found.values, predictions[name], label_range=bounds)
        return metrics, predictions

    def _ask(self, found: QueryEvaluation) -> dict[str, Metrics]:
        """Order images by their embedding and prompts alone."""
        pooled = self.vectors.of("pooled", found.rows)  # [n, E]
        query = unit_rows(self._text.encode([found.query]).cpu().numpy())  # [1, E]
        pair = self._text.encode(antonyms_of(found.query)).cpu().numpy()  # [2, E]
        scores: dict[str, Array] = {
            ZERO_SHOT: (unit_rows(pooled) @ query.T)[:, 0],
            CLIP_IQA: AntonymScale.of(pair, self._text.logit_scale, (0.0, 1.0)).scores(pooled),
        }
        return {
            name: measure(found.values, values, in_units=False) for name, values in scores.items()
        }

    @cached_property
    def _text(self) -> SoftText:
        return load_text(self._cache, self._device)

    def _training_labels(self, found: QueryEvaluation) -> QueryLabels | None:
        """Return a query's training labels; None where it is labeled for the test alone."""
        try:
            return select_labels(
                self._cache,
                split=self._split,
                fold=self._fold,
                queries=[found.query],
                tasks=[found.task],
            ).queries[0]
        except LabelsError:
            return None

    def _probe(self, features: Features, labels: QueryLabels) -> ProbeFeatures:
        """Decompose features once for all queries that have the same training images."""
        probe = self._probes.get(features)
        if probe is None or not np.array_equal(probe.rows, labels.rows):
            probe = ProbeFeatures(
                self.vectors, features, labels.rows, self._views, average=self._average
            )
            self._probes[features] = probe
        return probe
