"""A cache in memory that keeps the contract of ``featcache.Cache``, for the training side."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from featcache.errors import PromptNotFoundError
from featcache.storage.fingerprint import Fingerprint

if TYPE_CHECKING:
    from pathlib import Path

LABEL_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("query", pa.string()),
        ("value", pa.float64()),
        ("split", pa.string()),
        ("fold", pa.int32()),
    ]
)


@dataclass(frozen=True)
class FakePrompt:
    tokens: np.ndarray
    pooled: np.ndarray


@dataclass
class FakeCache:
    """Images are rows; sample ``i`` is named ``image-i``; tokens are given."""

    features: np.ndarray  # [N, V, P, C] float16
    label_rows: list[tuple[str, str, str, float, str, int | None]]
    prompts: dict[str, FakePrompt]
    dataset: str = "fake"
    views: tuple[str, ...] = ("original", "hflip")
    weights: str = "w0"
    path: str = "cache"
    reads: int = field(default=0)

    @property
    def labels(self) -> pa.Table:
        names = LABEL_SCHEMA.names
        columns = zip(*self.label_rows, strict=True) if self.label_rows else [[]] * len(names)
        return pa.table(dict(zip(names, columns, strict=True)), schema=LABEL_SCHEMA)

    @property
    def coded_labels(self) -> pa.Table:
        return self.labels

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            backbone={"architecture": "fake", "weights": self.weights},
            preprocessing={"size": 8},
            views=self.views,
            dtype="float16",
        )

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, sample_ids: Any) -> np.ndarray:
        known = {f"image-{i}": i for i in range(len(self.features))}
        return np.array([known.get(name, -1) for name in map(str, sample_ids)], np.int64)

    def tokens(self, rows: Any, view: Any = "original", out: Any = None) -> np.ndarray:
        self.reads += 1
        index = self.views.index(view) if isinstance(view, str) else view
        found = self.features[np.asarray(rows), index]
        if out is None:
            return found
        out[...] = found
        return out

    def pooled(self, rows: Any, view: Any = "original") -> np.ndarray:
        index = self.views.index(view) if isinstance(view, str) else view
        return self.features[np.asarray(rows), index].mean(axis=1, dtype=np.float32)[:, ::2]

    def prompt(self, text: str) -> FakePrompt:
        if text not in self.prompts:
            raise PromptNotFoundError(f"no tokens for {text!r}")
        return self.prompts[text]


def make_prompts(texts: list[str], dim: int = 8, length: int = 5) -> dict[str, FakePrompt]:
    generator = np.random.default_rng(7)
    return {
        text: FakePrompt(
            tokens=generator.normal(size=(length, dim)).astype(np.float32),
            pooled=generator.normal(size=dim).astype(np.float32),
        )
        for text in texts
    }


def make_cache(
    images: int = 60, dim: int = 8, tokens: int = 4, seed: int = 0, **changes: Any
) -> FakeCache:
    """Two counting queries (positives only) and one score that the tokens do contain."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(images, 2, tokens, dim)).astype(np.float16)
    features[:, 1] = features[:, 0] + 0.01
    cats = generator.integers(0, 4, images)
    dogs = generator.integers(0, 3, images)
    features[:, :, :, 0] += cats[:, None, None].astype(np.float16)
    score = features[:, 0, :, 1].mean(axis=1).astype(np.float64)
    rows: list[tuple[str, str, str, float, str, int | None]] = []
    for i in range(images):
        split = ("train", "train", "val", "test")[i % 4]
        name = f"image-{i}"
        if cats[i]:
            rows.append((name, "count", "number of cats.", float(cats[i]), split, None))
        if dogs[i]:
            rows.append((name, "count", "number of dogs.", float(dogs[i]), split, None))
        rows.append((name, "score", "beauty", float(score[i]), split, None))
    texts = ["number of cats.", "number of dogs.", "beauty"]
    settings: dict[str, Any] = {
        "features": features,
        "label_rows": rows,
        "prompts": make_prompts(texts, dim),
    }
    return FakeCache(**(settings | changes))


@pytest.fixture
def cache() -> FakeCache:
    return make_cache()


@pytest.fixture(name="make_cache", scope="session")
def make_cache_fixture() -> Any:
    return make_cache


def train_fake(
    out: Path,
    *,
    cache: Any = None,
    comparisons: Any = None,
    on_event: Any = None,
    resume: bool = False,
    **options: Any,
) -> Any:
    """Train a tiny adapter on a fake cache; options of every kind are told apart by name."""
    from adapter.data.comparisons import ComparisonTable
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
    from adapter.training.train import train

    def taken(kind: Any, **defaults: Any) -> dict[str, Any]:
        names = {f.name for f in fields(kind)} & options.keys()
        return defaults | {name: options.pop(name) for name in names}

    model = AdapterConfig.released(
        **taken(
            AdapterConfig,
            width=16,
            heads=2,
            blocks=1,
            post_blocks=1,
            prompt_tokens=2,
            relation_tokens=3,
            relation_heads=2,
        )
    )
    loss = LossConfig(**taken(LossConfig))
    sampling = SamplingConfig(**taken(SamplingConfig, batch_size=16))
    optim = OptimConfig(**taken(OptimConfig, lr=1e-3))
    config = TrainConfig(
        **taken(TrainConfig, steps=10, log_every=1), sampling=sampling, optim=optim
    )
    assert not options, options
    if isinstance(comparisons, list):
        comparisons = ComparisonTable.of(comparisons, "answers")
    caches = cache if isinstance(cache, list) else [make_cache() if cache is None else cache]
    return train(
        caches,
        out,
        model,
        loss,
        config,
        comparisons=comparisons,
        on_event=on_event,
        resume=resume,
    )


@pytest.fixture(name="train_fake", scope="session")
def train_fake_fixture() -> Any:
    return train_fake


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train_fake, make_cache):
    """A run that has learned a little, and the cache that it learned from."""
    out = tmp_path_factory.mktemp("run")
    train_fake(out, steps=150, lr=3e-3, log_every=50)
    return out, make_cache()
