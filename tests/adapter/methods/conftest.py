"""A seeded text tower, and a fold in memory whose embeddings hold the class."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapter.methods.method import FoldData
    from adapter.methods.text import SoftText

CLASSES = 4
DIM = 192  # the demo backbone's embeddings
PROMPTS = (
    "a photo of a child.",
    "a photo of a teenager.",
    "a photo of an adult.",
    "a photo of an old person.",
)


@dataclass
class Vectors:
    """Stands in for ``ImageVectors``: arrays in place of a cache."""

    pooled: np.ndarray
    mean_tokens: np.ndarray
    view: str = "original"

    @property
    def views(self) -> tuple[Vectors, ...]:
        return (self,)

    def of(self, features: str, rows: np.ndarray) -> np.ndarray:
        parts = {
            "pooled": [self.pooled],
            "tokens": [self.mean_tokens],
            "both": [self.pooled, self.mean_tokens],
        }[features]
        return np.concatenate([part[rows] for part in parts], axis=1).astype(np.float64)


@pytest.fixture(scope="session")
def soft_text() -> SoftText:
    """The text tower of the demo's seeded backbone."""
    from adapter.methods.text import SoftText
    from featcache.backbone import BackboneSpec, load_backbone

    return SoftText(load_backbone(BackboneSpec(name="demo-seeded-vit", pretrained="seed:0")))


@pytest.fixture(scope="session")
def make_vectors() -> type[Vectors]:
    """The class of vectors that are arrays in memory."""
    return Vectors


@pytest.fixture
def make_fold(soft_text: SoftText, tmp_path: Path) -> Callable[..., FoldData]:
    """Return a function that makes a fold; ``shuffle`` breaks the tie of label and features."""
    from adapter.methods.method import FoldData, Part

    number = itertools.count()  # each fold keeps its state in a folder of its own

    def make(
        images: int = 200, *, shuffle: bool = False, aligned: float = 0.0, **changes: Any
    ) -> FoldData:
        generator = np.random.default_rng(0)
        classes = generator.integers(0, CLASSES, images)
        centers = generator.normal(size=(CLASSES, DIM))
        pooled = centers[classes] + generator.normal(size=(images, DIM))
        if aligned:  # images that lie near the prompt of their class
            prompts = soft_text.encode(PROMPTS).numpy()
            prompts = prompts - prompts.mean(axis=0)
            prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
            pooled = aligned * np.sqrt(DIM) * prompts[classes] + pooled
        tokens = 0.5 * pooled[:, :32] + generator.normal(size=(images, 32))
        if shuffle:
            classes = generator.permutation(classes)
        rows = np.arange(images)
        cut = images // 2
        values = 10.0 + classes
        data = FoldData(
            cache=None,  # type: ignore[arg-type]
            vectors=Vectors(pooled.astype(np.float32), tokens.astype(np.float32)),  # type: ignore[arg-type]
            text=lambda: soft_text,
            task="age",
            query="sort images by age.",
            fold=0,
            seed=0,
            train=Part(rows=rows[:cut], values=values[:cut]),
            val=Part(rows=rows[:0], values=values[:0]),
            test=Part(rows=rows[cut:], values=values[cut:]),
            class_values=10.0 + np.arange(CLASSES),
            class_names=("a child", "a teenager", "an adult", "an old person"),
            class_prompts=PROMPTS,
            antonyms=("an old person.", "a child."),
            device="cpu",
            folder=tmp_path / f"fold-{next(number)}",
        )
        return replace(data, **changes)

    return make


@pytest.fixture
def accuracy() -> Callable[..., float]:
    """Return a function: share of test images whose nearest class is right."""

    def measure(method: Any, data: FoldData) -> float:
        prediction = method.fit(data).predict(data.vectors, data.test.rows)
        if prediction.probabilities is None:
            distance = np.abs(prediction.values[:, None] - data.class_values[None])
            found = distance.argmin(axis=1)
        else:
            found = prediction.probabilities.argmax(axis=1)
        return float((data.class_values[found] == data.test.values).mean())

    return measure
