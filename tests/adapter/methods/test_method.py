from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.methods.method import ImageVectors, softmax, unit_rows


class OneShard:
    """Tokens and embeddings as a cache gives them."""

    def __init__(self):
        self.shapes = SimpleNamespace(token_dim=3, num_tokens=2)
        self.path = "cache/looks"
        self.stored = np.arange(5 * 2 * 3, dtype=np.float16).reshape(5, 2, 3)

    def __len__(self):
        return 5

    def tokens(self, rows, view):
        assert view == "original"
        return self.stored[rows]

    def pooled(self, rows, view):
        return self.stored[rows][:, 0].astype(np.float32) + 100


def test_mean_tokens_and_their_concatenation():
    cache = OneShard()
    vectors = ImageVectors(cache)
    rows = np.array([4, 0])
    np.testing.assert_allclose(vectors.of("tokens", rows), cache.stored[rows].mean(axis=1))
    assert vectors.of("both", rows).shape == (2, 6)
    np.testing.assert_allclose(vectors.of("both", rows)[:, :3], vectors.of("pooled", rows))


def test_a_cache_without_tokens_is_said():
    cache = OneShard()
    cache.shapes = SimpleNamespace(token_dim=0, num_tokens=0)
    rows = np.arange(2)
    assert ImageVectors(cache).of("pooled", rows).shape == (2, 3)
    for features in ("tokens", "both"):
        with pytest.raises(ConfigError, match=r"cache/looks holds pooled .* features=pooled"):
            ImageVectors(cache).of(features, rows)


def test_softmax_of_large_logits():
    assert softmax(np.array([[1000.0, 1000.0]])).tolist() == [[0.5, 0.5]]


def test_unit_rows():
    assert unit_rows([[3.0, 4.0]]).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_hyperparameters_do_not_import_torch():
    code = (
        "import sys, adapter.methods.method, adapter.methods.ridge, adapter.methods.adapter;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pooled_embeddings_need_no_tokens():
    cache = OneShard()
    cache.tokens = None  # a cache of pooled embeddings alone has none
    assert ImageVectors(cache).of("pooled", np.array([1, 3])).shape == (2, 3)
