import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featcache.backbone import BackboneSpec, load_backbone
from featcache.backbone.embedded import NAME
from featcache.backbone.embedded.card import training_of, write_card
from featcache.backbone.embedded.measures import measure_backbone, pairs_in_order
from featcache.datasets.scenes.seeds import CLIP_TEST
from featcache.errors import BackboneError

TRAINING = {
    "command": "python -m ...",
    "machine": "2 cores of a machine",
    "date": "2026-11-28",
    "hours": 1.5,
    "note": "on a rainy day",
    "images": 64_000,
    "config": {"steps": 1000},
    "losses": {"contrastive": 1.25},
}


@pytest.fixture(scope="module")
def figures():
    backbone = load_backbone(BackboneSpec(name=NAME, pretrained="seed:0"))
    return measure_backbone(backbone, seed=CLIP_TEST[1], scenes=200)


def test_random_weights_know_nothing(figures):
    by_name = {(f.group, f.name, f.measure): f for f in figures}
    assert len(by_name) == len(figures)
    for figure in figures:
        if figure.measure == "balanced accuracy":
            assert figure.value == pytest.approx(0.5, abs=0.15)
    retrieval = figures[-1]
    assert retrieval.chance == 0.01
    assert retrieval.value < 0.06


def test_the_card_says_what_made_the_weights_and_what_is_chance(figures):
    card = write_card(TRAINING, figures, figures, 200)
    assert "1,000 steps, 64,000 images" in card
    assert "- on a rainy day" in card
    assert "contrastive 1.250" in card
    assert "2 cores of a machine; 1.5 hours, ended 2026-11-28" in card
    row = next(line for line in card.splitlines() if "recall at 1" in line)
    assert row.endswith("| 0.010 |")
    assert all(figure.name in card for figure in figures)


def test_weights_that_do_not_say_what_made_them_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(BackboneError, match="does not say what made it"):
        training_of(tmp_path / "w.safetensors")


def test_pairs_in_order_leaves_out_equal_values():
    value = np.array([0.0, 0.0, 0.0, 1.0, 2.0])
    assert pairs_in_order(np.array([3.0, 1.0, 2.0, 5.0, 6.0]), value) == 1
    assert pairs_in_order(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), value) == pytest.approx(6 / 7)
    assert pairs_in_order(np.zeros(5), value) == 0.5
