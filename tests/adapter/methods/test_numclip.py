"""NumCLIP's coarse classes, its fine head, and what becomes of it without its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adapter.methods import get
from adapter.methods.numclip import LEAST, RATIO
from adapter.methods.numclip_network import NumClipNetwork


def classes(fold, values, query, **settings):
    values = np.asarray(values, np.float64)
    fold = replace(
        fold,
        query=query,
        binned=True,
        train=replace(fold.train, values=values),
        scale=(float(values.min()), float(values.max())),
    )
    return get("numclip", **settings).coarse_classes(fold)


def test_few_classes_are_what_their_prompts_differ_in(make_fold):
    fold = make_fold(4)
    words, starts = get("numclip").coarse_classes(fold)
    assert words == ("a child.", "a teenager.", "an adult.", "an old person.")
    np.testing.assert_array_equal(starts, fold.class_values)
    assert get("numclip", context="look:").coarse_classes(fold)[0] == fold.class_names


def test_ages_in_years_have_the_words_of_the_original(make_fold):
    words, starts = classes(make_fold(4), [21, 60], "sort images by the person's age.")
    assert words == ("young adult", "middle adult")
    assert starts.tolist() == [19, 35]
    # A scale within one of its classes has steps of its own.
    words, starts = classes(make_fold(4), [0, 1], "sort images by age.")
    assert words[0] == "very low"
    np.testing.assert_allclose(starts, [0, 0.2, 0.4, 0.6, 0.8])


def test_other_scales_have_five_steps(make_fold):
    words, starts = classes(make_fold(4), [0, 100], "sort images by the image quality.")
    assert words == ("bad", "poor", "fair", "good", "excellent")
    assert starts.tolist() == [0, 20, 40, 60, 80]


def test_the_head_and_the_adapter_written_out():
    torch.manual_seed(0)
    network = NumClipNetwork(8, 3, ratio=RATIO, least=LEAST, seed=0).double().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    images = torch.randn(4, 8, dtype=torch.float64)
    prompts = torch.nn.functional.normalize(torch.randn(3, 8, dtype=torch.float64), dim=1)
    places = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    logits = network.logits(images, prompts, 20.0)
    values = network.values(logits, places)
    for b in range(4):
        hidden = [max(0.0, float(row @ images[b])) for row in network.down.weight]
        raised = [
            max(0.0, sum(float(w) * h for w, h in zip(row, hidden, strict=True)))
            for row in network.up.weight
        ]
        mixed = [0.8 * r + 0.2 * float(x) for r, x in zip(raised, images[b], strict=True)]
        length = sum(m * m for m in mixed) ** 0.5
        cosines = [
            20.0 * sum(m * float(p) for m, p in zip(mixed, row, strict=True)) / length
            for row in prompts
        ]
        np.testing.assert_allclose(logits[b].numpy(), cosines, rtol=1e-9)
        shares = np.exp(np.array(cosines) - max(cosines))
        shares /= shares.sum()
        inner = np.maximum(network.inner.weight.numpy() @ cosines + network.inner.bias.numpy(), 0)
        delta = np.tanh(network.outer.weight.numpy() @ inner + network.outer.bias.numpy())
        value = sum(shares[k] * float(places[k]) / max(1 + delta[k], LEAST) for k in range(3))
        assert float(values[b]) == pytest.approx(value, rel=1e-9)


def test_without_the_fine_head_nothing_moves(make_fold):
    fold = make_fold(60)
    found = get("numclip", steps=6, lr=0.01, fine=False).fit(fold)
    assert (found.outer_weight == 0).all()
    assert (found.outer_bias == 0).all()
    prediction = found.predict(fold.vectors, fold.test.rows)
    np.testing.assert_allclose(
        prediction.values, prediction.probabilities @ fold.class_values, rtol=1e-9
    )
