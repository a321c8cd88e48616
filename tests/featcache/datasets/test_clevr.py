import json
from collections import Counter

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.clevr import ATTRIBUTES
from featcache.datasets.queries import count_attribute
from featcache.errors import DatasetError

SCENES = "scenes/CLEVR_{}_scenes.json"


@pytest.mark.parametrize("prefix", ["", "CLEVR_v1.0/"])
def test_counts_by_attribute(drawn, agree, prefix):
    root = drawn("clevr") / ("" if prefix else "CLEVR_v1.0")  # the folder itself, or the one above
    dataset = open_dataset("clevr", root)
    labels = agree(dataset)
    assert len(dataset.images()) == 40, "test scenes are not published"
    assert len(labels) == 40 * 13
    assert {label.task for label in labels} == {"count-color", "count-material", "count-shape"}
    values = {(label.sample_id, label.query): label for label in labels}
    seen = 0
    for ours, split in {"train": "train", "test": "val"}.items():
        content = json.loads((root / prefix / SCENES.format(split)).read_text())
        for scene in content["scenes"]:
            sample = scene["image_filename"].removesuffix(".png")
            for kind, known in ATTRIBUTES.items():
                counts = Counter(thing[kind] for thing in scene["objects"])
                for value in known:
                    label = values[sample, count_attribute(kind, value)]
                    assert (label.value, label.split) == (counts[value], ours)
                    seen += 1
    assert seen == len(labels)


def test_bad_scenes_are_named(copied):
    root = copied("clevr") / "CLEVR_v1.0"
    file = root / SCENES.format("val")
    content = json.loads(file.read_text())
    content["scenes"][0]["objects"][0]["color"] = "pink"
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="color: found 'pink'"):
        open_dataset("clevr", root).labels()
    file.write_text("{}")
    with pytest.raises(DatasetError, match="expected scenes with image_filename and objects"):
        open_dataset("clevr", root).labels()
