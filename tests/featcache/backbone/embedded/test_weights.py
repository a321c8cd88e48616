import pytest

from featcache.backbone import BackboneSpec, load_backbone
from featcache.backbone.embedded import CARD, NAME, WEIGHTS
from featcache.backbone.embedded.card import training_of
from featcache.backbone.embedded.measures import measure_backbone
from featcache.datasets.scenes.seeds import CLIP_TEST


@pytest.fixture(scope="module")
def figures():
    backbone = load_backbone(BackboneSpec(name=NAME))  # the name alone is enough
    found = measure_backbone(backbone, seed=CLIP_TEST[2], scenes=200)
    return {(f.name.partition(":")[0], f.measure): f.value for f in found}


def test_the_shipped_weights_are_small_and_say_what_made_them():
    assert WEIGHTS.stat().st_size < 12_000_000
    training = training_of(WEIGHTS)
    assert training["command"].startswith("python -m featcache.backbone.embedded.train --steps ")
    assert training["command"] in CARD.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "measure", "least"),
    [
        ("color", "balanced accuracy", 0.58),
        ("shape", "balanced accuracy", 0.55),
        ("material", "balanced accuracy", 0.68),
        ("brightness", "SRCC", 0.85),
        ("colorfulness", "SRCC", 0.8),
        ("blur", "pairs in order", 0.7),
        ("number of objects", "SRCC", 0.85),
        ("all objects", "off by one at most", 0.6),
        ("counts by color", "SRCC", 0.5),
        ("counts by material", "SRCC", 0.7),
        ("its caption of four facts among 100", "recall at 1", 0.025),
    ],
)
def test_the_shipped_weights_know_what_the_card_says(figures, name, measure, least):
    assert figures[name, measure] > least
