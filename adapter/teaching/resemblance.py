"""A taste by resemblance: liked is what resembles the photos that were liked, patch by patch.

Bradley and Terry's model (1952) with a Gaussian process over images in the place of a linear map
(Chu and Ghahramani, "Preference learning with Gaussian processes", ICML 2005): the strengths u
minimize

    sum over answers of CE(sigmoid(u_left - u_right), s) + ridge / 2 u^T K^-1 u

and K, how much two images resemble each other, is a mean of two kernels: the product of their
features (:func:`adapter.teaching.linear.image_features`), and the mean over places of
(1 + cos)^DEGREE of their tokens there, less the mean token of the place. The second one knows
where something is, which no average over patches does. Only differences of strengths count, so
only images that were compared have a coefficient, and K is needed between these and all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve
from scipy.special import expit

from adapter.teaching.linear import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from adapter.data.comparisons import Comparisons
    from featcache.reading.cache import Cache

    Array = NDArray[np.float64]
    Tokens = NDArray[np.float32]

DEGREE = 3
PATCHES = 1 / 3  # share of the patches in the resemblance
RIDGE = 0.5
MEANS_OF = 512  # images that the mean tokens are of, evenly spaced
STEPS = 50  # of Newton's method, at most; a handful are enough
_LEAST = 1e-9


def resemblance_scores(
    cache: Cache,
    features: Array,
    answers: Comparisons,
    *,
    view: str | None = None,
    tokens: bool = True,
    ridge: float = RIDGE,
    on_images: Callable[[int], None] = lambda count: None,
) -> Array:
    """Learn from answers, and score every image.

    Args:
        cache: Where the tokens are; without tokens, features alone say what resembles what.
        features: float64 [N, D], of all images; mean square length 1.
        answers: m answers about rows of the cache, at least one.
        view: Name of the view; the first when left out.
        tokens: False leaves the tokens unread, which are a hundred times as much.
        ridge: How close strengths stay to those of images that resemble each other.
        on_images: Called with the number of images after each part of them.

    Returns:
        float64 [N]: strengths, in which a difference of 1 wins 73 % of the time.
    """
    anchors = np.unique(np.concatenate([answers.left, answers.right]))  # [a]
    patches = None
    if tokens and cache.shapes.num_tokens:
        patches = _Patches(cache, anchors, view or cache.views[0])
    whole = features[anchors]  # [a, D]
    likeness = np.empty((len(features), len(anchors)))  # [N, a]
    for start in range(0, len(features), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(features)))
        part = features[rows] @ whole.T
        if patches is not None:
            part = (1 - PATCHES) * part + PATCHES * patches.between(rows)
        likeness[rows] = part
        on_images(len(rows))
    left, right = np.searchsorted(anchors, answers.left), np.searchsorted(anchors, answers.right)
    across = likeness[:, left] - likeness[:, right]  # [N, m], an image and a difference
    among = across[answers.left] - across[answers.right]  # [m, m], two differences
    scores: Array = across @ _coefficients(among, answers.shares, ridge)
    return scores


def _coefficients(among: Array, shares: Array, ridge: float) -> Array:
    """Return the coefficients [m] of the minimum, by Newton's method in the span of the answers.

    Args:
        among: float64 [m, m], K between differences.
        shares: float64 [m].
        ridge: As above.
    """
    found: Array = np.zeros(len(shares))
    for _ in range(STEPS):
        logits = among @ found
        p = expit(logits)
        curvature = np.maximum(p * (1 - p), _LEAST)
        system = among + ridge * np.diag(1 / curvature)
        before = found
        found = np.asarray(solve(system, logits + (shares - p) / curvature, assume_a="pos"))
        if np.abs(found - before).max(initial=0) < 1e-8:
            break
    return found


class _Patches:
    """How much the tokens of images resemble those of anchors, place by place.

    Of all images, the kernel has a mean square distance of 2, as the product of features has.
    """

    def __init__(self, cache: Cache, anchors: NDArray[np.int64], view: str) -> None:
        self._cache, self._view = cache, view
        every = np.unique(np.linspace(0, len(cache) - 1, MEANS_OF).astype(np.int64))
        tokens = cache.tokens(every, view=view).astype(np.float32)  # [n, P, C]
        self._mean = tokens.mean(axis=0)  # [P, C]
        self._anchors = self._directions(anchors)
        some = self._raw(self._directions(every[:: max(len(every) // 128, 1)]), self._anchors)
        # Mean of K(x, x) less mean of K(x, y): half of the mean square distance.
        self._scale = 1 / max(float(2**DEGREE) - float(some.mean()), _LEAST)

    def between(self, rows: NDArray[np.int64]) -> Array:
        """Return the resemblance [n, a] of images to the anchors."""
        return self._scale * self._raw(self._directions(rows), self._anchors)

    def _directions(self, rows: NDArray[np.int64]) -> Tokens:
        """Return tokens less the mean of their place, of length 1: float32 [P, n, C]."""
        tokens = self._cache.tokens(rows, view=self._view).astype(np.float32) - self._mean
        length = np.linalg.norm(tokens, axis=2, keepdims=True)
        found: Tokens = (tokens / np.where(length > 0, length, 1)).transpose(1, 0, 2)
        return found

    @staticmethod
    def _raw(ones: Tokens, others: Tokens) -> Array:
        """Return the mean over places of (1 + cos)^DEGREE: [P, n, C], [P, a, C] -> [n, a]."""
        total = np.zeros((ones.shape[1], others.shape[1]))
        for one, other in zip(ones, others, strict=True):
            total += (1 + one @ other.T) ** DEGREE
        return total / len(ones)
