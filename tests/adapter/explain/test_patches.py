from __future__ import annotations

import numpy as np
import pytest
import torch

from adapter.errors import ConfigError
from adapter.explain.patches import grid_side, pair_shares, relation_map, score_shares
from adapter.network.config import AdapterConfig
from adapter.network.model import RankingAdapter
from adapter.run import Run

SMALL = {"image_dim": 8, "text_dim": 8, "width": 16, "heads": 2, "blocks": 1, "prompt_tokens": 2}


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_shares_of_a_pair_add_up_to_the_adapters_own_comparison(preset):
    config = getattr(AdapterConfig, preset)(**SMALL, relation_tokens=3)
    model = RankingAdapter(config, seed=1).eval()
    first, second, text = torch.randn(6, 8), torch.randn(6, 8), torch.randn(5, 8)
    found = pair_shares(model, first, second, text)
    a, b = (model.summarize(tokens[None], text) for tokens in (first, second))
    combined = model.reg_token_pooler.combine(a, b)[0, 0].detach().numpy()
    sums = found.vectors_first.sum(0) - found.vectors_second.sum(0)
    np.testing.assert_allclose(sums, combined, atol=1e-5)
    assert found.logit == pytest.approx(model.compare_summaries(a, b).item(), abs=1e-5)
    first_order = found.gradient @ combined
    assert found.first.sum() - found.second.sum() == pytest.approx(float(first_order), abs=1e-4)
    looked = relation_map(model, first, text)
    assert looked.sum() == pytest.approx(1, abs=1e-5)


def test_shares_of_a_score_are_its_gradient(make_cache):
    model = RankingAdapter(AdapterConfig.released(**SMALL), seed=1).eval()
    draw = torch.Generator().manual_seed(0)
    tokens, text = torch.randn(4, 8, generator=draw), torch.randn(5, 8, generator=draw)
    shares = score_shares(model, tokens, text)
    normed = model.reg_ln(model.encode_tokens(tokens[None], text)).detach()
    pooled = normed.sum(1).requires_grad_()
    model.regressor(pooled).sum().backward()
    assert shares.sum() == pytest.approx((pooled.grad * pooled).sum().item(), rel=1e-4, abs=1e-5)


def test_covering_the_patches_named_most_changes_the_order_more(tmp_path, train_fake, make_cache):
    """In each image one patch, anywhere, holds what the images are ranked by."""
    generator = np.random.default_rng(0)
    cache = make_cache()
    images, patches = len(cache), 6
    value = generator.normal(size=images)
    place = generator.integers(0, patches, images)
    features = generator.normal(size=(images, 2, patches, 8)) * 0.1
    features[np.arange(images), :, place, 1] = 2 * value[:, None]
    features[np.arange(images), :, place, 2] = 2.0
    cache.features = features.astype(np.float16)
    cache.label_rows = [
        (f"image-{i}", "score", "beauty", float(v), "train", None) for i, v in enumerate(value)
    ]
    unmixed = {"blocks": 0, "post_blocks": 0, "prompt_tokens": 0}  # a patch is one patch's token
    train_fake(tmp_path, cache=cache, steps=150, lr=5e-3, log_every=50, **unmixed)
    model = Run.load(tmp_path).model
    text = torch.from_numpy(cache.prompt("beauty").tokens)
    tokens = torch.from_numpy(cache.features[:, 0]).float()  # [N, P, C]
    blank = tokens.mean(dim=(0, 1))

    def change(i, j, patch):
        covered = tokens[i].clone()
        covered[patch] = blank
        before = pair_shares(model, tokens[i], tokens[j], text).logit
        return abs(pair_shares(model, covered, tokens[j], text).logit - before)

    most, others = [], []
    for i in range(0, 40, 2):
        order = np.abs(pair_shares(model, tokens[i], tokens[i + 1], text).first).argsort()
        most.append(change(i, i + 1, order[-1]))
        others.append(np.mean([change(i, i + 1, patch) for patch in order[:-1]]))
    assert np.mean(most) > 2 * np.mean(others)


def test_heads_that_are_not_there_are_named():
    no_score = RankingAdapter(AdapterConfig.released(**SMALL, score_head=False), seed=0)
    no_pair = RankingAdapter(AdapterConfig.released(**SMALL, pair_head="subtract"), seed=0)
    tokens, text = torch.randn(4, 8), torch.randn(5, 8)
    with pytest.raises(ConfigError, match="no regression head"):
        score_shares(no_score, tokens, text)
    with pytest.raises(ConfigError, match="without relational tokens"):
        pair_shares(no_pair, tokens, tokens, text)
    assert relation_map(no_pair, tokens, text) is None
    assert (grid_side(100), grid_side(50)) == (10, None)
