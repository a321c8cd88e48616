import math

import numpy as np
import pytest
import torch

from featcache.backbone.embedded.losses import (
    DENSE,
    contrastive,
    counting,
    dense_target,
    light_target,
    matching,
    ordering,
)
from featcache.images.measures import measure

NAN = float("nan")


def test_contrastive_leaves_out_captions_that_may_hold():
    logits = torch.tensor([[2.0, 1.0, 5.0], [0.0, 3.0, 5.0]])
    truth = torch.tensor([[1.0, 0.0, NAN], [1.0, 1.0, 1.0]])
    per_image = (math.log(1 + math.exp(-1)) + 0) / 2
    per_caption = (0 + math.log(1 + math.exp(-2))) / 2  # caption 0 holds for image 1, too
    assert contrastive(logits, truth).item() == pytest.approx((per_image + per_caption) / 2)


def test_contrastive_is_that_of_clip_when_all_others_fail():
    torch.manual_seed(0)
    logits = torch.randn(4, 4)
    target = torch.arange(4)
    expected = (
        torch.nn.functional.cross_entropy(logits, target)
        + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    assert torch.allclose(contrastive(logits, torch.eye(4)), expected)


def test_matching_weighs_both_sides_alike():
    logits = torch.tensor([[1.0, -1.0, -1.0, 7.0]])
    truth = torch.tensor([[1.0, 0.0, 0.0, NAN]])
    assert matching(logits, truth).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_ordering_is_one_minus_the_correlation():
    rng = np.random.default_rng(0)
    similarity, values = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    values[:5, 1] = NAN
    expected = np.mean(
        [
            1 - np.corrcoef(similarity[:, 0], values[:, 0])[0, 1],
            1 - np.corrcoef(similarity[5:, 1], values[5:, 1])[0, 1],
        ]
    )
    found = ordering(torch.tensor(similarity), torch.tensor(values))
    assert found.item() == pytest.approx(expected)


def test_ordering_skips_queries_that_order_nothing():
    similarity = torch.tensor([[0.1, 0.3], [0.2, 0.1]], requires_grad=True)
    loss = ordering(similarity, torch.tensor([[1.0, 4.0], [2.0, 4.0]]))
    assert loss.item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert torch.isfinite(similarity.grad).all()


def test_dense_targets_sum_to_the_counts():
    objects = np.full((2, 12, 6), -1, np.int16)
    objects[0, 0] = (10, 20, 0, 1, 0, 2)  # large red rubber cylinder
    objects[0, 1] = (100, 90, 1, 1, 1, 2)  # small red metal cylinder
    objects[1, 0] = (0, 127, 0, 3, 1, 0)  # in a corner
    target = dense_target(objects, np.array([True, False]), size=128, grid=4)
    assert target.shape == (2, 16, DENSE)
    totals = target.sum(1)
    columns = [0, 1, 2 + 1, 10, 11, 12 + 2, 15 + 1 * 3 + 2]
    np.testing.assert_allclose(totals[0, columns], [1, 1, 2, 1, 1, 2, 2], atol=1e-6)
    assert totals[0].sum() == pytest.approx(2 * 5)
    assert target[1, 12, 0] == 1  # the whole object is at its corner
    assert np.isnan(target[1][:, [2, 3, 9, 15, 38]]).all()  # colors, in a gray picture
    assert target[1, 12, 12] == 1


def test_counting_is_zero_for_the_truth_and_blind_to_what_is_unknown():
    target = torch.rand(2, 16, 5)
    assert counting(target, target).item() == 0
    unknown = target.clone()
    unknown[1, :, 3] = NAN
    other = target.clone()
    other[1, :, 3] = 9.0
    assert counting(other, unknown).item() == 0
    assert counting(other, target).item() > 1


def test_light_of_a_picture_follows_from_that_of_its_patches():
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pixels[:, :, :8, :8] = 0
    target = light_target(pixels, grid=4)
    assert target.shape == (2, 16, 6)
    spread, mean = torch.tensor([0.24, 0.24]), torch.tensor([0.46, 0.28])
    luma, square = (target[..., [0, 3]] * spread + mean).mean(1).T  # [2] each
    for i in range(2):
        found = measure(pixels[i].permute(1, 2, 0).numpy())
        assert luma[i].item() == pytest.approx(found["brightness"], abs=1e-5)
        contrast = (square[i] - luma[i] ** 2).sqrt().item()
        assert contrast == pytest.approx(found["contrast"], abs=1e-4)
    dark = target[:, 0, 0] * 0.24 + 0.46  # of the black corner
    torch.testing.assert_close(dark, torch.zeros(2), atol=1e-6, rtol=0)
