"""What every method is given, and what it hands back.

    predictor = RidgeProbe().fit(data)
    prediction = predictor.predict(data.vectors, data.test.rows)
    prediction.values          float64 [n], in the labels' unit
    prediction.probabilities   float64 [n, K] over data.classes, from classifiers

A method is a frozen dataclass of hyperparameters. It sees labels of the training part only; the
rows of the test part are for :class:`Predictor`, which is plain data.

Nothing here imports torch, so that recipes can be listed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adapter.errors import ConfigError, LabelsError
from featcache.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapter.methods.text import SoftText
    from featcache.reading.cache import Cache

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Features = Literal["pooled", "tokens", "both"]

CHUNK = 256  # images whose tokens are in memory at a time


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a split.

    Attributes:
        rows: int64 [n], rows of the cache.
        values: float64 [n].
        distributions: float64 [n, L], how raters spread over L levels from the lowest to the
            highest, rows sum to 1; None where the data set has none.
    """

    rows: Rows
    values: Array
    distributions: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a method says about n images.

    Attributes:
        values: float64 [n], in the labels' unit; of a classifier, the expected value.
        likeliest: float64 [n], the value of the most likely class; None from a method that
            regresses.
        probabilities: float64 [n, K] over the fold's classes; None where a method has none, or
            others.
        distributions: float64 [n, L], how raters would spread, from methods that predict it.
    """

    values: Array
    likeliest: Array | None = None
    probabilities: Array | None = None
    distributions: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Configuration):
    """Base of methods: every field is checked against its annotation, and has a range.

    A class says in ``__post_init__`` which bounds its fields have.
    """

    _title: ClassVar[str] = "settings of a method"
    _error: ClassVar[type[Exception]] = ConfigError

    def _require_positive(self, *names: str) -> None:
        """Refuse numbers that are not above zero."""
        for name in names:
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")


class Method(Protocol):
    """A way of learning one query from a cache; see the module's docstring."""

    @property
    def needs_text(self) -> bool:
        """Whether it rests on a text tower that is aligned with the images."""

    def fit(self, data: FoldData) -> Predictor:
        """Learn from the training part."""

    def quick(self) -> Method:
        """Return the same method with few steps, for a check in minutes."""


class ImageVectors:
    """One vector per image of a cache, read once and shared by all methods and folds.

    Attributes:
        view: Name of the view that is read.
    """

    def __init__(self, cache: Cache, view: str = "original") -> None:
        self.cache = cache
        self.view = view

    @cached_property
    def views(self) -> tuple[ImageVectors, ...]:
        """The vectors of every view of the cache, this one first."""
        others = (view for view in self.cache.views if view != self.view)
        return (self, *(ImageVectors(self.cache, view) for view in others))

    @cached_property
    def pooled(self) -> NDArray[np.float32]:
        """OpenCLIP's embedding of every image, float32 [N, E], not normalized."""
        return self.cache.pooled(np.arange(len(self.cache)), view=self.view)

    @cached_property
    def mean_tokens(self) -> NDArray[np.float32]:
        """Mean patch token of every image, float32 [N, C]."""
        count = len(self.cache)
        out = np.empty((count, self.cache.shapes.token_dim), np.float32)
        for start in range(0, count, CHUNK):
            rows = np.arange(start, min(start + CHUNK, count))
            tokens = self.cache.tokens(rows, view=self.view)  # [n, P, C]
            out[rows] = tokens.mean(axis=1, dtype=np.float32)  # [n, C]
        return out

    def of(self, features: Features, rows: Rows) -> Array:
        """Return the named features of rows: float64 [n, E], [n, C] or [n, E + C].

        Raises:
            ConfigError: Patch tokens are asked for, and the cache holds none.
        """
        parts = []
        if features in ("pooled", "both"):
            parts.append(self.pooled[rows])
        if features in ("tokens", "both"):  # read only where they are asked for
            require(
                self.cache.shapes.num_tokens > 0,
                f"{self.cache.path} holds pooled embeddings alone, and this method reads patch "
                "tokens; set features=pooled where a method has that, or extract with tokens",
            )
            parts.append(self.mean_tokens[rows])
        return np.concatenate(parts, axis=1).astype(np.float64)


class Predictor(Protocol):
    """A fitted method."""

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict for rows int64 [n] of any cache that holds the same kind of features."""


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """One fold of one task.

    Attributes:
        cache: The features.
        vectors: Its vectors per image.
        text: Loads the backbone's text tower, once; see :class:`adapter.methods.text.SoftText`.
        task: The labels' task.
        query: The labels' query, which is the adapter's prompt.
        fold: The fold; None where the data set has only one split.
        seed: Of everything random.
        train: What is learned from.
        val: The data set's validation part; often empty.
        test: What is predicted; methods take no label from it.
        class_values: float64 [K], the values that labels have, ascending; with ``binned``, the
            centers of the bins that labels fall into.
        class_names: K short names, for prompts whose words are learned.
        class_prompts: K whole prompts.
        antonyms: A prompt of the high end of the scale and one of the low end.
        scale: Lowest and highest value that a label can have, as the data set declares it;
            None takes the smallest and the largest class.
        binned: Labels are any numbers; a label's class is the one whose value is nearest.
        device: Where to compute.
        folder: Where a method may keep its own state, to go on after a stop.
        on_progress: Told (steps done, steps in all).
    """

    cache: Cache
    vectors: ImageVectors
    text: Callable[[], SoftText]
    task: str
    query: str
    fold: int | None
    seed: int
    train: Part
    val: Part
    test: Part
    class_values: Array
    class_names: tuple[str, ...]
    class_prompts: tuple[str, ...]
    antonyms: tuple[str, str]
    device: str
    folder: Path
    scale: tuple[float, float] | None = None
    binned: bool = False
    on_progress: Callable[[int, int], None] = lambda done, steps: None

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value of the scale of the labels."""
        if self.scale is not None:
            return self.scale
        return float(self.class_values[0]), float(self.class_values[-1])

    def classes_of(self, part: Part) -> Rows:
        """Return the class numbers int64 [n] of a part's values.

        Raises:
            LabelsError: A value is not that of a class.
        """
        if self.binned:
            edges = (self.class_values[1:] + self.class_values[:-1]) / 2  # [K - 1]
            return np.searchsorted(edges, part.values, side="right").astype(np.int64)
        numbers = np.searchsorted(self.class_values, part.values)
        numbers = numbers.clip(max=len(self.class_values) - 1)
        unknown = self.class_values[numbers] != part.values
        if unknown.any():
            raise LabelsError(
                f"query {self.query!r}: found the value {part.values[unknown][0]:g}, which is not "
                f"that of a class; the recipe's classes are {self.class_values.tolist()}"
            )
        return numbers.astype(np.int64)


def from_probabilities(probabilities: Array, class_values: Array) -> Prediction:
    """Return class probabilities [n, K], the likeliest class and the expected value sum_k p_k v_k.

    Source: Rothe et al., "Deep expectation of real and apparent age", IJCV 2018, equation 1.
    """
    return Prediction(
        values=probabilities @ class_values,
        likeliest=class_values[probabilities.argmax(axis=1)],
        probabilities=probabilities,
    )


def unit_rows(vectors: Any) -> Array:
    """Scale each row of [n, E] to length 1, as CLIP does before comparing."""
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float64)


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with a message where a hyperparameter is impossible."""
    if not condition:
        raise ConfigError(message)
