from __future__ import annotations

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.evaluation.paired import (
    FoldDifferences,
    PairedCorrelation,
    compare,
    compare_correlations,
)


def folds_of(effect, *, folds=5, images=200, noise=1.0, fold_noise=0.0, seed=0):
    """Nested folds, as Adience has: each image in one fold."""
    generator = np.random.default_rng(seed)
    return [
        FoldDifferences(
            images=np.arange(images) + images * fold,
            differences=effect
            + generator.normal(scale=fold_noise or 1e-12)
            + generator.normal(scale=noise, size=images),
        )
        for fold in range(folds)
    ]


def test_the_estimate_is_the_mean_over_folds_of_means():
    folds = [
        FoldDifferences(images=np.array([0, 1]), differences=np.array([1.0, 3.0])),
        FoldDifferences(images=np.array([2]), differences=np.array([5.0])),
    ]
    result = compare(folds)
    assert result.difference == 3.5
    assert (result.folds, result.images) == (2, 3)
    assert 1.0 <= result.low <= result.difference <= result.high <= 5.0


def test_a_clear_difference_is_seen_and_none_is_not():
    assert not compare(folds_of(0.5)).within_noise
    assert compare(folds_of(0.0)).within_noise


def test_one_seed_gives_one_interval():
    first, second = compare(folds_of(0.1)), compare(folds_of(0.1))
    assert first == second
    assert compare(folds_of(0.1), seed=1) != first


def test_more_coverage_gives_a_wider_interval():
    narrow, wide = (compare(folds_of(0.1), level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_fold_without_noise_has_no_width():
    fold = FoldDifferences(images=np.arange(4), differences=np.full(4, 2.0))
    result = compare([fold])
    assert (result.low, result.high) == (2.0, 2.0)


def test_spread_over_folds_widens_the_interval():
    calm, varied = compare(folds_of(0.0)), compare(folds_of(0.0, fold_noise=1.0))
    assert varied.high - varied.low > 3 * (calm.high - calm.low)


def test_repeating_a_fold_adds_no_certainty_about_images():
    # The same images in ten folds: the interval stays that of the images.
    fold = folds_of(0.0, folds=1, images=50)[0]
    once, ten = compare([fold]), compare([fold] * 10)
    assert ten.high - ten.low == pytest.approx(once.high - once.low, rel=0.15)


def test_coverage_of_the_interval_is_near_its_level():
    covered = [
        compare(folds_of(0.3, folds=4, images=30, seed=seed), resamples=300).low
        <= 0.3
        <= compare(folds_of(0.3, folds=4, images=30, seed=seed), resamples=300).high
        for seed in range(60)
    ]
    assert np.mean(covered) >= 0.88


@pytest.mark.parametrize(
    "folds", [[], [FoldDifferences(images=np.arange(0), differences=np.ones(0))]]
)
def test_nothing_to_compare_is_refused(folds):
    with pytest.raises(ConfigError, match="fold"):
        compare(folds)


def test_an_impossible_level_is_refused():
    with pytest.raises(ConfigError, match="level"):
        compare(folds_of(0.0), level=1.0)


def paired(noise_a: float, noise_b: float, seed: int = 0, count: int = 200) -> PairedCorrelation:
    """Two methods that see the same labels through noise."""
    generator = np.random.default_rng(seed)
    y = generator.normal(size=count)
    noise = generator.normal(size=(2, count))
    return PairedCorrelation(
        images=np.arange(count), labels=y, a=y + noise_a * noise[0], b=y + noise_b * noise[1]
    )


def test_correlations_of_equal_methods_do_not_differ():
    query = paired(1.0, 1.0)
    same = PairedCorrelation(images=query.images, labels=query.labels, a=query.a, b=query.a)
    found = compare_correlations([[same]], 0.0)
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.within_noise


def test_a_better_correlation_is_told_from_noise():
    query = paired(0.3, 2.0)
    gap = [float(np.corrcoef(query.labels, p)[0, 1]) for p in (query.a, query.b)]
    found = compare_correlations([[query, paired(0.3, 2.0, seed=1)]], gap[0] - gap[1])
    assert 0.2 < found.low < found.difference < found.high
    assert not found.within_noise
    assert (found.folds, found.images) == (1, 200)
    few = compare_correlations([[paired(1.0, 1.1, count=20)]], 0.01)
    assert few.within_noise
